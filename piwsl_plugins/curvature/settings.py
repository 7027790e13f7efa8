"""How curvature is measured: every choice with its default."""

from __future__ import annotations

import dataclasses

from .errors import CurvatureError


@dataclasses.dataclass(frozen=True)
class CurvatureSettings:
    """Choices of one run; part of what a finished frame is recognised by.

    Attributes:
        step: displacement of the central differences of forces (Å).
        max_hessian_atoms: largest structure that gets a whole Hessian; larger ones get probes.
        probes: random displacements of a structure without Hessian.
        max_displacement: bound of every component of a probe's displacement (Å).
        seed: of the probes.

    Raises:
        CurvatureError: for a value that is not allowed.
    """

    step: float = 0.005
    max_hessian_atoms: int = 24
    probes: int = 16
    max_displacement: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        def require(name: str, valid: bool, allowed: str) -> None:
            if not valid:
                raise CurvatureError(f"--{name}={getattr(self, name)}: allowed is {allowed}")

        require("step", 1e-4 <= self.step <= 0.1, "a number from 0.0001 to 0.1 Å")
        require("max_hessian_atoms", self.max_hessian_atoms >= 0, "0 or above")
        require("probes", self.probes >= 1, "at least 1")
        require("max_displacement", 0 < self.max_displacement <= 0.5, "above 0, at most 0.5 Å")
        require("seed", self.seed >= 0, "0 or above")
