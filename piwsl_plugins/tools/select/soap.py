"""SOAP power spectra of atomic environments, for structures without any model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError
from ...frames.reading import Frame

if TYPE_CHECKING:
    from ase import Atoms

#: Å
CUTOFF = 5.0
#: up to so many elements: highest radial and angular function; 216, 80, 36 numbers per pair of them
_BASES = {4: (5, 5), 10: (3, 4), 32: (2, 3)}


@dataclasses.dataclass(frozen=True)
class Soap:
    """SOAP power spectra (Bartók, Kondor, Csányi, 2013) by featomic.

    The spectrum of an atom has numbers for each pair of ``elements``, zero for those that are not
    near it; the more elements, the coarser the basis.

    Attributes:
        elements: atomic numbers of all structures, sorted.
        cutoff: how far an environment reaches, in Å.

    Raises:
        InputError: for too many elements.
    """

    elements: tuple[int, ...]
    cutoff: float = CUTOFF

    def __post_init__(self) -> None:
        if len(self.elements) > max(_BASES):
            raise InputError(
                f"the structures hold {len(self.elements)} elements, too many for SOAP "
                f"({max(_BASES)}): give a model that knows them with --model, such as a "
                "foundation model"
            )

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """The descriptors of each frame, ``(n_atoms, n_features)``."""
        from featomic.systems import AseSystem

        calculator, keys, pairs = _featomic(self.elements, self.cutoff)
        systems = [AseSystem(_all_or_none_periodic(frame.atoms, self.cutoff)) for frame in frames]
        spectra = calculator.compute(systems, selected_keys=keys).keys_to_properties(pairs)
        arrays: list[Any] = [None] * len(frames)
        for block in spectra.blocks():
            samples, values = np.asarray(block.samples.values), np.asarray(block.values)
            for number in np.unique(samples[:, 0]):
                here = samples[:, 0] == number
                if arrays[number] is None:
                    arrays[number] = np.empty((len(frames[number].atoms), values.shape[1]))
                arrays[number][samples[here, 1]] = values[here]
        return arrays


@functools.lru_cache(maxsize=1)
def _featomic(elements: tuple[int, ...], cutoff: float) -> tuple[Any, Any, Any]:
    """featomic's calculator, the blocks to compute, and pairs of neighbours as properties."""
    from featomic import SoapPowerSpectrum
    from metatensor import Labels

    max_radial, max_angular = next(basis for most, basis in _BASES.items() if len(elements) <= most)
    calculator = SoapPowerSpectrum(
        cutoff={"radius": cutoff, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={
            "type": "Gaussian",
            "width": 0.4,
            # neighbours count less the farther they are (Willatt, Musil, Ceriotti, 2018)
            "scaling": {"type": "Willatt2018", "scale": 2.0, "rate": 1.0, "exponent": 4},
        },
        basis={
            "type": "TensorProduct",
            "max_angular": max_angular,
            "radial": {"type": "Gto", "max_radial": max_radial},
        },
    )
    pairs = [(a, b) for a in elements for b in elements if a <= b]
    keys = np.array([(centre, *pair) for centre in elements for pair in pairs])
    names = ["center_type", "neighbor_1_type", "neighbor_2_type"]
    return calculator, Labels(names, keys), names[1:]


def _all_or_none_periodic(atoms: Atoms, cutoff: float) -> Atoms:
    """featomic 0.6.7 (systems/ase.py) knows no slabs and wires: they get vacuum instead."""
    if not atoms.pbc.any():
        from ase import Atoms as Bare

        return Bare(atoms.numbers, atoms.positions)
    if atoms.pbc.all():
        return atoms
    padded: Atoms = atoms.copy()
    padded.center(vacuum=cutoff, axis=tuple(np.flatnonzero(~atoms.pbc)))
    padded.pbc = True
    return padded
