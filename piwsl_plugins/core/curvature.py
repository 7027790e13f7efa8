"""Curvature labels: what is known of the Hessian of structures, and the target it gives PITC.

A label holds a whole Hessian, or for large structures the curvature along a number of probes,
that is displacements δ with ½[E(r+δ) + E(r−δ)] − E(r). Labels are matched to structures by
their geometry, so that a framework's data loader need not know of them.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .settings import SettingsError
from .structures import check_exists, read_structures

FORMAT = "piwsl-curvature 1"
#: key of a Hessian in frames of an extended XYZ file or ASE database
HESSIAN_KEY = "REF_hessian"
#: largest difference, per component in Å, of a structure from the one that was labelled
TOLERANCE = 1e-3

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class CurvatureLabel:
    """The curvature of one structure: a Hessian, or probes.

    Attributes:
        numbers: ``(n_atoms,)``, atomic numbers.
        positions: ``(n_atoms, 3)`` in Å.
        hessian: ``(3 n_atoms, 3 n_atoms)`` in eV/Å², or None.
        displacements: δ of the probes, ``(n_probes, n_atoms, 3)`` in Å, or None.
        curvatures: ½[E(r+δ) + E(r−δ)] − E(r) of the probes, ``(n_probes,)`` in eV, or None.
    """

    numbers: NDArray[np.int64]
    positions: Array
    hessian: Array | None = None
    displacements: Array | None = None
    curvatures: Array | None = None

    def probe(self, key: int) -> int | None:
        """The probe that a structure's random key chooses; None with a Hessian."""
        return None if self.curvatures is None else key % len(self.curvatures)


def write_labels(path: Path | str, labels: Sequence[CurvatureLabel], method: str) -> None:
    """Write labels to an npz file.

    Args:
        path: name of the file, as it is.
        labels: in the order of the frames.
        method: where the curvature comes from, in words.
    """
    probed = [label for label in labels if label.displacements is not None]
    hessians = [label.hessian.ravel() for label in labels if label.hessian is not None]
    with open(path, "wb") as file:
        np.savez(
            file,
            format=FORMAT,
            method=method,
            n_atoms=np.array([len(label.numbers) for label in labels], dtype=np.int64),
            numbers=_joined([label.numbers for label in labels], np.int64),
            positions=_joined([label.positions for label in labels]).reshape(-1, 3),
            has_hessian=np.array([label.hessian is not None for label in labels], dtype=bool),
            hessians=_joined(hessians),
            n_probes=np.array(
                [0 if label.curvatures is None else len(label.curvatures) for label in labels],
                dtype=np.int64,
            ),
            displacements=_joined([label.displacements.reshape(-1, 3) for label in probed]),  # type: ignore[union-attr]
            curvatures=_joined([label.curvatures for label in probed]),
        )


def _joined(parts: Iterable[Any], dtype: Any = np.float64) -> NDArray[Any]:
    found = [np.asarray(part, dtype=dtype) for part in parts if part is not None]
    return np.concatenate(found) if found else np.zeros(0, dtype=dtype)


def read_labels(path: Path | str) -> list[CurvatureLabel]:
    """Read labels from an npz file of ``piwsl-curvature``, or from frames with ``REF_hessian``.

    Args:
        path: the npz file, or any file that ASE reads, whose frames carry ``REF_hessian`` in
            eV/Å²: ``(3 n_atoms, 3 n_atoms)`` or flat in ``info``, or ``(n_atoms, 9 n_atoms)`` as
            a column per atom.

    Raises:
        SettingsError: naming ``curvature_file``, if the file cannot be used.
    """
    check_exists(path, "curvature_file")
    labels = _read_npz(path) if zipfile.is_zipfile(path) else _read_frames(path)
    if not labels:
        raise SettingsError(
            "curvature_file",
            str(path),
            f"no frame has a curvature label; frames need '{HESSIAN_KEY}' (eV/Å²), or make labels "
            "with piwsl-curvature",
        )
    return labels


def _read_npz(path: Path | str) -> list[CurvatureLabel]:
    with np.load(path) as file:
        data = dict(file)
    if str(data.get("format")) != FORMAT:
        raise SettingsError(
            "curvature_file", str(path), f"this is not a file of the format '{FORMAT}'"
        )
    sizes, n_probes = data["n_atoms"], data["n_probes"]
    numbers = np.split(data["numbers"], np.cumsum(sizes)[:-1])
    positions = np.split(data["positions"], np.cumsum(sizes)[:-1])
    areas = np.where(data["has_hessian"], (3 * sizes) ** 2, 0)
    hessians = np.split(data["hessians"], np.cumsum(areas)[:-1])
    fields = np.split(data["displacements"].reshape(-1, 3), np.cumsum(n_probes * sizes)[:-1])
    curvatures = np.split(data["curvatures"], np.cumsum(n_probes)[:-1])
    return [
        CurvatureLabel(numbers[i], positions[i], hessian=hessians[i].reshape(3 * n, 3 * n))
        if data["has_hessian"][i]
        else CurvatureLabel(
            numbers[i],
            positions[i],
            displacements=fields[i].reshape(-1, n, 3),
            curvatures=curvatures[i],
        )
        for i, n in enumerate(sizes)
    ]


def _read_frames(path: Path | str) -> list[CurvatureLabel]:
    labels = []
    for index, atoms in enumerate(read_structures(path, "curvature_file")):
        given = atoms.info.get(HESSIAN_KEY, atoms.arrays.get(HESSIAN_KEY))
        if given is None:
            continue
        hessian, n = np.asarray(given, dtype=float), len(atoms)
        if hessian.size != (3 * n) ** 2:
            raise SettingsError(
                "curvature_file",
                str(path),
                f"'{HESSIAN_KEY}' of frame {index} has shape {hessian.shape}, but {n} atoms need "
                f"({3 * n}, {3 * n})",
            )
        labels.append(CurvatureLabel(atoms.numbers, atoms.positions, hessian.reshape(3 * n, 3 * n)))
    return labels


class CurvatureLabels:
    """Labels to be found by the geometry of a structure."""

    def __init__(self, labels: Iterable[CurvatureLabel]) -> None:
        """Args: labels: from :func:`read_labels`."""
        self._by_numbers: dict[bytes, list[CurvatureLabel]] = {}
        self._positions: dict[bytes, Array] = {}
        self._found: dict[bytes, CurvatureLabel | None] = {}
        for label in labels:
            numbers = np.asarray(label.numbers, dtype=np.int64).tobytes()
            self._by_numbers.setdefault(numbers, []).append(label)
        for numbers, group in self._by_numbers.items():
            self._positions[numbers] = np.stack([label.positions for label in group])

    def find(self, numbers: Tensor, positions: Tensor) -> CurvatureLabel | None:
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
    ) -> list[CurvatureLabel | None]:
        """:meth:`find` for structures one after the other; arguments on any device."""
        blocks = zip(
            torch.split(numbers.cpu(), sizes), torch.split(positions.cpu(), sizes), strict=True
        )
        return [self.find(*block) for block in blocks]


def known_curvatures(
    labels: Sequence[CurvatureLabel], keys: Sequence[int], displacement: Tensor
) -> Tensor:
    """½ δᵀH_ref δ of each structure, or the curvature of its probe.

    Args:
        labels: one per structure.
        keys: one per structure, by which probes were chosen.
        displacement: δ, ``(n_atoms, 3)`` in Å, the structures one after the other.

    Returns:
        ``(n_structures,)`` in eV, on the device and in the dtype of ``displacement``.
    """
    sizes = [len(label.numbers) for label in labels]
    values = []
    fields = torch.split(displacement.detach().cpu().double(), sizes)
    for label, key, field in zip(labels, keys, fields, strict=True):
        probe = label.probe(key)
        if probe is not None and label.curvatures is not None:
            values.append(float(label.curvatures[probe]))
        elif label.hessian is not None:
            vector = field.reshape(-1).numpy()
            values.append(0.5 * float(vector @ label.hessian @ vector))
    return torch.tensor(values, dtype=displacement.dtype, device=displacement.device)
