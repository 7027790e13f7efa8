"""What a structure is, and in what two structures differ."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: largest difference of a coordinate in Å between two that are the same
TOLERANCE = 1e-3
#: of a component of a periodic cell vector in Å
CELL_TOLERANCE = 5e-4
#: the same of charges (e) and spin multiplicities
STATE_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Structure:
    """Atoms in a state: all that an energy is a function of, and the level of theory.

    Two are the same if nothing of this differs by more than the tolerances
    (:meth:`difference`); the order of the atoms counts.

    Attributes:
        numbers: ``(n_atoms,)``, atomic numbers.
        positions: ``(n_atoms, 3)`` in Å; in periodic directions modulo the cell vectors.
        cell: ``(3, 3)`` in Å; vectors of directions that are not periodic mean nothing.
        pbc: ``(3,)``, which directions are periodic.
        charge: total charge in e; 0 where none was given.
        spin: multiplicity 2S + 1; None, the lowest of its number of electrons, where none was
            given.
        level: name of the method, head or dataset whose labels the structure has, or "".
    """

    numbers: NDArray[np.int64]
    positions: Array
    cell: Array
    pbc: NDArray[np.bool_]
    charge: float = 0.0
    spin: float | None = None
    level: str = ""

    @classmethod
    def of(
        cls,
        numbers: ArrayLike,
        positions: ArrayLike,
        cell: ArrayLike | None = None,
        pbc: ArrayLike | None = None,
        charge: float | None = None,
        spin: float | None = None,
        level: str = "",
    ) -> Structure:
        """From anything that NumPy takes; what is None was not given."""
        return cls(
            np.asarray(numbers, dtype=np.int64).reshape(-1),
            np.asarray(positions, dtype=float).reshape(-1, 3),
            np.zeros((3, 3)) if cell is None else np.asarray(cell, dtype=float).reshape(3, 3),
            np.zeros(3, dtype=bool) if pbc is None else np.asarray(pbc, dtype=bool).reshape(3),
            0.0 if charge is None else float(charge),
            None if spin is None else float(spin),
            level,
        )

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def lowest_spin(self) -> int:
        """The lowest multiplicity 2S + 1 of the number of electrons."""
        return 1 + (int(self.numbers.sum()) - round(self.charge)) % 2

    @property
    def unpaired(self) -> float:
        """Multiplicity above the lowest of the number of electrons.

        So a doublet that is given as one, one without a spin, and one for which a program has
        written its default of 1 are the same.
        """
        if self.spin is None:
            return 0.0
        return max(0.0, self.spin - self.lowest_spin)

    def difference(self, other: Structure) -> str:
        """In what another structure with the same positions differs, in words; "" if in nothing.

        Args:
            other: with the same atoms in the same order.
        """
        if self.pbc.tobytes() != other.pbc.tobytes():
            words = (_directions(one.pbc) for one in (self, other))
            return "other periodic directions ({}, and {})".format(*words)
        if self.pbc.any():
            apart = float(np.abs(self.cell - other.cell)[self.pbc].max())
            if apart > CELL_TOLERANCE:
                return f"another cell (by up to {apart:.3g} Å)"
        if abs(self.charge - other.charge) > STATE_TOLERANCE:
            return f"another charge ({self.charge:g}, and {other.charge:g})"
        if self.spin != other.spin and abs(self.unpaired - other.unpaired) > STATE_TOLERANCE:
            words = ("the lowest" if s.spin is None else f"{s.spin:g}" for s in (self, other))
            return "another spin multiplicity ({}, and {})".format(*words)
        if self.level != other.level and self.level and other.level:
            return f"another level of theory ({self.level}, and {other.level})"
        return ""


def _directions(pbc: NDArray[np.bool_]) -> str:
    named = [name for name, periodic in zip("abc", pbc) if periodic]
    return " ".join(named) or "none"
