"""What a report computes: every choice with its default, written once for library and command."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .errors import ReportError

#: what can be computed for a model, in this order
PARTS = ("labels", "consistency", "scans", "dynamics")
ENSEMBLES = ("nve", "langevin")


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """Choices of one report; lengths in Å, temperatures in K, times as named.

    Attributes:
        parts: of :data:`PARTS`.
        energy_key: name of the energy label (eV) in the extended XYZ file.
        forces_key: name of the force label (eV/Å), or "none" for data without forces.
        stress_key: name of the stress label (eV/Å³, ASE's sign); frames may lack it.
        max_frames: labelled frames to evaluate, evenly spaced over the data; 0 means all.
        fit_energy_offset: fit one energy per element to the energy errors and take it off.
        device: torch device of the models.
        dtype: floating-point type into which MACE models are converted ("model": as stored).
        epsilons: largest displacements per component of the consistency part (Å).
        consistency_frames: frames on which consistency is measured.
        draws: displacement fields per frame.
        stretch: shortest and longest bond of the bond-stretch scans, relative to its length.
        scan_points: points of a bond-stretch scan.
        ensembles: of :data:`ENSEMBLES`.
        temperatures: of the dynamics (K).
        md_length: length of every run (ps).
        timestep: of the dynamics (fs).
        friction: of the Langevin runs (1/fs).
        md_starts: number of frames from which dynamics starts.
        md_seeds: number of velocity seeds for every start.
        bond_factor: a bond is broken beyond this multiple of the sum of covalent radii;
            0 switches the check off (melts, surfaces, reactions).
        resamples: bootstrap resamples over frames.
        seed: of displacements, velocities and bootstrap.

    Raises:
        ReportError: for a value that is not allowed.
    """

    parts: tuple[str, ...] = PARTS
    energy_key: str = "REF_energy"
    forces_key: str = "REF_forces"
    stress_key: str = "REF_stress"
    max_frames: int = 0
    fit_energy_offset: bool = False
    device: str = "cpu"
    dtype: str = "float64"
    epsilons: tuple[float, ...] = (0.005, 0.01, 0.02, 0.04, 0.08)
    consistency_frames: int = 20
    draws: int = 4
    stretch: tuple[float, float] = (0.75, 2.0)
    scan_points: int = 60
    ensembles: tuple[str, ...] = ENSEMBLES
    temperatures: tuple[float, ...] = (300.0,)
    md_length: float = 5.0
    timestep: float = 0.5
    friction: float = 0.01
    md_starts: int = 3
    md_seeds: int = 2
    bond_factor: float = 1.5
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        def require(name: str, valid: bool, allowed: str) -> None:
            if not valid:
                option, value = name.replace("_", "-"), getattr(self, name)
                raise ReportError(f"--{option} = {value!r} cannot be used: {allowed}")

        for name, known in (("parts", PARTS), ("ensembles", ENSEMBLES)):
            chosen = getattr(self, name)
            require(
                name,
                bool(chosen) and set(chosen) <= set(known),
                "one or more of " + ", ".join(known),
            )
        different = len(self.epsilons) == len(set(self.epsilons)) > 0
        require("epsilons", different, "give one or more different values")
        inside = all(0 < epsilon <= 0.5 for epsilon in self.epsilons)
        require("epsilons", inside, "values above 0, at most 0.5 Å")
        require("stretch", 0 < self.stretch[0] < self.stretch[1], "two factors, the smaller first")
        require("temperatures", all(t > 0 for t in self.temperatures), "temperatures above 0 K")
        for name in ("consistency_frames", "draws", "md_starts", "md_seeds"):
            require(name, getattr(self, name) >= 1, "at least 1")
        require("scan_points", self.scan_points >= 5, "at least 5")
        require("resamples", self.resamples >= 100, "at least 100")
        for name in ("md_length", "timestep", "friction"):
            require(name, getattr(self, name) > 0, "a number above 0")
        for name in ("max_frames", "seed"):
            require(name, getattr(self, name) >= 0, "0 or above")
        tight = 0 < self.bond_factor < 1.3 or self.bond_factor < 0
        require("bond_factor", not tight, "0 to switch the check off, or at least 1.3")

    @classmethod
    def create(cls, given: Mapping[str, Any], quick: bool = False) -> ReportSettings:
        """Settings from the options a user gave; with ``quick`` the others are small."""
        return cls(**{**(QUICK if quick else {}), **given})


#: about a minute for two small MACE models and a molecule of nine atoms on one core
QUICK: dict[str, Any] = {
    "max_frames": 60,
    "epsilons": (0.01, 0.02, 0.04, 0.08),
    "consistency_frames": 8,
    "draws": 2,
    "scan_points": 30,
    "md_length": 0.2,
    "md_starts": 2,
    "md_seeds": 1,
}
