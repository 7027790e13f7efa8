"""Errors of phonons over the Brillouin zone, crystal by crystal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...resampling import Estimate, Ratio, proportion
from .say import UNSTABLE

#: from so many crystals on, crystals are resampled, otherwise regions of the Brillouin zone
FEW_CRYSTALS = 3


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """CrystalModes of one crystal; frequencies in THz, ascending, imaginary ones negative.

    Attributes:
        bands: along the path, ``(n_points, n_modes)``.
        mesh: on a mesh over the Brillouin zone, ``(n_wave_vectors, n_modes)``.
        weights: of the mesh, ``(n_wave_vectors,)``, sum 1.
        dos_frequencies: where the density of states is given.
        dos: in 1/THz; its integral is n_modes.
    """

    bands: np.ndarray
    mesh: np.ndarray
    weights: np.ndarray
    dos_frequencies: np.ndarray
    dos: np.ndarray

    @property
    def is_unstable(self) -> bool:
        """Whether there is an imaginary mode."""
        return bool(self.mesh.min() < UNSTABLE)


@dataclasses.dataclass(frozen=True)
class CrystalModes:
    """A model on one crystal.

    Attributes:
        formula: of the primitive cell.
        where: the file that it is from.
        distance: of the points of the path, ``(n_points,)`` in 1/Å.
        ticks: distances of its corners.
        tick_labels: names of its corners.
        regions: of the Brillouin zone, to which each wave vector of the mesh belongs.
        reference: spectrum of the reference.
        model: spectrum of the model.
    """

    formula: str
    where: str
    distance: np.ndarray
    ticks: np.ndarray
    tick_labels: list[str]
    regions: np.ndarray
    reference: Spectrum
    model: Spectrum

    @property
    def title(self) -> str:
        """Formula and file."""
        return f"{self.formula} ({Path(self.where).name})"

    @property
    def highest_error(self) -> float:
        """Of the highest frequency, in THz."""
        return float(self.model.mesh.max() - self.reference.mesh.max())

    def sums(self) -> dict[str, np.ndarray]:
        """Sums over the modes of each region of the Brillouin zone, ``(n_regions,)``.

        ``modes`` (which are as many as the primitive cell has in all), and of the error
        ``absolute`` and ``squared``, of the frequencies ``product`` and ``reference`` squared.
        """
        error = self.model.mesh - self.reference.mesh
        values = {
            "modes": np.ones_like(error),
            "absolute": np.abs(error),
            "squared": error**2,
            "product": self.model.mesh * self.reference.mesh,
            "reference": self.reference.mesh**2,
        }
        weighted = {key: self.reference.weights * v.sum(axis=1) for key, v in values.items()}
        return {key: np.bincount(self.regions, v) for key, v in weighted.items()}

    def overview(self) -> dict[str, Any]:
        """The single numbers, for ``summary.json``; frequencies in THz."""
        sums = {key: float(value.sum()) for key, value in self.sums().items()}
        return {
            "crystal": self.where,
            "formula": self.formula,
            "phonon_mae": sums["absolute"] / sums["modes"],
            "phonon_rmse": float(np.sqrt(sums["squared"] / sums["modes"])),
            "highest": float(self.model.mesh.max()),
            "highest_reference": float(self.reference.mesh.max()),
            "lowest": float(self.model.mesh.min()),
            "lowest_reference": float(self.reference.mesh.min()),
        }


def modes_of(content: dict[str, Any]) -> CrystalModes:
    """From the piece on disk (:func:`.measure.spectra`)."""
    path = content["path"]
    reference, model = (
        Spectrum(**{key: np.array(value) for key, value in content[name].items()})
        for name in ("reference", "model")
    )
    return CrystalModes(
        content["formula"],
        content["where"],
        np.array(path["distance"]),
        np.array(path["ticks"]),
        path["tick_labels"],
        np.array(content["regions"]),
        reference,
        model,
    )


def ratios(found: Sequence[CrystalModes]) -> dict[str, Ratio]:
    """The quantities over all crystals.

    With :data:`FEW_CRYSTALS` crystals or more, each is a unit of resampling; with fewer, each
    region of their Brillouin zones, as the regions are what force constants tell independently.
    """
    units = [phonons.sums() for phonons in found]
    if len(found) >= FEW_CRYSTALS:
        units = [{key: value.sum(keepdims=True) for key, value in sums.items()} for sums in units]
    sums = {key: np.concatenate([unit[key] for unit in units]) for key in units[0]}
    return {
        "phonon_mae": Ratio.over(sums["absolute"], sums["modes"]),
        "phonon_rmse": Ratio.over(sums["squared"], sums["modes"], root=True),
        "phonon_slope": Ratio.over(sums["product"], sums["reference"]),
        "phonon_highest_mae": Ratio.over([abs(phonons.highest_error) for phonons in found], 1),
    }


def stability_right(found: Sequence[CrystalModes]) -> Estimate:
    """Fraction of crystals that are stable or unstable as the reference is."""
    return proportion([p.model.is_unstable == p.reference.is_unstable for p in found])


def scale(found: Sequence[CrystalModes]) -> float:
    """Mean |frequency| of the references over the modes of the Brillouin zones, in THz."""
    means = [p.reference.weights @ np.abs(p.reference.mesh).mean(axis=1) for p in found]
    return float(np.mean(means))
