"""Energies of a MACE before the first step: E0s that are not of the method of the labels."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from mace.tools.torch_geometric.batch import Batch

from ..frames.element_energies import ElementEnergies
from ..terms.first_energies import FirstEnergies, evenly_spaced
from .host import REPLAY_HEAD
from .missing_labels import has_label
from .process import fail

#: models of MACE's that begin with the mean energy of interaction
_SHIFTED = ("ScaleShiftMACE", "PolarMACE")
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


def require_labels_of_average_E0s(configs: Iterable[Any]) -> None:
    """End the run where MACE 0.3.16 would make E0s of "average" that are NaN, or 0 eV.

    It fits them to all frames of the training file, those without an energy included, and an
    element that is in the validation data alone gets 0 eV (``compute_average_E0s`` in
    mace/data/utils.py).

    Args:
        configs: MACE's of the heads, with the frames where it reads them with ASE.
    """
    for config in configs:
        frames, labelled = _with_energies(config)
        fitted = not config.atomic_energies_dict and str(config.E0s).lower() == "average"
        if not fitted:
            continue
        lacking = _elements(getattr(config.collections, "valid", None) or ()) - _elements(frames)
        if frames and lacking:
            symbols = ", ".join(chemical_symbols[z] for z in sorted(lacking))
            fail(
                f"--E0s={config.E0s}: no training frame has {symbols}, but the validation data "
                "has, whose energies would be judged with an E0 of 0 eV, and choose the model; put "
                "such a frame into the training file (or split it with another --seed), or give "
                "E0s in numbers"
            )
        if 0 < len(labelled) < len(frames):
            fail(
                f"--E0s={config.E0s}: MACE fits these to all frames of the training file, and "
                f"{len(frames) - len(labelled)} of {len(frames)} have no energy, which makes the "
                "model NaN; give them in numbers, by least squares of the others "
                f'--E0s="{_least_squares(labelled)}"'
            )


def require_labels_of_scaling(args: Namespace, configs: Iterable[Any], pretrained: bool) -> None:
    """End the run where MACE 0.3.16 would shift or scale a new model by missing energies.

    It takes the energies of all training structures, 0 eV for one without
    (``compute_mean_std_atomic_inter_energy`` and another in mace/modules/utils.py).

    Args:
        args: MACE's.
        configs: MACE's of the heads, with the frames where it reads them with ASE.
        pretrained: whether the model has its shift and scale already.
    """
    scaled = args.scaling == "std_scaling"
    shifted = args.model in _SHIFTED and args.scaling != "no_scaling"
    if pretrained or args.std is not None or not (scaled or shifted):
        return
    remedy = "--scaling=rms_forces_scaling" if scaled else "--model=MACE"
    if scaled and shifted:
        remedy += " --model=MACE"
    for config in configs:
        frames, labelled = _with_energies(config)
        if 0 < len(labelled) < len(frames):
            given = f"--model={args.model} --scaling={args.scaling}"
            fail(
                f"{given}: MACE shifts and scales the model by the energies of all training "
                f"frames, and {len(frames) - len(labelled)} of {len(frames)} have none, which "
                f"count as 0 eV; choose {remedy}"
            )


def _with_energies(config: Any) -> tuple[list[Any], list[Any]]:
    """The training frames of a head, where they are in memory, and those that have an energy."""
    frames = list(getattr(config.collections, "train", None) or ())
    return frames, [frame for frame in frames if frame.properties.get("energy") is not None]


def _elements(frames: Iterable[Any]) -> set[int]:
    return {int(z) for frame in frames for z in np.unique(frame.atomic_numbers)}


def _least_squares(frames: Sequence[Any]) -> str:
    """Energies of the elements from frames that all have an energy, as ``--E0s`` takes them."""
    elements = np.unique(np.concatenate([frame.atomic_numbers for frame in frames]))
    counts = [[np.sum(frame.atomic_numbers == z) for z in elements] for frame in frames]
    energies = np.array([float(frame.properties["energy"]) for frame in frames])
    fitted = ElementEnergies(np.array(counts, float), energies).energies
    values = ", ".join(f"{z}: {energy:.6f}" for z, energy in zip(elements, fitted, strict=True))
    return f"{{{values}}}"


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
        fitted = not of_atoms and str(config.E0s).lower() == "average"
        remedy = _FITTED if fitted else _SCRATCH
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
