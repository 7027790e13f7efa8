"""Training, validation and test sets from the published files of the paper's data sets.

    python benchmarks/paper_data.py rmd17 rmd17_aspirin.npz --n_train 1000 --n_valid 9000 \
      --n_test 10000 --seed 1 --out build/aspirin

writes ``train.xyz``, ``valid.xyz`` and ``test.xyz`` into the folder of ``--out``: extended XYZ with
``REF_energy`` (eV) and ``REF_forces`` (eV/Å), for the configs in ``configs/paper`` (docs/paper.md).

    ani1x         HDF5 of Smith et al. 2020: a group per composition; hartree, hartree/Å
    rmd17         NPZ of Christensen and von Lilienfeld 2020; kcal/mol, kcal/mol/Å
    md22, ccsd    NPZ of sGDML (z, R, E, F); kcal/mol, kcal/mol/Å
    tio2, lmnto   folder of aenet's XSF files, one frame each; eV, eV/Å

Frames are drawn at random by ``--seed``. With ``--n_test`` the validation and test sets are the
same for every ``--n_train``, and a smaller training set is part of a larger one. Files are read
twice and block by block, so that a large one need not fit into memory. None of these files holds
isolated atoms; atomic energies by least squares over the training set are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import ase
import ase.io
import h5py
import numpy as np
from ase import units
from ase.data import atomic_numbers, chemical_symbols

KCAL_PER_MOL = units.kcal / units.mol
PARTS = ("train", "valid", "test")


class DataError(ValueError):
    """A file that is not what it should be, or has too few frames."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Frames of the same atoms.

    Attributes:
        numbers: (n_atoms,) atomic numbers.
        positions: (n_frames, n_atoms, 3) in Å.
        energies: (n_frames,) total energies in eV.
        forces: (n_frames, n_atoms, 3) in eV/Å.
        cell: (3, 3) in Å, of periodic frames; None for molecules.
    """

    numbers: np.ndarray
    positions: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    cell: np.ndarray | None = None

    def check(self, path: Path) -> Block:
        """The block itself.

        Raises:
            DataError: if shapes do not fit together, or a number is not finite.
        """
        shape = (len(self.energies), len(self.numbers), 3)
        for name in ("positions", "forces"):
            if getattr(self, name).shape != shape:
                raise DataError(f"{path}: {name} of shape {getattr(self, name).shape}, not {shape}")
        for name in ("positions", "energies", "forces"):
            if not np.isfinite(getattr(self, name)).all():
                raise DataError(f"{path}: {name} that are not finite")
        return self

    def atoms(self, index: int) -> ase.Atoms:
        """One frame with its labels."""
        atoms = ase.Atoms(
            self.numbers, self.positions[index], cell=self.cell, pbc=self.cell is not None
        )
        atoms.info["REF_energy"] = float(self.energies[index])
        atoms.arrays["REF_forces"] = self.forces[index]
        return atoms


def _npz(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Arrays of an NPZ file, and its units where it names them."""
    refusal = DataError(f"{path}: not an NPZ file of plain arrays")
    try:
        file = np.load(path, allow_pickle=False)
    except (EOFError, ValueError, zipfile.BadZipFile):
        raise refusal from None
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise refusal
    with file:
        if missing := [name for name in names if name not in file.files]:
            raise DataError(f"{path}: no {', '.join(missing)}; it has {', '.join(file.files)}")
        try:
            return {name: file[name] for name in (*names, "r_unit", "e_unit") if name in file.files}
        except ValueError:
            raise refusal from None


def _kcal_per_mol(
    path: Path, numbers: np.ndarray, positions: np.ndarray, energies: np.ndarray, forces: np.ndarray
) -> Block:
    return Block(
        numbers.astype(int), positions, energies.ravel() * KCAL_PER_MOL, forces * KCAL_PER_MOL
    ).check(path)


def rmd17(path: Path) -> Iterator[Block]:
    """rMD17, https://doi.org/10.6084/m9.figshare.12672038: one molecule."""
    names = ("nuclear_charges", "coords", "energies", "forces")
    arrays = _npz(path, *names)
    yield _kcal_per_mol(path, *(arrays[name] for name in names))


def sgdml(path: Path) -> Iterator[Block]:
    """MD22 and CCSD aspirin, http://www.sgdml.org: one molecule."""
    names = ("z", "R", "E", "F")
    arrays = _npz(path, *names)
    for name, allowed in (("e_unit", "kcal/mol"), ("r_unit", "Ang")):
        unit = arrays[name].astype(str).item() if name in arrays else allowed
        if unit != allowed:
            raise DataError(f"{path}: {name} is {unit}, not {allowed}")
    yield _kcal_per_mol(path, *(arrays[name] for name in names))


def ani1x(path: Path) -> Iterator[Block]:
    """ANI-1x, https://doi.org/10.1038/s41597-020-0473-z: a block per composition.

    Labels are ωB97x/6-31G(d); frames without them (NaN) are left out.
    """
    names = ("atomic_numbers", "coordinates", "wb97x_dz.energy", "wb97x_dz.forces")
    with h5py.File(path) as file:
        for name, group in file.items():
            if missing := [key for key in names if key not in group]:
                raise DataError(f"{path}: no {', '.join(missing)} in {name}")
            numbers, positions, energies, forces = (group[key][()] for key in names)
            labelled = np.isfinite(energies)
            if forces.shape == positions.shape and len(forces) == len(energies):
                labelled &= np.isfinite(forces).all(axis=(1, 2))
                positions, energies, forces = (a[labelled] for a in (positions, energies, forces))
            yield Block(
                numbers.astype(int),
                positions.astype(float),
                energies.astype(float) * units.Hartree,
                forces.astype(float) * units.Hartree,
            ).check(path)


def xsf(path: Path) -> Iterator[Block]:
    """TiO2 (Artrith and Urban 2016), LMNTO (Cooper et al. 2020): a file per frame.

    aenet's forces are in eV/Å, where XCrySDen and ASE take an XSF file's to be in hartree/Å.
    """
    files = sorted(path.glob("*.xsf")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no .xsf files in it")
    for file in files:
        try:
            yield _xsf_frame(file.read_text(encoding="utf-8")).check(file)
        except (IndexError, KeyError, UnicodeDecodeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{file}: not an XSF file of aenet's, with forces") from None


def _xsf_frame(text: str) -> Block:
    energy = re.search(r"^#\s*total energy\s*=\s*(\S+)\s*eV", text, re.MULTILINE | re.IGNORECASE)
    lines = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    words = [line[0] for line in lines]
    if energy is None:
        raise ValueError("no total energy")
    cell = None
    if "CRYSTAL" in words:
        start = 1 + words.index("PRIMVEC")
        cell = np.array(lines[start : start + 3], float)
        start = 2 + words.index("PRIMCOORD")
        n_atoms = int(lines[start - 1][0])
        lines = lines[start : start + n_atoms]
        if len(lines) < n_atoms:
            raise ValueError("fewer atoms than it says")
    else:
        lines = lines[1 + words.index("ATOMS") :]
    table = np.array([line[1:7] for line in lines], float)
    numbers = [int(w) if w.isdigit() else atomic_numbers[w] for w in (line[0] for line in lines)]
    return Block(
        np.array(numbers),
        table[None, :, :3],
        np.array([float(energy[1])]),
        table[None, :, 3:],
        cell,
    )


READERS: dict[str, Callable[[Path], Iterator[Block]]] = {
    "ani1x": ani1x,
    "rmd17": rmd17,
    "md22": sgdml,
    "ccsd": sgdml,
    "tio2": xsf,
    "lmnto": xsf,
}


def draw(n_frames: int, n_train: int, n_valid: int, n_test: int | None, seed: int) -> np.ndarray:
    """The part that each frame belongs to.

    Args:
        n_frames: number of frames there are.
        n_train: number of training frames.
        n_valid: number of validation frames.
        n_test: number of test frames; None for all others.
        seed: of the order.

    Returns:
        (n_frames,) index into :data:`PARTS`, or -1.

    Raises:
        DataError: if there are too few frames.
    """
    n_test = n_frames - n_train - n_valid if n_test is None else n_test
    if n_test < 0 or n_train + n_valid + n_test > n_frames:
        raise DataError(f"{n_frames} frames are too few for what --n_train, … ask for")
    order = np.random.default_rng(seed).permutation(n_frames)
    part = np.full(n_frames, -1)
    part[order[:n_train]] = 0
    part[order[n_frames - n_test - n_valid : n_frames - n_test]] = 1
    part[order[n_frames - n_test :]] = 2
    return part


def atomic_energies(counts: np.ndarray, energies: np.ndarray) -> dict[str, float]:
    """Least squares of total energies.

    Args:
        counts: (n_frames, 119) number of atoms of each atomic number.
        energies: (n_frames,) in eV.

    Returns:
        energy in eV by element.
    """
    present = np.flatnonzero(counts.any(axis=0))
    fitted = np.linalg.lstsq(counts[:, present], energies, rcond=None)[0]
    return {chemical_symbols[z]: round(float(e), 6) for z, e in zip(present, fitted, strict=True)}


def convert(options: argparse.Namespace) -> str:
    """Write the three files; what to tell the user."""
    read = READERS[options.data]
    sources = [(path, False) for path in options.files]
    if options.test_file is not None:
        sources.append((options.test_file, True))
    sizes = {is_test: 0 for is_test in (False, True)}
    for path, is_test in sources:
        sizes[is_test] += sum(len(block.energies) for block in read(path))
    n_test = options.n_test if options.test_file is None else 0
    part = draw(sizes[False], options.n_train, options.n_valid, n_test, options.seed)
    part = np.concatenate([part, np.full(sizes[True], 2)])
    options.out.mkdir(parents=True, exist_ok=True)
    unfinished = [options.out / f"{name}.xyz.part" for name in PARTS]
    counts, energies, first = [], [], 0
    with contextlib.ExitStack() as stack:
        handles = [stack.enter_context(path.open("w", encoding="utf-8")) for path in unfinished]
        for path, _ in sources:
            for block in read(path):
                here = part[first : first + len(block.energies)]
                first += len(here)
                for index in np.flatnonzero(here >= 0):
                    ase.io.write(handles[here[index]], block.atoms(index), format="extxyz")
                chosen = block.energies[here == 0]
                energies += list(chosen)
                counts += [np.bincount(block.numbers, minlength=119)] * len(chosen)
    for path in unfinished:
        os.replace(path, path.with_suffix(""))
    written = ", ".join(f"{name} {np.sum(part == i)}" for i, name in enumerate(PARTS))
    fitted = atomic_energies(np.array(counts), np.array(energies))
    shifts = ", ".join(f"{symbol}: {energy}" for symbol, energy in fitted.items())
    return (
        f"{options.out}: {written} of {len(part)} frames\n"
        f"atomic energies, least squares over train.xyz (eV): {{{shifts}}}"
    )


def count(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return number


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("data", choices=READERS, help="whose file it is")
    add("files", type=Path, nargs="+", help="published files; for XSF their folders")
    add("--n_train", type=count, required=True, help="number of training frames")
    add("--n_valid", type=count, required=True, help="number of validation frames")
    add("--n_test", type=count, help="number of test frames (default: all others)")
    add("--test_file", type=Path, help="a published test set: all of it is the test set")
    add("--seed", type=int, default=1, help="of the draw (default: 1)")
    add("--out", type=Path, required=True, help="folder of train.xyz, valid.xyz and test.xyz")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.n_test is not None and options.test_file is not None:
        parser.error("--n_test and --test_file exclude each other")
    try:
        print(convert(options))
    except (DataError, OSError) as error:
        print(f"paper_data.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
