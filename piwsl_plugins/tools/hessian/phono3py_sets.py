"""phono3py's finite differences, read without phono3py: supercells, displacements and forces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError, reason_of
from .phonopy_files import check_order, refuse_tags, require_phonopy, spelt_as_now, text_of


def is_of_phono3py(path: Path) -> bool:
    """Whether phono3py wrote a file."""
    return path.is_file() and re.search(r"^phono3py:", text_of(path), re.MULTILINE) is not None


def load_phono3py(path: Path, option: str) -> list[Any]:
    """The supercells of a file of phono3py, each as phonopy's object with its displacements.

    Pairs of displaced atoms become displacements of both, with the forces that they cause together.
    Those without forces (beyond the cutoff distance) are left out.

    Args:
        path: ``phono3py_params.yaml``, or ``phono3py_disp.yaml`` with ``FORCES_FC3`` beside it.
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
        found = _phonons(spelt_as_now(text), path)
    except Exception as error:  # whatever a truncated file leads to
        raise InputError(f"{path}: phonopy cannot load this ({reason_of(error)})") from error
    if not found:
        raise InputError(
            f"{path}: neither this file of phono3py nor FORCES_FC3 beside it holds forces; collect "
            "them with phono3py --sp --cf3 OUTPUT …, which writes phono3py_params.yaml"
        )
    for phonon, supercell in found:
        check_order(path, phonon, supercell)
    return [phonon for phonon, _ in found]


def _phonons(text: str, path: Path) -> list[tuple[Any, dict[str, Any] | None]]:
    """phonopy's objects that have forces, each with the supercell as the file describes it."""
    import io

    from phonopy.interface.phonopy_yaml import load_yaml

    whole = load_yaml(io.StringIO(text))
    thirds = {name: whole[name] for name in ("displacements", "dataset") if name in whole}
    seconds = {
        name.removeprefix("phonon_"): whole[name]
        for name in ("phonon_displacements", "phonon_dataset")
        if name in whole
    }
    pairs = whole.get("displacement_pairs")
    if pairs is not None:
        # version 2 names the displacements of the other supercell so
        thirds, seconds = {}, seconds or thirds
    found = [_phonon(whole, "", thirds, pairs, path.with_name("FORCES_FC3"))]
    if "phonon_supercell_matrix" in whole:
        found.append(_phonon(whole, "phonon_", seconds, None, path.with_name("FORCES_FC2")))
    return [one for one in found if one is not None]


def _phonon(
    whole: dict[str, Any],
    prefix: str,
    given: dict[str, Any],
    pairs: list[dict[str, Any]] | None,
    beside: Path,
) -> tuple[Any, dict[str, Any] | None] | None:
    """One supercell with displacements and forces in the file or beside it; None without forces."""
    import phonopy
    from phonopy.interface.phonopy_yaml import load_phonopy_yaml

    supercell = whole.get(f"{prefix}supercell")
    described = {
        "phonopy": whole["phono3py"],
        "supercell_matrix": whole[f"{prefix}supercell_matrix"],
        **{name: whole[name] for name in ("unit_cell", "physical_unit") if name in whole},
        **({} if supercell is None else {"supercell": supercell}),
        **(
            {}
            if prefix or whole.get("supercell_energies") is None
            else {"supercell_energies": whole["supercell_energies"]}
        ),
        **given,
    }
    data: Any = load_phonopy_yaml(described)
    primitive = whole.get(f"{prefix}primitive_matrix", whole.get("primitive_matrix", "P"))
    phonon: Any = phonopy.Phonopy(
        data.unitcell, data.supercell_matrix, primitive_matrix=primitive, calculator=data.calculator
    )
    n_atoms = len(phonon.supercell)
    dataset = data.dataset if pairs is None else _of_pairs(pairs, n_atoms)
    if not _holds_forces(dataset) and beside.is_file():
        dataset = _of_forces_file(beside, n_atoms)
        _check_own(dataset["displacements"], pairs or given.get("displacements"), beside)
    if dataset is None or not _holds_forces(dataset):
        return None
    phonon.dataset = dataset
    return phonon, supercell


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


def _of_forces_file(path: Path, n_atoms: int) -> dict[str, Any]:
    """Likewise of ``FORCES_FC2`` or ``FORCES_FC3``, whose comments name the displaced atoms.

    Raises:
        ValueError: for forces on another number of atoms.
    """
    text = path.read_text()
    if "# File" not in text:
        # displacements and forces of all atoms, side by side
        values = np.loadtxt(path, ndmin=2).reshape(-1, n_atoms, 6)
        return {"displacements": values[:, :, :3], "forces": values[:, :, 3:]}
    displacements, forces = [], []
    for block in text.split("# File")[1:]:
        lines = block.splitlines()[1:]
        rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        if len(rows) != n_atoms:
            raise ValueError(f"{path.name} has forces on {len(rows)} atoms, not {n_atoms}")
        displacement, force = np.zeros((n_atoms, 3)), np.array(rows, dtype=float)
        for line in lines:
            if line.startswith("#"):
                atom, *vector = line[1:].split()
                displacement[int(atom) - 1] += np.array(vector, dtype=float)
        if force.any():  # those beyond the cutoff distance are 0
            displacements.append(displacement)
            forces.append(force)
    return {"displacements": np.array(displacements), "forces": np.array(forces)}


def _check_own(displacements: np.ndarray, described: Any, path: Path) -> None:
    """Refuse a file of forces whose displacements are others than those described.

    Raises:
        ValueError: naming the file.
    """
    first = described[0] if described else None
    if not isinstance(first, dict) or "atom" not in first:
        return
    expected = np.zeros(displacements.shape[1:])
    expected[first["atom"] - 1] = first["displacement"]
    if np.abs(displacements - expected).max(axis=(1, 2)).min() > 1e-5:
        raise ValueError(f"{path.name} beside it has other displacements than its own")


def _holds_forces(dataset: dict[str, Any] | None) -> bool:
    first = (dataset or {}).get("first_atoms")
    return "forces" in (dataset or {}) or bool(first and all("forces" in one for one in first))
