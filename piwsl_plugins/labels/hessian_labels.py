"""Hessian labels: what is known of the second derivatives of structures, and whose they are.

A label holds a Hessian, whole or of some atoms, or for large structures a number of probes:
displacements δ with the change of the forces, or with the curvature of the energy, along each.
Labels are matched to structures by what these are (:mod:`piwsl_plugins.frames`), so that a
framework's data loader need not know of them.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..frames.reading import check_exists, read_atoms, structure_of
from ..frames.structure import Structure
from ..progress import shown

FORMAT = "piwsl-hessian 1"
#: endings of the names of HDF5 files
HDF5 = (".h5", ".hdf5")
#: key of a Hessian in frames of an extended XYZ file or ASE database
HESSIAN_KEY = "REF_hessian"

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class HessianLabel:
    """What is known of the Hessian of one structure: a matrix, or probes.

    Attributes:
        numbers: ``(n_atoms,)``, atomic numbers.
        positions: ``(n_atoms, 3)`` in Å.
        cell: ``(3, 3)`` in Å, or None.
        pbc: ``(3,)`` bool, or None.
        hessian: ``(3 m, 3 k)`` in eV/Å², or None; k is m (the block of ``atoms`` alone) or
            n_atoms (their whole rows).
        atoms: ``(m,)``, indices of the atoms to which the rows belong; None for all.
        displacements: δ of the probes, ``(n_probes, n_atoms, 3)`` in Å, or None.
        force_changes: F(r+δ) − F(r) of the probes, likewise in eV/Å, or None.
        curvatures: ½[E(r+δ) + E(r−δ)] − E(r) of the probes, ``(n_probes,)`` in eV, or None.
        charge: total charge in e, or None where it is not known: 0.
        spin: multiplicity 2S + 1, or None where it is not known: the lowest.
    """

    numbers: NDArray[np.int64]
    positions: Array
    cell: Array | None = None
    pbc: NDArray[np.bool_] | None = None
    hessian: Array | None = None
    atoms: NDArray[np.int64] | None = None
    displacements: Array | None = None
    force_changes: Array | None = None
    curvatures: Array | None = None
    charge: float | None = None
    spin: float | None = None

    @property
    def structure(self) -> Structure:
        """What was labelled; periodic where the label says so, or has a cell and does not say."""
        pbc = self.pbc
        if pbc is None and self.cell is not None:
            pbc = np.asarray(self.cell.any(axis=1))
        return Structure.of(self.numbers, self.positions, self.cell, pbc, self.charge, self.spin)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The atoms that are displaced, ``(m,)``."""
        return np.arange(len(self.numbers)) if self.atoms is None else self.atoms

    @property
    def columns(self) -> NDArray[np.int64]:
        """The atoms whose forces are known to change, ``(k,)``."""
        if self.hessian is None or self.hessian.shape[1] == 3 * len(self.numbers):
            return np.arange(len(self.numbers))
        return self.rows

    @property
    def block(self) -> Array:
        """The square part of the Hessian, ``(3 m, 3 m)`` in eV/Å²."""
        assert self.hessian is not None
        if len(self.columns) == len(self.rows):
            return self.hessian
        return self.hessian[:, (3 * self.rows[:, None] + np.arange(3)).ravel()]


#: what a label can hold, by name
PARTS = tuple(field.name for field in dataclasses.fields(HessianLabel))


def write_labels(
    path: Path | str, labels: Sequence[HessianLabel], method: str, hdf5: bool | None = None
) -> None:
    """Write labels to an npz file, or to an HDF5 file, which training reads label by label.

    In an npz file ``hessian.3`` is the Hessian of label 3, and so on; HDF5:
    :mod:`piwsl_plugins.labels.hessian_hdf5`.

    Args:
        path: name of the file, as it is.
        labels: in the order of the frames.
        method: where they come from, in words.
        hdf5: which of the two; by the ending of the name (.h5, .hdf5) if None.
    """
    if Path(path).suffix in HDF5 if hdf5 is None else hdf5:
        from .hessian_hdf5 import write

        return write(path, labels, method)
    arrays = {
        f"{name}.{index}": getattr(label, name)
        for index, label in enumerate(labels)
        for name in PARTS
        if getattr(label, name) is not None
    }
    with open(path, "wb") as file:
        np.savez(file, format=FORMAT, method=method, n_labels=len(labels), **arrays)


def read_labels(
    path: Path | str,
    option: str = "hessian_file",
    check: Callable[[int, HessianLabel], None] | None = None,
) -> Sequence[HessianLabel]:
    """Read labels from a file of ``piwsl hessian``, or from frames with ``REF_hessian``.

    All labels are looked at once. Those of an HDF5 file are not kept in memory, but read again
    when they are asked for.

    Args:
        path: the npz or HDF5 file, or any file that ASE reads, whose frames carry ``REF_hessian``
            in eV/Å²: ``(3 n_atoms, 3 n_atoms)`` or flat in ``info``, or ``(n_atoms, 9 n_atoms)`` as
            a column per atom.
        option: name of the option that gave the file.
        check: called with the number of each label, from 0, and the label.

    Raises:
        SettingsError: naming option and frame, if the file cannot be used; those of ``check``.
    """
    check_exists(path, option)
    labels: Sequence[HessianLabel]
    if Path(path).suffix in HDF5:
        from .hessian_hdf5 import LabelFile

        labels = LabelFile(path, option)
    else:
        labels = (_read_npz if zipfile.is_zipfile(path) else _read_frames)(path, option)
    if not labels:
        raise SettingsError(
            option,
            str(path),
            f"no frame has a Hessian label; frames need '{HESSIAN_KEY}' (eV/Å²), or make labels "
            "with 'piwsl hessian'",
        )
    check_labels(labels, str(path), option, check)
    return labels


def check_labels(
    labels: Sequence[HessianLabel],
    source: str,
    option: str = "hessian_file",
    check: Callable[[int, HessianLabel], None] | None = None,
) -> None:
    """Refuse labels that are not whole.

    Args:
        labels: any.
        source: their file, or where else they come from, in words.
        option: name of the option that gave them.
        check: called with the number of each label, from 0, and the label.

    Raises:
        SettingsError: naming option and label; those of ``check``.
    """
    for index, label in enumerate(shown(labels, "checking Hessian labels", len(labels))):
        problem = problem_of_parts(label)
        if problem:
            raise SettingsError(option, source, f"label {index} (from 0): {problem}")
        if check is not None:
            check(index, label)


def _read_npz(path: Path | str, option: str) -> list[HessianLabel]:
    try:
        with np.load(path, allow_pickle=False) as file:
            data = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise SettingsError(option, str(path), f"it cannot be read ({error})") from error
    if str(data.get("format")) != FORMAT:
        raise SettingsError(option, str(path), f"this is not a file of the format '{FORMAT}'")
    try:
        n_labels = int(data["n_labels"])
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(option, str(path), f"it cannot be read ({error})") from error
    return [
        HessianLabel(**{name: data.get(f"{name}.{index}") for name in PARTS})  # type: ignore
        for index in range(n_labels)
    ]


def _read_frames(path: Path | str, option: str) -> list[HessianLabel]:
    labels = []
    for index, atoms in enumerate(read_atoms(path, option)):
        given = atoms.info.get(HESSIAN_KEY, atoms.arrays.get(HESSIAN_KEY))
        if given is None:
            continue
        try:
            hessian, n = np.asarray(given, dtype=float), len(atoms)
        except (TypeError, ValueError):
            raise SettingsError(
                option, str(path), f"'{HESSIAN_KEY}' of frame {index} is not numeric"
            ) from None
        if hessian.size != (3 * n) ** 2:
            raise SettingsError(
                option,
                str(path),
                f"'{HESSIAN_KEY}' of frame {index} has shape {hessian.shape}, but {n} atoms need "
                f"({3 * n}, {3 * n})",
            )
        try:
            known = structure_of(atoms)
        except ValueError as error:
            raise SettingsError(option, str(path), f"frame {index} (from 0): {error}") from None
        labels.append(
            HessianLabel(
                atoms.numbers,
                atoms.positions,
                atoms.cell.array,
                atoms.pbc,
                hessian.reshape(3 * n, 3 * n),
                charge=known.charge,
                spin=known.spin,
            )
        )
    return labels


def problem_of_parts(label: HessianLabel) -> str | None:
    """What is wrong with a label, in words; None if nothing is."""
    problem = _wrong_shape(label)
    if problem:
        return problem
    for name in (n for n in PARTS if n not in ("numbers", "pbc", "atoms")):
        value = getattr(label, name)
        if value is not None and not np.isfinite(value).all():
            return f"its {name} are not all finite; remove it or make it anew"
    n_probes = 0 if label.displacements is None else len(label.displacements)
    if label.hessian is None and n_probes == 0:
        return "it has neither a Hessian nor probes; make it anew"
    return None


def _wrong_shape(label: HessianLabel) -> str | None:
    """Which part of a label has not the shape that its atoms need, in words."""
    n = np.size(label.numbers)
    for name in PARTS:
        whole = name in ("numbers", "atoms")
        value = getattr(label, name)
        if value is not None and np.asarray(value).dtype.kind not in ("iu" if whole else "biuf"):
            return f"its {name} are no {'whole ' if whole else ''}numbers; make it anew"
    if label.atoms is not None and not np.isin(label.atoms, np.arange(n)).all():
        return f"its atoms are not all from 0 to {n - 1}; make it anew"
    n_rows = 3 * (n if label.atoms is None else np.size(label.atoms))
    n_probes = 0 if label.displacements is None else len(label.displacements)
    needed: dict[str, list[tuple[int, ...]]] = {
        "numbers": [(n,)],
        "positions": [(n, 3)],
        "cell": [(3, 3)],
        "pbc": [(3,)],
        "hessian": [(n_rows, n_rows), (n_rows, 3 * n)],
        "displacements": [(n_probes, n, 3)],
        "force_changes": [(n_probes, n, 3)],
        "curvatures": [(n_probes,)],
        "charge": [()],
        "spin": [()],
    }
    for name, shapes in needed.items():
        value = getattr(label, name)
        if value is None and name not in ("numbers", "positions"):
            continue
        if np.shape(value) not in shapes:
            return f"its {name} have shape {np.shape(value)}, but {n} atoms need {shapes[-1]}"
    return None
