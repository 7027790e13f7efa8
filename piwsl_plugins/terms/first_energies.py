"""Energies of a model before its first step: whether they are of the scale of their labels."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from ..frames.energy_scale import IMPOSSIBLE, UNLIKELY

#: training structures that are looked at, evenly spaced
N_LOOKED_AT = 16
#: forces whose RMS error is below this times the RMS label are of the right size: those of zero
#: have 1
RIGHT_SIZE = 3.0
#: Å; energies that forces of the labels' size change over this distance prove nothing
FAR = 3.0
#: of structures on another scale than the others, from which on they are no accident
SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class FirstEnergies:
    """What a model gives before its first step, against the labels.

    A constant that the energies are off by, such as that of E0s of another method, is learned by
    all weights together, and forces suffer for it.

    Attributes:
        error: median of the absolute errors, in eV per atom.
        force_error: RMS error of the forces in eV/Å; None without labels.
        force_size: RMS of their labels.
        share: of the structures whose energies no bonds explain.
    """

    error: float
    force_error: float | None
    force_size: float | None
    share: float = 0.0

    @classmethod
    def of(
        cls,
        predicted: ArrayLike,
        labels: ArrayLike,
        force_errors: ArrayLike = (),
        force_labels: ArrayLike = (),
    ) -> FirstEnergies:
        """From some structures of a training set; at least one must have an energy.

        Args:
            predicted: ``(n_structures,)`` in eV per atom.
            labels: the same of the labels; NaN where there is none.
            force_errors: of any shape, in eV/Å, of the components that have a label.
            force_labels: these.
        """
        errors = np.abs(np.subtract(predicted, labels))
        size = np.size(force_labels) > 0
        return cls(
            float(np.nanmedian(errors)),
            _rms(force_errors) if size else None,
            _rms(force_labels) if size else None,
            float(np.mean(errors[np.isfinite(errors)] > IMPOSSIBLE)),
        )

    @property
    def _far(self) -> float:
        """What forces of the labels' size make energies differ by, in eV."""
        return 0.0 if self.force_size is None else FAR * self.force_size

    @property
    def _forces_fit(self) -> bool:
        """Whether the forces say nothing against the model."""
        if self.force_error is None or self.force_size is None:
            return True
        return self.force_error < RIGHT_SIZE * self.force_size

    @property
    def impossible(self) -> bool:
        """Whether a constant must be the reason."""
        return self._forces_fit and self.error > max(IMPOSSIBLE, self._far)

    @property
    def unlikely(self) -> bool:
        """Whether a pretrained model should not begin like this."""
        return self._forces_fit and (self.error > UNLIKELY or self.share >= SHARE)

    @property
    def _some(self) -> str:
        if self.share < SHARE or self.error > IMPOSSIBLE:
            return ""
        return (
            f"; those of {self.share:.0%} of the structures lie more than {IMPOSSIBLE:g} eV/atom "
            "from them, as if of another method"
        )

    def __str__(self) -> str:
        forces = (
            ""
            if self.force_error is None
            else ", while its forces are of the right size (RMS error "
            f"{self.force_error:.3g} eV/Å, RMS of the labels {self.force_size:.3g})"
        )
        return (
            f"before the first step the model's energies lie {self.error:.4g} eV/atom from the "
            f"labels{forces}{self._some}"
        )


def evenly_spaced(n: int) -> list[int]:
    """Numbers of the structures to look at, of ``n``."""
    spaced = np.linspace(0, n - 1, min(n, N_LOOKED_AT))
    return [int(number) for number in spaced.round()]


def _rms(values: ArrayLike) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(values, dtype=float)))))
