"""Quantum ESPRESSO's dynamical matrices (``fildyn`` of ph.x), of which Γ is a Hessian."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from ase.data import atomic_numbers

from ...labels.hessian_labels import HessianLabel
from .conversion import label_of
from .phonopy_files import text_of

if TYPE_CHECKING:
    from ase import Atoms

#: rows of lattice vectors of pw.x by ibrav, of 1, b/a and c/a
_LATTICES = {
    1: "100 010 001",
    2: "-½0½ 0½½ -½½0",
    3: "½½½ -½½½ -½-½½",
    -3: "-½½½ ½-½½ ½½-½",
    6: "100 010 001",
    7: "½-½½ ½½½ -½-½½",
    8: "100 010 001",
    9: "½½0 -½½0 001",
    -9: "½-½0 ½½0 001",
    10: "½0½ ½½0 0½½",
    11: "½½½ -½½½ -½-½½",
}


def read_dynamical_matrix(path: Path) -> tuple[HessianLabel, Atoms]:
    """The Hessian of the unit cell, in which all images of an atom move together.

    The file holds force constants in Ry/bohr² at one or several q, not divided by masses.

    Raises:
        ValueError: without Γ, and for lattices that the file does not describe.
    """
    from ase import Atoms

    lines = text_of(path).splitlines()
    n_kinds, n_atoms, ibrav = map(int, lines[2].split()[:3])
    celldm = np.array(lines[2].split()[3:9], dtype=float)
    alat, rest = celldm[0] * units.Bohr, lines[3:]
    if ibrav == 0:
        cell, rest = np.array([line.split() for line in rest[1:4]], dtype=float), rest[4:]
    else:
        cell = _lattice(ibrav, celldm)
    kinds = [_element(line) for line in rest[:n_kinds]]
    atoms = [line.split() for line in rest[n_kinds : n_kinds + n_atoms]]
    numbers = [kinds[int(atom[1]) - 1] for atom in atoms]
    positions = alat * np.array([atom[2:5] for atom in atoms], dtype=float)
    structure = Atoms(numbers, positions, cell=alat * cell, pbc=True)
    hessian = _at_gamma("\n".join(rest), n_atoms) * units.Ry / units.Bohr**2
    return label_of(structure, hessian), structure


def _element(line: str) -> int:
    """The atomic number of a kind, which may be named Fe1 or Cu_pbe."""
    label = line.split("'")[1].strip()
    for length in (2, 1):
        number = atomic_numbers.get(label[:length].capitalize())
        if number and (length == len(label) or not label[length].isalpha() or length == 2):
            return int(number)
    raise ValueError(f"its kind of atom '{label}' is not named after an element")


def _at_gamma(text: str, n_atoms: int) -> np.ndarray:
    """``(3 n_atoms, 3 n_atoms)`` in Ry/bohr²."""
    blocks = re.split(r"Dynamical +Matrix in cartesian axes", text)[1:]
    for block in blocks:
        found = re.search(r"q = \( *(\S+) +(\S+) +(\S+) *\)", block)
        if found is None or any(abs(float(component)) > 1e-9 for component in found.groups()):
            continue
        # the numbers of two atoms, and three rows of three complex numbers
        values = np.array(block[found.end() :].split()[: n_atoms**2 * 20], dtype=float)
        if len(values) < n_atoms**2 * 20:
            raise ValueError(
                "its dynamical matrix at q = 0 is not whole; did the run end? Give the file of one "
                "that has ended"
            )
        pairs = values.reshape(n_atoms**2, 20)
        first, second = pairs[:, :2].astype(int).T - 1
        hessian = np.empty((n_atoms, 3, n_atoms, 3))
        hessian[first, :, second] = pairs[:, 2::2].reshape(-1, 3, 3)
        return hessian.reshape(3 * n_atoms, 3 * n_atoms)
    raise ValueError(
        "it has no dynamical matrix at q = 0, which alone is a Hessian of the cell; give the file "
        "of Γ, or of a grid of q the force constants of q2r.x through phonopy (--from_phonopy)"
    )


def _lattice(ibrav: int, celldm: np.ndarray) -> np.ndarray:
    """Lattice vectors in units of celldm(1), as pw.x makes them of ibrav."""
    _, second, third, cosine = celldm[:4]
    if ibrav == 4:
        return np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, third]])
    if ibrav == 5:
        x, y = np.sqrt((1 - cosine) / 2), np.sqrt((1 - cosine) / 6)
        z = np.sqrt((1 + 2 * cosine) / 3)
        return np.array([[x, -y, z], [0, 2 * y, z], [-x, -y, z]])
    if ibrav == 12:
        sine = np.sqrt(1 - cosine**2)
        return np.array([[1, 0, 0], [second * cosine, second * sine, 0], [0, 0, third]])
    if ibrav not in _LATTICES:
        raise ValueError(
            f"its lattice ibrav = {ibrav} is not read; repeat the phonons with ibrav = 0 and "
            "CELL_PARAMETERS in the input of pw.x"
        )
    rows = [re.findall(r"-?[01½]", row) for row in _LATTICES[ibrav].split()]
    matrix = np.array([[float(number.replace("½", "0.5")) for number in row] for row in rows])
    cubic, tetragonal = abs(ibrav) <= 3, ibrav in (6, 7)
    lengths = (1, 1, 1) if cubic else (1, 1, third) if tetragonal else (1, second, third)
    return np.asarray(matrix * np.array(lengths))
