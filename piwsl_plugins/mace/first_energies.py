"""Energies of a MACE before the first step: E0s that are not of the method of the labels."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mace.tools.torch_geometric.batch import Batch

from ..terms.first_energies import FirstEnergies, evenly_spaced
from .fitted_energies import has_average_E0s
from .host import REPLAY_HEAD
from .missing_labels import has_label
from .process import fail

_FOUNDATION = (
    "the E0s are not those of this method; let MACE fit them, --E0s=estimated, and take isolated "
    "atoms out of the training file, whose energies it would take instead"
)
_KEPT = (
    "MACE keeps the E0s of a pretrained model that has exactly the elements of the data, whatever "
    "--E0s says; add the difference of the two methods to those in the model's file first (the "
    "program is in docs/fine_tuning.md), or take it off the labels"
)
_REPLAYED = (
    "MACE gives this head the E0s of the pretrained model, whatever options and file say, so that "
    "these labels are not of its method; replay data that it was trained on, or its own labels, "
    "--pseudolabel_replay=True"
)
_SCRATCH = (
    "the E0s are not those of this method; give the energies of isolated atoms that it has, or "
    "--E0s=average"
)
_FITTED = (
    "no energies of the elements explain these labels, which must be total energies in eV, not per "
    "atom, and of one method"
)


@dataclasses.dataclass(frozen=True)
class Expected:
    """What is known of the energies of a head's structures before the first step.

    Attributes:
        head: its name.
        E0s: what gave its E0s, in words.
        pretrained: whether the model is, so that energies should be right from the beginning.
        remedy: in words, if they are not.
    """

    head: str
    E0s: str
    pretrained: bool
    remedy: str


def expected_energies(given: dict[str, Any], model: torch.nn.Module) -> list[Expected]:
    """The heads whose first energies can be judged, in the order of the training data.

    Without a weight of the energies nothing can.

    Args:
        given: the arguments of MACE's ``configure_model`` by name.
        model: the model that it made.
    """
    args, foundation = given["args"], given["model_foundation"]
    if not (args.energy_weight or (args.swa and args.swa_energy_weight)):
        return []
    configs = {config.head_name: config for config in given["head_configs"]}
    expected = []
    for name in given["heads"]:
        config = configs[name]
        # without its readouts a pretrained model begins anew
        pretrained = foundation is not None and bool(args.foundation_filter_elements)
        if args.multiheads_finetuning and name == REPLAY_HEAD:
            expected.append(Expected(name, "--pt_train_file", pretrained, _REPLAYED))
            continue
        of_atoms = bool(config.atomic_energies_dict)
        remedy = _FITTED if has_average_E0s(config) else _SCRATCH
        if foundation is not None:
            remedy = _KEPT if _keeps_E0s(model, foundation) else _FOUNDATION
        E0s = "E0s of the isolated atoms in the data" if of_atoms else f"--E0s={config.E0s}"
        expected.append(Expected(name, E0s, pretrained, remedy))
    return expected


def _keeps_E0s(model: Any, foundation: Any) -> bool:
    """Whether MACE 0.3.16 has copied a pretrained model's E0s over others.

    It copies all tensors that have the same shape (``load_foundations_elements`` in
    mace/tools/finetuning_utils.py): of as many heads and elements.
    """
    shapes = [one.atomic_energies_fn.atomic_energies.shape for one in (model, foundation)]
    return bool(shapes[0] == shapes[1])


def check_first_energies(
    model: torch.nn.Module,
    dataset: Any,
    expected: Sequence[Expected],
    device: torch.device,
    forces: bool,
) -> None:
    """End the run if the energies of a head are off by a constant, or warn of it.

    Args:
        model: before the first step.
        dataset: the training data, that of the heads one after the other.
        expected: of the heads that can be judged.
        device: of the model.
        forces: whether the base loss needs them; if not, energies alone decide.
    """
    heads = list(getattr(model, "heads", None) or ["Default"])
    for one in expected:
        found = _first_energies(model, dataset.datasets[heads.index(one.head)], device, forces)
        if found is None:
            continue
        of_head = f" of head '{one.head}'" if len(heads) > 1 else ""
        message = f"{one.E0s}: {found}{of_head}: {one.remedy}"
        if found.impossible:
            fail(message)
        if found.unlikely and one.pretrained:
            logging.warning(f"PIWSL: {message}")


def _first_energies(
    model: torch.nn.Module, dataset: Any, device: torch.device, with_forces: bool
) -> FirstEnergies | None:
    """Of some structures of a data set, one at a time; None if none of them has an energy."""
    predicted, labels, force_errors, force_labels = [], [], [], []
    with _evaluating(model):
        for number in evenly_spaced(len(dataset)):
            batch = Batch.from_data_list([dataset[number]]).to(device)
            if not has_label(batch, "energy").item():
                continue
            forces = with_forces and bool(has_label(batch, "forces").item())
            # forward, not __call__: hooks are for the trainer's calls
            output = model.forward(batch.to_dict(), training=False, compute_force=forces)
            n_atoms = len(batch["positions"])
            predicted.append(output["energy"].item() / n_atoms)
            labels.append(batch["energy"].item() / n_atoms)
            if forces:
                force_labels.append(batch["forces"].flatten().cpu().numpy())
                force_errors.append(output["forces"].flatten().cpu().numpy() - force_labels[-1])
    if not predicted:
        return None
    errors = (np.concatenate(some) if some else () for some in (force_errors, force_labels))
    return FirstEnergies.of(predicted, labels, *errors)


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients of its parameters; all as before at the end.

    Forces are gradients, so that these cannot be switched off as a whole.
    """
    modes = {module: module.training for module in model.modules()}
    differentiated = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in differentiated:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in differentiated:
            parameter.requires_grad_(True)
        for module, mode in modes.items():
            module.training = mode
