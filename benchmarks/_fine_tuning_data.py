"""Frames of ``fine_tuning.py``: those of the pretraining, of fine-tuning and of tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from _accuracy_cells import DATASETS, VALIDATION_FRAMES
from _accuracy_data import Labelled, Sources, computed, labelled

#: what is fine-tuned to, and the molecules of the pretraining, whose method is GFN1-xTB
NEW, OLD_METHOD = "ethanol_pbe_hessians", "GFN1-xTB"
MOLECULES = (NEW, "acac_pbe", "aspirin_gfn2")
#: of a molecule: frames of the pretraining, and for its validation
PRETRAINING, OLD_VALIDATION = 260, 20
#: frames of the new method's file that have Hessians; the first of them may be trained on
HESSIANS, LEADING = 17, 12
#: later ones are of the pretraining
LAST = 700
#: frames of each molecule that are replayed, and that a model is tested on
REPLAYED, TESTED = 20, 100


@dataclasses.dataclass(frozen=True)
class Split:
    """Structures of a fine-tuning; replayed ones have the old method's labels."""

    train: list[ase.Atoms]
    valid: list[ase.Atoms]
    replayed: list[ase.Atoms]
    replayed_valid: list[ase.Atoms]


def prepare(sources: Sources) -> None:
    """Make files and labels, unless they are there."""
    for name in MOLECULES:
        sources.make(name)
        for part in ("train", "test"):
            sources.label(getattr(DATASETS[name], part), OLD_METHOD)


def old(sources: Sources, name: str, part: str) -> Labelled:
    """The "train" or "test" file of a molecule with the old method's labels."""
    return computed(sources, getattr(DATASETS[name], part), OLD_METHOD)


def pretraining(sources: Sources) -> tuple[list[ase.Atoms], list[ase.Atoms]]:
    """Structures of the pretraining and of its validation, as many of each molecule."""
    train, valid = [], []
    for name in MOLECULES:
        data = old(sources, name, "train")
        first = LAST if name == NEW else 0
        order = first + np.random.default_rng(2408).permutation(len(data.frames) - first)
        structures = data.structures(order[: PRETRAINING + OLD_VALIDATION].tolist(), "E+F", 0.0)
        train += structures[:PRETRAINING]
        valid += structures[PRETRAINING:]
    return train, valid


def split(sources: Sources, frames: int, seed: int) -> Split:
    """The structures of a fine-tuning; fewer frames are part of more ones of the same seed."""
    data = labelled(sources, NEW, "train", "reference")
    order = np.random.default_rng([seed, 2408]).permutation(LAST)
    others = order[order >= HESSIANS]
    chosen = np.concatenate([order[order < LEADING], others[VALIDATION_FRAMES:]])[:frames]
    train, valid = pretraining(sources)
    random = np.random.default_rng([seed, 8])
    replayed = [
        train[PRETRAINING * molecule + number]
        for molecule in range(len(MOLECULES))
        for number in random.choice(PRETRAINING, REPLAYED, replace=False)
    ]
    return Split(
        data.structures(chosen.tolist(), "E+F", 0.0),
        data.structures(others[:VALIDATION_FRAMES].tolist(), "E+F", 0.0),
        replayed,
        valid[:: len(MOLECULES)],
    )


def write(folder: Path, parts: dict[str, list[ase.Atoms]]) -> dict[str, Any]:
    """Files of structures in a folder; gives them by their names."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.xyz" for name in parts}
    for name, path in files.items():
        ase.io.write(path, parts[name])
    return files
