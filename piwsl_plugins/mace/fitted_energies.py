"""What MACE fits to the energies of training frames: E0s, shift and scale of a new model."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols

from ..frames.element_energies import ElementEnergies, compositions
from .process import fail

#: models of MACE's that begin with the mean energy of interaction
_SHIFTED = ("ScaleShiftMACE", "PolarMACE")


def has_average_E0s(config: Any) -> bool:
    """Whether MACE fits the E0s of a head to the energies of its training frames alone."""
    return not config.atomic_energies_dict and str(config.E0s).lower() == "average"


def require_labels_of_average_E0s(configs: Iterable[Any]) -> None:
    """End the run where MACE 0.3.16 would make E0s of "average" that are NaN, or 0 eV.

    It fits them to all frames of the training file, those without an energy included, and an
    element that is in the validation data alone gets 0 eV (``compute_average_E0s`` in
    mace/data/utils.py).

    Args:
        configs: MACE's of the heads, with the frames where it reads them with ASE.
    """
    for config in configs:
        if not has_average_E0s(config):
            continue
        frames, labelled = _with_energies(config)
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


def estimate_E0s(run: Callable[[], Any], given: dict[str, Any]) -> Any:
    """Run MACE's ``estimate_e0s_from_foundation``, unless the model has another precision.

    MACE 0.3.16 evaluates the model as its file has it, on structures of ``--default_dtype``
    (mace/data/utils.py), and PyTorch then says nothing of either.

    Args:
        run: calls it.
        given: its arguments by name.
    """
    of_model = next(given["foundation_model"].parameters()).dtype
    if of_model != torch.get_default_dtype():
        name = str(of_model).removeprefix("torch.")
        fail(
            f"--E0s=estimated: the file of --foundation_model is of {name}, and MACE estimates E0s "
            f"with a model of --default_dtype alone; give --default_dtype={name}"
        )
    return run()


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
    counts = compositions([frame.atomic_numbers for frame in frames], elements)
    energies = np.array([float(frame.properties["energy"]) for frame in frames])
    fitted = ElementEnergies(counts, energies).energies
    values = ", ".join(f"{z}: {energy:.6f}" for z, energy in zip(elements, fitted, strict=True))
    return f"{{{values}}}"
