"""Hessian labels: what is known of the second derivatives of structures, and whose they are.

A label holds a Hessian, whole or of some atoms, or for large structures a number of probes:
displacements δ with the change of the forces, or with the curvature of the energy, along each.
Labels are matched to structures by their geometry, so that a framework's data loader need not
know of them.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .options import SettingsError
from .structures import check_exists, read_structures

FORMAT = "piwsl-hessian 1"
#: key of a Hessian in frames of an extended XYZ file or ASE database
HESSIAN_KEY = "REF_hessian"
#: largest difference, per component in Å, of a structure from the one that was labelled
TOLERANCE = 1e-3
#: largest difference of H and its transpose, relative to the largest element
ASYMMETRY = 0.02

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


_PARTS = tuple(field.name for field in dataclasses.fields(HessianLabel))


def write_labels(path: Path | str, labels: Sequence[HessianLabel], method: str) -> None:
    """Write labels to an npz file, in which ``hessian.3`` is the Hessian of label 3, and so on.

    Args:
        path: name of the file, as it is.
        labels: in the order of the frames.
        method: where they come from, in words.
    """
    arrays = {
        f"{name}.{index}": getattr(label, name)
        for index, label in enumerate(labels)
        for name in _PARTS
        if getattr(label, name) is not None
    }
    with open(path, "wb") as file:
        np.savez(file, format=FORMAT, method=method, n_labels=len(labels), **arrays)


def read_labels(path: Path | str, option: str = "hessian_file") -> list[HessianLabel]:
    """Read labels from a file of ``piwsl hessian``, or from frames with ``REF_hessian``.

    Args:
        path: the npz file, or any file that ASE reads, whose frames carry ``REF_hessian`` in
            eV/Å²: ``(3 n_atoms, 3 n_atoms)`` or flat in ``info``, or ``(n_atoms, 9 n_atoms)`` as
            a column per atom.
        option: name of the option that gave the file.

    Raises:
        SettingsError: naming option and frame, if the file cannot be used.
    """
    check_exists(path, option)
    labels = (_read_npz if zipfile.is_zipfile(path) else _read_frames)(path, option)
    if not labels:
        raise SettingsError(
            option,
            str(path),
            f"no frame has a Hessian label; frames need '{HESSIAN_KEY}' (eV/Å²), or make labels "
            "with 'piwsl hessian'",
        )
    for index, label in enumerate(labels):
        problem = _problem_of(label)
        if problem:
            raise SettingsError(option, str(path), f"label {index} (from 0): {problem}")
    return labels


def _read_npz(path: Path | str, option: str) -> list[HessianLabel]:
    try:
        with np.load(path, allow_pickle=False) as file:
            data = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise SettingsError(option, str(path), f"it cannot be read ({error})") from error
    if str(data.get("format")) != FORMAT:
        raise SettingsError(option, str(path), f"this is not a file of the format '{FORMAT}'")
    return [
        HessianLabel(**{name: data.get(f"{name}.{index}") for name in _PARTS})  # type: ignore
        for index in range(int(data["n_labels"]))
    ]


def _read_frames(path: Path | str, option: str) -> list[HessianLabel]:
    labels = []
    for index, atoms in enumerate(read_structures(path, option)):
        given = atoms.info.get(HESSIAN_KEY, atoms.arrays.get(HESSIAN_KEY))
        if given is None:
            continue
        hessian, n = np.asarray(given, dtype=float), len(atoms)
        if hessian.size != (3 * n) ** 2:
            raise SettingsError(
                option,
                str(path),
                f"'{HESSIAN_KEY}' of frame {index} has shape {hessian.shape}, but {n} atoms need "
                f"({3 * n}, {3 * n})",
            )
        labels.append(
            HessianLabel(
                atoms.numbers,
                atoms.positions,
                atoms.cell.array,
                atoms.pbc,
                hessian.reshape(3 * n, 3 * n),
            )
        )
    return labels


def _problem_of(label: HessianLabel) -> str | None:
    """What is wrong with a label, in words; None if nothing is."""
    for name in ("positions", "hessian", "displacements", "force_changes", "curvatures"):
        value = getattr(label, name)
        if value is not None and not np.isfinite(value).all():
            return f"its {name} are not all finite; remove it or make it anew"
    if label.hessian is None:
        if label.displacements is None or len(label.displacements) == 0:
            return "it has neither a Hessian nor probes; make it anew"
        return None
    return asymmetry_of(label)


def asymmetry_of(label: HessianLabel) -> str | None:
    """What is wrong with a Hessian that is not symmetric, in words; None if it is."""
    block = label.block
    asymmetry = float(np.abs(block - block.T).max())
    if asymmetry <= ASYMMETRY * float(np.abs(block).max()):
        return None
    return (
        "the Hessian is not symmetric: elements that should be equal differ by "
        f"{asymmetry:.3g} eV/Å²; was the order of atoms or columns changed, or are forces noisy?"
    )


class HessianLabels:
    """Labels to be found by the geometry of a structure."""

    def __init__(self, labels: Iterable[HessianLabel]) -> None:
        """Args: labels: from :func:`read_labels`."""
        self._by_numbers: dict[bytes, list[HessianLabel]] = {}
        self._positions: dict[bytes, Array] = {}
        self._found: dict[bytes, HessianLabel | None] = {}
        for label in labels:
            numbers = np.asarray(label.numbers, dtype=np.int64).tobytes()
            self._by_numbers.setdefault(numbers, []).append(label)
        for numbers, group in self._by_numbers.items():
            self._positions[numbers] = np.stack([label.positions for label in group])

    def __len__(self) -> int:
        return sum(map(len, self._by_numbers.values()))

    def find(self, numbers: Tensor, positions: Tensor) -> HessianLabel | None:
        """The label of a structure with the same atoms in the same order, within 1e-3 Å.

        Args:
            numbers: ``(n_atoms,)``, atomic numbers, on the CPU.
            positions: ``(n_atoms, 3)`` in Å, on the CPU.
        """
        elements = numbers.detach().numpy().astype(np.int64).tobytes()
        points = positions.detach().numpy()
        key = elements + points.tobytes()
        if key not in self._found:
            self._found[key] = None
            if elements in self._positions:
                difference = np.abs(self._positions[elements] - points).max(axis=(1, 2))
                nearest = int(difference.argmin())
                if difference[nearest] <= TOLERANCE:
                    self._found[key] = self._by_numbers[elements][nearest]
        return self._found[key]

    def find_all(
        self, numbers: Tensor, positions: Tensor, sizes: list[int]
    ) -> list[HessianLabel | None]:
        """:meth:`find` for structures one after the other, on the CPU."""
        return [self.find(*block) for block in zip(numbers.split(sizes), positions.split(sizes))]

    def summary(self, structures: Iterable[tuple[Tensor, Tensor]]) -> tuple[int, int]:
        """How many structures have a label, of how many.

        Args:
            structures: numbers and positions (Å) of each, on the CPU.
        """
        found = [self.find(*structure) is not None for structure in structures]
        return sum(found), len(found)
