"""What a report computes: every choice with its default, written once for library and command."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...options.option import option
from ..states import StateNames

#: what can be computed for a model, in this order
PARTS = {
    "labels": "errors on the labelled frames",
    "consistency": "PITC and PISC residuals, curvature, symmetry of the Jacobian",
    "scans": "bond stretches and paths",
    "dynamics": "short molecular dynamics",
    "vibrations": "Hessians and frequencies against Hessian labels, phonons against phonopy's",
}
ENSEMBLES = {"nve": "constant energy", "langevin": "constant temperature"}
_DTYPES = {"float64": "", "float32": "", "model": "as stored"}


@dataclasses.dataclass(frozen=True)
class ReportSettings(StateNames):
    """Choices of one report; each says in its help what it is."""

    energy_key: str = option("REF_energy", "key of the energy label (eV)", kind=str)
    forces_key: str = option(
        "REF_forces", "key of the force label (eV/Å), 'none' for data without", kind=str
    )
    stress_key: str = option("REF_stress", "key of the stress label (eV/Å³, ASE's sign)", kind=str)
    dipole_key: str = option("REF_dipole", "key of the dipole label (e·Å)", kind=str)
    max_frames: int = option(0, "evenly spaced frames to evaluate, 0 for all", kind=int, minimum=0)
    fit_energy_offset: bool = option(
        False,
        "fit one energy per element to the energy errors and take it off (model and data of "
        "different levels of theory)",
        kind=bool,
    )
    device: str = option("cpu", "torch device of the models", kind=str)
    dtype: str = option(
        "float64", "precision of MACE models ('model': as stored)", kind=str, choices=_DTYPES
    )
    parts: tuple[str, ...] = option(
        tuple(part for part in PARTS if part != "vibrations"),
        "what to compute; vibrations need --hessians or --phonons, and come with them",
        kind=str,
        choices=PARTS,
    )
    epsilons: tuple[float, ...] = option(
        (0.005, 0.01, 0.02, 0.04, 0.08),
        "largest displacements per component of the consistency part",
        unit="Å",
        minimum=0.0,
        maximum=0.5,
        exclusive=True,
    )
    consistency_frames: int = option(
        20, "frames on which consistency is measured", kind=int, minimum=1
    )
    draws: int = option(4, "displacement fields per frame", kind=int, minimum=1)
    stretch: tuple[float, ...] = option(
        (0.75, 2.0),
        "shortest and longest bond of the bond-stretch scans, relative to its length",
        minimum=0.0,
        exclusive=True,
    )
    scan_points: int = option(60, "points of a bond-stretch scan", kind=int, minimum=5)
    ensembles: tuple[str, ...] = option(
        tuple(ENSEMBLES), "of the dynamics", kind=str, choices=ENSEMBLES
    )
    temperatures: tuple[float, ...] = option(
        (300.0,), "of the dynamics", unit="K", minimum=0.0, exclusive=True
    )
    md_length: float = option(5.0, "length of a run", unit="ps", minimum=0.0, exclusive=True)
    timestep: float = option(0.5, "time step", unit="fs", minimum=0.0, exclusive=True)
    friction: float = option(
        0.01, "friction of Langevin runs", unit="1/fs", minimum=0.0, exclusive=True
    )
    md_starts: int = option(3, "frames from which runs start", kind=int, minimum=1)
    md_seeds: int = option(2, "velocity seeds for each start", kind=int, minimum=1)
    bond_factor: float = option(
        1.5,
        "a bond is broken beyond this multiple of the sum of covalent radii; 0 switches the check "
        "off (melts, surfaces, reactions)",
        minimum=0.0,
    )
    vibration_structures: int = option(
        0, "evenly spaced structures of --hessians to evaluate, 0 for all", kind=int, minimum=0
    )
    resamples: int = option(1000, "bootstrap resamples over frames", kind=int, minimum=100)
    seed: int = option(0, "seed of displacements, velocities and bootstrap", kind=int, minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        different = len(self.epsilons) == len(set(self.epsilons))
        self.require("epsilons", different, "different values")
        ordered = len(self.stretch) == 2 and self.stretch[0] < self.stretch[1]
        self.require("stretch", ordered, "two factors, the smaller first")
        tight = 0 < self.bond_factor < 1.3
        self.require("bond_factor", not tight, "0 to switch the check off, or at least 1.3")

    @classmethod
    def create(cls, given: Mapping[str, Any], quick: bool = False) -> ReportSettings:
        """Settings from the options a user gave; with ``quick`` the others are small."""
        return cls(**{**(QUICK if quick else {}), **given})


#: about a minute for two small MACE models and a molecule of nine atoms on one core; dynamics that
#: are short enough for that say nothing
QUICK: dict[str, Any] = {
    "parts": ("labels", "consistency", "scans"),
    "max_frames": 60,
    "epsilons": (0.01, 0.02, 0.04, 0.08),
    "consistency_frames": 8,
    "draws": 2,
    "scan_points": 30,
    "md_starts": 2,
    "md_seeds": 1,
    "vibration_structures": 4,
}
