"""The frozen reference model of ``pitc_target``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.model.saved_models.load_utils import load_saved_model
from torch import Tensor

from ..core.evaluation import Evaluated
from ..core.settings import Settings, SettingsError
from .calls import derivatives_off, forces_of, inputs

_PRETRAINED = ("ModelFromPackage", "ModelFromCheckpoint")
_FORMATS = "a package (.nequip.zip) or a checkpoint (.ckpt) of NequIP"


class FrozenModel:
    """A model that is evaluated without gradients of its parameters, in eager mode.

    It is no module of the trained one: optimisers, averages of weights, checkpoints and packages
    do not see it.
    """

    def __init__(self, model: torch.nn.Module, type_names: list[str]) -> None:
        """
        Args:
            model: NequIP's ``GraphModel``, also compiled or from a package.
            type_names: of the trained model, in its order.

        Raises:
            SettingsError: naming ``reference_model``, for a type that the reference lacks.
        """
        known = list(model.type_names)
        for name in type_names:
            if name not in known:
                raise SettingsError(
                    "reference_model",
                    "…",
                    f"the trained model has the type '{name}', the reference has only "
                    f"{', '.join(known)}; choose a reference that knows all types, or train a "
                    "model without this type",
                )
        self.model = model.eval().requires_grad_(False)
        self.r_max = float(model.metadata["r_max"])
        self._types = torch.tensor([known.index(name) for name in type_names])

    def to(self, device: torch.device) -> FrozenModel:
        """Move it to a device."""
        self.model.to(device)
        self._types = self._types.to(device)
        return self

    def _answer(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        data = {**data, AtomicDataDict.ATOM_TYPE_KEY: self._types[data["atom_types"]]}
        return self.model.model(inputs(self.model, data))  # eager also if made for torch.compile

    def with_forces(self, data: AtomicDataDict.Type) -> Evaluated:
        """Energies and forces, as constants."""
        with torch.enable_grad():
            output = self._answer(data)
        energy = output["total_energy"].detach().squeeze(-1)
        return Evaluated(energy, forces_of(output).detach())

    def energy(self, data: AtomicDataDict.Type) -> Tensor:
        """Energies, ``(n_frames,)`` in eV, as constants."""
        with torch.no_grad(), derivatives_off(self.model):
            return self._answer(data)["total_energy"].squeeze(-1)


def frozen_models(settings: Settings, module: Any) -> dict[str, FrozenModel]:
    """The reference of each of a training module's models, by its name; empty if none is needed.

    Args:
        settings: ``pitc_target`` and ``reference_model`` are used.
        module: NequIP's Lightning module.

    Raises:
        SettingsError: naming ``reference_model``, if there is none, or not for these types.
    """
    if not settings.needs_reference():
        return {}
    if settings.reference_model is None:
        found = _as_at_the_start(module)
    else:
        found = _from_file(settings.reference_model)
    if isinstance(found, torch.nn.ModuleDict):
        known = dict(found.items())
    else:
        known = dict.fromkeys(module.model, found)
    only = next(iter(known.values())) if len(known) == 1 else None
    references = {}
    for name, model in module.model.items():
        reference = known.get(name, only)
        if reference is None:
            raise SettingsError(
                "reference_model",
                settings.reference_model,
                f"it holds the models {', '.join(known)}, but no '{name}', which is trained",
            )
        references[name] = FrozenModel(reference, list(model.type_names)).to(module.device)
    return references


def _from_file(path: str) -> torch.nn.Module:
    if not path.endswith((".nequip.zip", ".ckpt")) and not path.startswith("nequip.net:"):
        raise SettingsError("reference_model", path, f"allowed is {_FORMATS}")
    if not path.startswith("nequip.net:") and not Path(path).is_file():
        raise SettingsError("reference_model", path, "there is no such file")
    try:
        return load_saved_model(path, model_key=None)
    except Exception as error:  # the loaders raise errors of every kind
        raise SettingsError(
            "reference_model", path, f"this is not {_FORMATS} that NequIP can load ({error})"
        ) from error


def _as_at_the_start(module: Any) -> torch.nn.Module:
    """The pretrained model of the config, built anew, so that a restarted run has the same."""
    config = module.hparams["model"]
    if not is_pretrained(config):
        raise SettingsError(
            "reference_model",
            None,
            "the model of this config is not a pretrained one (ModelFromPackage or "
            f"ModelFromCheckpoint) that could be the reference; give {_FORMATS}",
        )
    return module._build_model(config)


def is_pretrained(config: Any) -> bool:
    """Whether a model section builds on a package or a checkpoint."""
    if not isinstance(config, Mapping):
        return False
    if str(config.get("_target_", "")).rpartition(".")[2] in _PRETRAINED:
        return True
    return any(is_pretrained(value) for value in config.values())
