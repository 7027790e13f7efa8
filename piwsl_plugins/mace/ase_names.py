"""Labels under ASE's names, "energy", "forces" and "stress", which ASE keeps in a calculator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partialmethod

import ase.io
from ase import Atoms
from ase.data import chemical_symbols

from ..frames.reading import label_of
from .process import fail


@contextlib.contextmanager
def as_in_the_file() -> Iterator[None]:
    """Read forces and stresses as a file has them, also of atoms that it says are fixed.

    MACE 0.3.16 (``load_from_xyz`` in mace/data/utils.py) asks ``Atoms.get_forces()`` for labels of
    this name, in which constraints (``move_mask`` in extended XYZ) make the forces 0.
    """
    whole: dict[str, object] = {name: getattr(Atoms, name) for name in ("get_forces", "get_stress")}
    for name, method in whole.items():
        setattr(Atoms, name, partialmethod(method, apply_constraint=False))
    try:
        yield
    finally:
        for name, method in whole.items():
            setattr(Atoms, name, method)


def isolated_atoms(path: str, key: str, found: Mapping[int, float]) -> dict[int, float]:
    """The energies of a training file's isolated atoms, those among them that MACE takes for 0 eV.

    MACE 0.3.16 (``load_from_xyz``) looks for them among what ASE has read of a frame, where one
    under ASE's name "energy" is not, and takes 0 eV where there is none. A file is read once more
    only where an energy is 0.

    Args:
        path: the file.
        key: name of the energies.
        found: MACE's energies in eV, by atomic number.
    """
    energies = dict(found)
    zero = {z for z, energy in energies.items() if energy == 0.0}
    for number, atoms in enumerate(ase.io.iread(path, index=":") if zero else ()):
        isolated = len(atoms) == 1 and atoms.info.get("config_type") == "IsolatedAtom"
        if not isolated or (z := int(atoms.numbers[0])) not in zero:
            continue
        energy = label_of(atoms, key)
        if energy is None:
            fail(
                f"{path}: frame {number} (from 0) is an isolated atom of {chemical_symbols[z]} "
                f"without an energy under --energy_key={key}, for which MACE takes an E0 of 0 eV, "
                "whatever --E0s says; give its energy there, or remove this frame"
            )
        energies[z] = float(energy)
    return energies
