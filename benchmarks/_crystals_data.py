"""Crystals for ``crystals.py``: one foundation model to pretrain on, another as the reference.

    python benchmarks/_crystals_data.py FOLDER

needs sevenn (which brings both models) and phonopy. Each crystal is relaxed with the reference,
SevenNet-l3i5, its symmetry kept, and gives ``NAME/phonopy_params.yaml`` and ``NAME/displaced.xyz``,
phonopy's displaced supercells with their forces, ``NAME/random_params.yaml`` and
``NAME/random.xyz``, likewise some with random displacements of all atoms, ``NAME/rattled.xyz``, the
perfect supercell and some in which all atoms are moved, and ``NAME/hot.xyz``, in which they are
moved twice as far. ``pretraining.xyz`` are small strained and rattled cells with labels of
SevenNet-0, ``elsewhere.xyz`` such cells with those of the reference. What is finished is kept.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
from _labelled_frames import labelled, write
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.spacegroup import crystal
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

#: displacement of phonopy in Å: the models are in single precision
DISPLACEMENT = 0.03
#: random displacements of all atoms: how many, and how far each atom in Å
SNAPSHOTS, FARTHER = 5, 0.05
#: supercells in which all atoms move, of each crystal, and how far (σ in Å)
RATTLED, RATTLE = 8, 0.08
#: likewise for tests alone
HOT, HOTTER = 2, 0.16
#: small cells of each crystal, their strain (σ) and how far atoms move (σ in Å)
SMALL, ELSEWHERE, STRAIN, RATTLES = 25, 4, 0.02, (0.05, 0.12, 0.2)
#: fewest atoms of a small cell
SMALLEST = 4
#: edge of a supercell in Å, at least
EDGE = 8.0


@dataclasses.dataclass(frozen=True)
class Crystal:
    """Where a crystal's relaxation starts: its structure type, and lengths in Å."""

    kind: str
    a: float
    c: float | None = None

    def build(self, name: str) -> ase.Atoms:
        """The conventional cell."""
        if self.kind in ("rocksalt", "fluorite", "fcc", "bcc"):
            return bulk(name, self.kind, a=self.a, cubic=True)
        if self.kind == "hcp":
            return bulk(name, "hcp", a=self.a, c=self.c)
        numbers = dict.fromkeys(ase.symbols.string2symbols(name))
        first, *others = numbers
        if self.kind == "antifluorite":
            return bulk(f"{others[0]}{first}2", "fluorite", a=self.a, cubic=True)
        groups = {
            "rutile": (136, [(0, 0, 0), (0.305, 0.305, 0)]),
            "perovskite": (221, [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0)]),
        }
        group, places = groups[self.kind]
        lengths = [self.a, self.a, self.c or self.a, 90, 90, 90]
        return crystal(list(numbers), places, spacegroup=group, cellpar=lengths)


CRYSTALS = {
    "LiF": Crystal("rocksalt", 4.03),
    "LiCl": Crystal("rocksalt", 5.13),
    "NaF": Crystal("rocksalt", 4.63),
    "NaCl": Crystal("rocksalt", 5.64),
    "KF": Crystal("rocksalt", 5.35),
    "KCl": Crystal("rocksalt", 6.29),
    "MgO": Crystal("rocksalt", 4.21),
    "CaO": Crystal("rocksalt", 4.81),
    "MgS": Crystal("rocksalt", 5.20),
    "CaS": Crystal("rocksalt", 5.69),
    "CaF2": Crystal("fluorite", 5.46),
    "Li2O": Crystal("antifluorite", 4.62),
    "Na2O": Crystal("antifluorite", 5.55),
    "K2O": Crystal("antifluorite", 6.44),
    "Li2S": Crystal("antifluorite", 5.71),
    "Na2S": Crystal("antifluorite", 6.53),
    "K2S": Crystal("antifluorite", 7.39),
    "MgF2": Crystal("rutile", 4.62, 3.05),
    "KMgF3": Crystal("perovskite", 3.99),
    "Na": Crystal("bcc", 4.29),
    "Ca": Crystal("fcc", 5.58),
    "Mg": Crystal("hcp", 3.21, 5.21),
}


def phonons(unit: ase.Atoms) -> Phonopy:
    """phonopy's object with supercells of at least :data:`EDGE`."""
    cell = PhonopyAtoms(unit.get_chemical_symbols(), cell=unit.cell.array, positions=unit.positions)
    cells = np.diag(np.ceil(EDGE / unit.cell.lengths() - 0.05).astype(int))
    return Phonopy(cell, cells, primitive_matrix="auto", log_level=0)


def as_atoms(cell: PhonopyAtoms) -> ase.Atoms:
    """A cell of phonopy's as ASE's."""
    return ase.Atoms(cell.symbols, cell.positions, cell=cell.cell, pbc=True)


def small_cells(unit: ase.Atoms, n: int, random: np.random.Generator) -> list[ase.Atoms]:
    """Strained and rattled copies of the conventional cell, twice as large if it is tiny."""
    found = []
    for number in range(n):
        atoms = unit * (2, 2, 1 if len(unit) > 1 else 2) if len(unit) < SMALLEST else unit.copy()
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + random.normal(scale=STRAIN, size=(3, 3))),
            scale_atoms=True,
        )
        size = RATTLES[number % len(RATTLES)]
        atoms.positions += random.normal(scale=size, size=atoms.positions.shape)
        found.append(atoms)
    return found


def rattled(
    perfect: ase.Atoms, n: int, size: float, random: np.random.Generator
) -> list[ase.Atoms]:
    """Copies in which all atoms are moved, with a standard deviation in Å of each component."""
    found = []
    for _ in range(n):
        atoms = perfect.copy()
        atoms.positions += random.normal(scale=size, size=atoms.positions.shape)
        found.append(atoms)
    return found


def make_crystal(name: str, folder: Path, reference: Calculator) -> None:
    """Relax a crystal with the reference, and write its supercells."""
    folder.mkdir(parents=True, exist_ok=True)
    unit = CRYSTALS[name].build(name)
    unit.calc = reference
    unit.set_constraint(FixSymmetry(unit))
    BFGS(FrechetCellFilter(unit), logfile=None).run(fmax=0.01, steps=50)
    unit = ase.Atoms(unit.numbers, unit.positions, cell=unit.cell, pbc=True)
    ase.io.write(folder / "unit.xyz", unit)
    found = phonons(unit)
    found.generate_displacements(distance=DISPLACEMENT)
    label(found, folder / "displaced.xyz", reference)
    random = np.random.default_rng([list(CRYSTALS).index(name), 2601])
    perfect = as_atoms(found.supercell)
    for file, atoms_of_file in (
        ("rattled.xyz", [perfect, *rattled(perfect, RATTLED, RATTLE, random)]),
        ("hot.xyz", rattled(perfect, HOT, HOTTER, random)),
    ):
        write(folder / file, [labelled(atoms, reference) for atoms in atoms_of_file])
    found.save(folder / "phonopy_params.yaml")


def make_random(name: str, folder: Path, reference: Calculator) -> None:
    """Write supercells of a relaxed crystal with random displacements."""
    found = phonons(ase.io.read(folder / "unit.xyz"))
    found.generate_displacements(
        distance=FARTHER, number_of_snapshots=SNAPSHOTS, random_seed=list(CRYSTALS).index(name)
    )
    label(found, folder / "random.xyz", reference)
    found.save(folder / "random_params.yaml")


def label(found: Phonopy, file: Path, reference: Calculator) -> None:
    """Give phonopy the forces of its supercells, and write these."""
    sets = [labelled(as_atoms(cell), reference) for cell in found.supercells_with_displacements]
    found.forces = [atoms.arrays["REF_forces"] for atoms in sets]
    write(file, sets)


def main() -> None:
    """Write everything that is not there yet."""
    from sevenn.calculator import SevenNetCalculator

    (folder,) = map(Path, sys.argv[1:])
    reference, other = SevenNetCalculator("7net-l3i5"), SevenNetCalculator("7net-0")
    for name in CRYSTALS:
        for file, make in (("phonopy", make_crystal), ("random", make_random)):
            if not (folder / name / f"{file}_params.yaml").exists():
                make(name, folder / name, reference)
                print(name, file, flush=True)
    units = [ase.io.read(folder / name / "unit.xyz") for name in CRYSTALS]
    for file, n, calculator, seed in (
        ("pretraining.xyz", SMALL, other, 1),
        ("elsewhere.xyz", ELSEWHERE, reference, 2),
    ):
        if not (folder / file).exists():
            random = np.random.default_rng(seed)
            frames = [atoms for unit in units for atoms in small_cells(unit, n, random)]
            write(folder / file, [labelled(atoms, calculator) for atoms in frames])
            print(file, flush=True)


if __name__ == "__main__":
    main()
