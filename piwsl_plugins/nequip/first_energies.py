"""A NequIP model's energies before its first step, compared with their labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger

from ..errors import SettingsError
from ..frames.element_energies import ElementEnergies, compositions
from ..terms.first_energies import FirstEnergies, evenly_spaced
from .config import DataError
from .frames import Fields, left_closed
from .metrics import field_of

if TYPE_CHECKING:
    from .loss import PIWSLLoss

logger = RankedLogger(__name__, rank_zero_only=True)

#: builders of models that have been trained before (``nequip/model/saved_models``)
_PRETRAINED = ("ModelFromCheckpoint", "ModelFromPackage")
_OF_PRETRAINED = (
    "give the pretrained model the shifts of the labels' method: modifiers: [{modifier: "
    "modify_PerTypeScaleShift, shifts: {…}}], see docs/fine_tuning.md"
)
_OF_NEW = (
    "give the model energies of the elements on the scale of the labels: per_type_energy_shifts, "
    "from isolated atoms or, of one composition, ${training_data_stats:per_atom_energy_mean}"
)
_ONE_SHIFT = (
    "one shift for all elements serves one composition alone, and these frames have {rank} "
    "independent ones; give each element its own, by least squares of these frames "
    'training_module.model.per_type_energy_shifts="{{{shifts}}}"'
)


def check_first_energies(trainer: Any, module: Any, loss: PIWSLLoss) -> None:
    """Refuse a training whose first energies are NaN or off by a constant.

    No constant is judged where the loss has no weight on energies, nor when a training goes on
    from a checkpoint.

    Args:
        trainer: Lightning's.
        module: NequIP's training module, on its device.
        loss: of the training.

    Raises:
        DataError: for a model that is not finite.
        SettingsError: naming the remedy.
    """
    _require_finite(module)
    dataset = getattr(trainer.datamodule, "train_dataset", None)
    weighted = {field_of(entry.field) for entry in loss.entries.values() if entry.coeff}
    if not dataset or AtomicDataDict.TOTAL_ENERGY_KEY not in weighted or trainer.ckpt_path:
        return
    if len(module.model) > 1:  # which of them gives what is the training module's own affair
        return
    model = next(iter(module.model.values()))
    found = _first_energies(model, dataset[0])
    if found is None or not found.unlikely:  # nor is it impossible then
        return
    config = module.hparams.get("model")
    pretrained = _is_pretrained(config)
    of_new = "" if pretrained else _of_several_compositions(config, dataset[0])
    remedy = f"{found}; {_OF_PRETRAINED if pretrained else of_new or _OF_NEW}"
    if found.impossible:
        raise SettingsError("coeffs", _coeffs(loss), remedy)
    if pretrained or of_new:
        logger.warning(f"PIWSL: WARNING: {remedy}")


def _require_finite(module: Any) -> None:
    """Refuse a model that is NaN, and would be to an end that looks as if all were well.

    NequIP 0.19's ``CommonDataStatisticsManager`` (nequip/data/stats_manager.py) counts labels that
    are NaN, also where the loss ignores them, and shifts and scales become NaN.

    Raises:
        DataError: naming the numbers and the remedy.
    """
    for name, value in [*module.model.named_parameters(), *module.model.named_buffers()]:
        if value.isnan().any():
            raise DataError(
                f"training_module.model: '{name}' is NaN before the first step, and so would the "
                "model be to the end; if it is of training_data_stats, labels that are NaN count "
                "in these unless the metric has ignore_nan: true (stats_manager: "
                "nequip.data.DataStatisticsManager): do so, or give per_type_energy_shifts and "
                "per_type_energy_scales in numbers; a checkpoint is of a training that diverged"
            )


def _first_energies(model: Any, dataset: Any) -> FirstEnergies | None:
    """What the model gives for some training frames; None if none has an energy."""
    predicted, labels = [], []
    errors, force_labels = [torch.zeros(0)], [torch.zeros(0)]
    with isolate_rng(include_cuda=False), left_closed(dataset), _evaluating(model):
        for frame, energy in _with_energies(dataset):
            output = _evaluated(model, frame)
            n_atoms = AtomicDataDict.num_nodes(frame)
            predicted.append(output[AtomicDataDict.TOTAL_ENERGY_KEY].item() / n_atoms)
            labels.append(energy / n_atoms)
            forces = frame.get(AtomicDataDict.FORCE_KEY)
            if forces is not None and AtomicDataDict.FORCE_KEY in output:
                known = forces.isfinite()
                given = output[AtomicDataDict.FORCE_KEY].detach().to(forces)
                errors.append((given - forces)[known])
                force_labels.append(forces[known])
    if not predicted:
        return None
    return FirstEnergies.of(
        predicted, labels, torch.cat(errors).numpy(), torch.cat(force_labels).numpy()
    )


def _with_energies(dataset: Any) -> Iterator[tuple[Fields, float]]:
    """Those training frames to look at that have an energy, and this in eV."""
    for index in evenly_spaced(len(dataset)):
        frame = dataset[index]
        energy = frame.get(AtomicDataDict.TOTAL_ENERGY_KEY)
        if energy is not None and energy.isfinite().all():
            yield frame, energy.item()


def _of_several_compositions(config: Any, dataset: Any) -> str:
    """The remedy for one shift of all types where compositions differ; else ""."""
    names, shifts = (_found(config, key) for key in ("type_names", "per_type_energy_shifts"))
    if isinstance(shifts, dict):
        shifts = list(shifts.values())
    if not names or shifts is None or np.unique(np.asarray(shifts, float)).size > 1:
        return ""
    types, energies = [], []
    with isolate_rng(include_cuda=False), left_closed(dataset):
        for frame, energy in _with_energies(dataset):
            types.append(frame[AtomicDataDict.ATOM_TYPE_KEY].flatten().numpy())
            energies.append(energy)
    fitted = ElementEnergies(compositions(types, range(len(names))), np.array(energies))
    if fitted.rank < 2:
        return ""
    values = ", ".join(f"{n}: {e:.3f}" for n, e in zip(names, fitted.energies, strict=True))
    return _ONE_SHIFT.format(rank=fitted.rank, shifts=values)


def _found(config: Any, key: str) -> Any:
    """What the config of a model says under a name, at any depth; None without."""
    if not isinstance(config, dict):
        return None
    inner = (_found(value, key) for value in config.values())
    return config.get(key, next((value for value in inner if value is not None), None))


def _evaluated(model: Any, frame: Fields) -> Fields:
    """The model's answer for one frame, for which compiled models are not compiled.

    ``CompileGraphModel`` of NequIP 0.19 (``nequip/nn/compile.py``) compiles for two frames or more.
    """
    batch = AtomicDataDict.batched_from_list([frame])
    inputs = {key: batch[key] for key in model.model_input_fields if key in batch}
    device = next(model.parameters()).device
    with torch.enable_grad():
        output: Fields = model.forward(AtomicDataDict.to_(inputs, device))
    return output


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """The model and its parts in evaluation mode, in the context."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _is_pretrained(config: Any) -> bool:
    """Whether the config of a model loads a trained one, at any depth."""
    if isinstance(config, dict):
        target = str(config.get("_target_")).rpartition(".")[2]
        return target in _PRETRAINED or any(map(_is_pretrained, config.values()))
    return isinstance(config, (list, tuple)) and any(map(_is_pretrained, config))


def _coeffs(loss: PIWSLLoss) -> dict[str, float]:
    return {name: coeff for name in loss.supervised if (coeff := loss.entries[name].coeff)}
