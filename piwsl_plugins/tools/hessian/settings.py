"""How second derivatives are measured: every choice with its default."""

from __future__ import annotations

import dataclasses

from ...options.option import option
from ..options import CheckedSettings


@dataclasses.dataclass(frozen=True)
class HessianSettings(CheckedSettings):
    """Choices of one run, by which finished frames are recognised; each says what it is."""

    step: float = option(
        0.005,
        "displacement of the central differences of forces",
        unit="Å",
        minimum=1e-4,
        maximum=0.1,
    )
    max_hessian_atoms: int = option(
        24,
        "largest structure that gets a whole Hessian (6 force calculations per atom); larger ones "
        "get probes",
        kind=int,
        minimum=0,
    )
    probes: int = option(
        16,
        "random displacements of a structure without Hessian, one force calculation each",
        kind=int,
        minimum=1,
    )
    max_displacement: float = option(
        0.05,
        "bound of every component of the probes; training displaces these structures by them",
        unit="Å",
        minimum=0.0,
        maximum=0.5,
        exclusive=True,
    )
    energies: bool = option(
        False,
        "probes from energies alone (2 calculations each) for all structures; for calculators "
        "without forces",
        kind=bool,
    )
    seed: int = option(0, "seed of the probes", kind=int, minimum=0)

    def __str__(self) -> str:
        """In words, for the label file."""
        probes = (
            f"{self.probes} probes of at most {self.max_displacement:g} Å per component, seed "
            f"{self.seed}"
        )
        if self.energies:
            return f"{probes}, from energies"
        return (
            f"Hessians up to {self.max_hessian_atoms} atoms by central differences of forces with "
            f"{self.step:g} Å, otherwise {probes}, from forces"
        )
