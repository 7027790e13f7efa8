"""phono3py's finite differences, read without phono3py: supercells, displacements and forces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, reason_of
from .phonopy_files import refuse_tags, require_phonopy, spelt_as_now, text_of


def is_of_phono3py(path: Path) -> bool:
    """Whether phono3py wrote a file."""
    return re.search(r"^phono3py:", text_of(path), re.MULTILINE) is not None


def load_phono3py(path: Path, option: str) -> list[Any]:
    """The supercells of a file of phono3py, each as phonopy's object with its displacements.

    Pairs of displaced atoms become displacements of both, with the forces that they cause together.
    Those without forces (beyond the cutoff distance) are left out.

    Args:
        path: ``phono3py_params.yaml`` or the like.
        option: who asks, for messages.

    Returns:
        one or two of ``phonopy.Phonopy``: with the displacements for force constants of third
        order, and with those of a supercell of its own for second order, if there is one.

    Raises:
        InputError: without phonopy, and for files that it cannot read or that hold no forces.
    """
    require_phonopy(option)
    try:
        text = text_of(path)
        refuse_tags(text)
        found = _phonons(spelt_as_now(text))
    except Exception as error:  # whatever a truncated file leads to
        raise InputError(f"{path}: phonopy cannot load this ({reason_of(error)})") from error
    if not found:
        raise InputError(
            f"{path}: this file of phono3py holds no forces, and FORCES_FC2 and FORCES_FC3 are not "
            "read; phono3py-load --sp, or phono3py --sp --cf3 OUTPUT …, writes "
            "phono3py_params.yaml, which has them"
        )
    return found


def _phonons(text: str) -> list[Any]:
    import io

    import phonopy
    from phonopy.interface.phonopy_yaml import load_phonopy_yaml, load_yaml

    whole = load_yaml(io.StringIO(text))
    sets = {
        "supercell_matrix": ("displacement_pairs", "displacements", "dataset"),
        "phonon_supercell_matrix": ("phonon_displacements", "phonon_dataset"),
    }
    found = []
    for matrix, names in sets.items():
        given = {name.removeprefix("phonon_"): whole[name] for name in names if name in whole}
        if not given:
            continue
        pairs = given.pop("displacement_pairs", None)
        shared = {name: whole[name] for name in ("unit_cell", "physical_unit") if name in whole}
        energies = {"supercell_energies": whole.get("supercell_energies")}
        described = {
            "phonopy": whole["phono3py"],
            "supercell_matrix": whole.get(matrix, whole["supercell_matrix"]),
            **shared,
            **given,
            **{name: value for name, value in energies.items() if value is not None},
        }
        data = load_phonopy_yaml(described)
        phonon = phonopy.Phonopy(
            data.unitcell,
            data.supercell_matrix,
            primitive_matrix="P",
            calculator=data.calculator,
        )
        dataset = data.dataset if pairs is None else _of_pairs(pairs, len(phonon.supercell))
        if dataset is not None and _holds_forces(dataset):
            phonon.dataset = dataset
            found.append(phonon)
    return found


def _of_pairs(pairs: list[dict[str, Any]], n_atoms: int) -> dict[str, Any] | None:
    """Displacements and forces, each ``(n_sets, n_atoms, 3)``, of all that have forces."""
    displacements, forces = [], []
    for first in pairs:
        single = np.zeros((n_atoms, 3))
        single[first["atom"] - 1] = first["displacement"]
        if "forces" in first:
            displacements.append(single)
            forces.append(first["forces"])
        for second in first.get("paired_with", ()):
            if "forces" in second:
                both = single.copy()
                both[second["atom"] - 1] += second["displacement"]
                displacements.append(both)
                forces.append(second["forces"])
    if not forces:
        return None
    return {"displacements": np.array(displacements), "forces": np.array(forces)}


def _holds_forces(dataset: dict[str, Any]) -> bool:
    first = dataset.get("first_atoms")
    return "forces" in dataset or bool(first and all("forces" in entry for entry in first))
