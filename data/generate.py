#!/usr/bin/env python
"""Generate the small reference data sets in this folder.

One command makes every ``*.xyz`` file again, next to this script, and rewrites
the generated part of ``README.md`` (numbers, checks, versions, wall time)::

    python data/generate.py

Needs ``ase`` and ``tblite`` (with its ASE interface); nothing else in the
project needs tblite.  See ``README.md`` for what the files hold.

How it works
------------
1. *Sampling.*  Independent Langevin trajectories, each a :class:`Run` with its
   own seed, are computed in worker processes.  The number of workers does not
   change the result.
2. *Rounding.*  Positions and cells are rounded to 1e-6 Å before labelling, so
   that a label belongs to exactly the geometry that is written.
3. *Labelling.*  Each frame is labelled with a new calculator (no restart from
   the previous frame), so a label does not depend on the order of the frames.
4. *Checks.*  Bonds, finite differences, isolated atoms, reading back.

Units: eV, Å, eV/Å, eV/Å^3.  Stress: ASE sign and Voigt order
(xx yy zz yz xz xy), as returned by ``Atoms.get_stress()``.
"""

from __future__ import annotations

import os

# One thread per process; has to be set before tblite is loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import itertools
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.data import covalent_radii
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import FIRE
from tblite.ase import TBLite

GFN1, GFN2 = "GFN1-xTB", "GFN2-xTB"
TAG = {GFN1: "gfn1", GFN2: "gfn2"}

# --- settings --------------------------------------------------------------

SEED = 20240517
DECIMALS = 6  # of positions and cells, Å
LABEL_ACCURACY = 0.01  # tblite "accuracy" for labels (1.0, its default, in dynamics)
ELECTRONIC_TEMPERATURE = 300.0  # K, tblite's default
BOND_FACTOR = 1.3  # bonded if d < BOND_FACTOR * (sum of covalent radii)

# ethanol, dynamics with GFN2-xTB
ETHANOL_DT = 0.5  # fs
ETHANOL_FRICTION = 0.02  # 1/fs
ETHANOL_EQUIL = 4000  # steps
ETHANOL_STRIDE = 200  # steps between frames
ETHANOL_DIHEDRALS = (180.0, 60.0, -60.0, 180.0)  # C-C-O-H at the start: trans, gauche
ETHANOL_SPLITS = {"train": 300, "valid": 40, "test": 60}

# periodic boxes, dynamics with GFN1-xTB, labels with GFN2-xTB
PERIODIC_DT = 1.0  # fs
PERIODIC_FRICTION = 0.05  # 1/fs
PERIODIC_EQUIL = 300  # steps
PERIODIC_STRIDE = 50  # steps between frames
PERIODIC_FRAMES = 4  # per trajectory
PERIODIC_SPLITS = {"train": 40, "valid": 10, "test": 10}
COMPOSITIONS: dict[str, tuple[dict[str, int], float]] = {
    # name: ({molecule: count}, density in g/cm^3)
    "water8": ({"H2O": 8}, 1.00),
    "methanol6": ({"CH3OH": 6}, 0.79),
    "water5methanol4": ({"H2O": 5, "CH3OH": 4}, 0.87),
}
# (split, temperature in K, factor on the density), one trajectory each
PERIODIC_RUNS = (
    ("train", 300.0, 0.95),
    ("train", 400.0, 1.00),
    ("train", 300.0, 1.05),
    ("train", 400.0, 1.10),
    ("valid", 350.0, 0.98),
    ("test", 350.0, 1.02),
)
SHEAR = 0.05  # largest off-diagonal strain of the (lower triangular) cells

ATOM_MULTIPLICITY = {"H": 2, "C": 3, "O": 3}


@dataclass(frozen=True)
class Run:
    """One independent trajectory."""

    name: str  # becomes `config_type`
    index: int  # becomes `trajectory`
    atoms: Atoms
    method: str
    temperature: float  # K
    dt: float  # fs
    friction: float  # 1/fs
    equil: int  # steps
    stride: int  # steps
    frames: int
    seed: int
    split: str = ""


@dataclass(frozen=True)
class Sampled:
    """Bare frames of a trajectory and its mean kinetic temperature."""

    run: Run
    frames: list[Atoms]
    mean_temperature: float


# --- small helpers -----------------------------------------------------------


def calculator(method: str, accuracy: float = LABEL_ACCURACY, **kwargs: object) -> TBLite:
    """A fresh tblite calculator.  It raises if the SCF does not converge."""
    return TBLite(
        method=method,
        accuracy=accuracy,
        electronic_temperature=ELECTRONIC_TEMPERATURE,
        verbosity=0,
        **kwargs,
    )


def bare(atoms: Atoms) -> Atoms:
    """A copy with species, positions, cell and pbc only, rounded to DECIMALS."""
    copy = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if copy.pbc.all():
        copy.wrap()
    else:
        copy.positions -= copy.get_center_of_mass()
    copy.positions = np.round(copy.positions, DECIMALS) + 0.0  # no -0.0
    return copy


def bond_ratios(atoms: Atoms) -> np.ndarray:
    """Distances over sums of covalent radii, for every pair (minimum image)."""
    radii = covalent_radii[atoms.numbers]
    ratios = atoms.get_all_distances(mic=bool(atoms.pbc.any())) / (radii[:, None] + radii)
    np.fill_diagonal(ratios, np.inf)
    return ratios


# --- start geometries --------------------------------------------------------


def ethanol(dihedral: float) -> Atoms:
    """Ethanol with the given C-C-O-H dihedral (degrees)."""
    atoms = molecule("CH3CH2OH")
    carbons = [a.index for a in atoms if a.symbol == "C"]
    oxygen = next(a.index for a in atoms if a.symbol == "O")
    hydrogens = [a.index for a in atoms if a.symbol == "H"]
    carbons.sort(key=lambda i: -atoms.get_distance(i, oxygen))  # CH3 first
    hydroxyl = min(hydrogens, key=lambda i: atoms.get_distance(i, oxygen))
    atoms.set_dihedral(*carbons, oxygen, hydroxyl, dihedral, indices=[hydroxyl])
    return atoms


def ethanol_dihedral(atoms: Atoms) -> float:
    """C-C-O-H dihedral of an ethanol frame, in degrees from 0 to 360."""
    oxygen = atoms.symbols.search("O")[0]
    carbons = sorted(atoms.symbols.search("C"), key=lambda i: -atoms.get_distance(i, oxygen))
    hydroxyl = min(atoms.symbols.search("H"), key=lambda i: atoms.get_distance(i, oxygen))
    return float(atoms.get_dihedral(*carbons, oxygen, hydroxyl))


def liquid_box(molecules: dict[str, int], density: float, rng: np.random.Generator) -> Atoms:
    """Molecules put at random into a slightly sheared box of the given density.

    The cell is lower triangular with unequal lengths.  Random sequential
    insertion: a molecule is accepted where no atom is nearer to another
    molecule than ``factor`` times the sum of covalent radii times 2.2; the
    factor shrinks whenever the box cannot be filled.
    """
    parts = [molecule(name) for name, count in molecules.items() for _ in range(count)]
    mass = sum(part.get_masses().sum() for part in parts)
    volume = mass / density / (units.mol / 1e24)  # g/mol and g/cm^3 to Å^3
    shape = np.eye(3) + np.diag(rng.uniform(-SHEAR, SHEAR, 3))
    shape[np.tril_indices(3, -1)] = rng.uniform(-SHEAR, SHEAR, 3)
    cell = np.round(shape * (volume / np.linalg.det(shape)) ** (1 / 3), DECIMALS)
    inverse = np.linalg.inv(cell)

    for factor in 0.97 ** np.arange(40):
        numbers, positions = np.empty(0, int), np.empty((0, 3))
        for part in sorted(parts, key=len, reverse=True):
            for _ in range(1000):
                rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
                local = part.positions - part.get_center_of_mass()
                trial = local @ rotation + rng.random(3) @ cell
                delta = (trial[:, None] - positions) @ inverse
                delta = (delta - np.round(delta)) @ cell
                radii = covalent_radii[part.numbers][:, None] + covalent_radii[numbers]
                if (np.linalg.norm(delta, axis=-1) > 2.2 * factor * radii).all():
                    numbers = np.concatenate([numbers, part.numbers])
                    positions = np.concatenate([positions, trial])
                    break
            else:
                break  # could not place this molecule: start again, less strict
        else:
            return Atoms(numbers, positions=positions, cell=cell, pbc=True)
    raise RuntimeError("could not fill the box")


# --- sampling ------------------------------------------------------------------


def sample(run: Run) -> Sampled:
    """Relax roughly, equilibrate, and collect frames; asserts that bonds hold."""
    rng = np.random.default_rng(run.seed)
    atoms = run.atoms.copy()
    bonds = bond_ratios(atoms) < BOND_FACTOR
    atoms.calc = calculator(run.method, accuracy=1.0)
    FIRE(atoms, logfile=None).run(fmax=1.0, steps=60)
    MaxwellBoltzmannDistribution(atoms, temperature_K=run.temperature, rng=rng)
    dynamics = Langevin(
        atoms,
        run.dt * units.fs,
        temperature_K=run.temperature,
        friction=run.friction / units.fs,
        fixcm=False,
        rng=rng,
    )
    dynamics.run(run.equil)
    temperatures: list[float] = []
    dynamics.attach(lambda: temperatures.append(atoms.get_temperature()), interval=10)
    frames = []
    for _ in range(run.frames):
        dynamics.run(run.stride)
        if not np.array_equal(bond_ratios(atoms) < BOND_FACTOR, bonds):
            raise RuntimeError(f"{run.name} {run.index}: the bonds changed")
        frame = bare(atoms)
        frame.info = {"config_type": run.name, "trajectory": run.index}
        frames.append(frame)
    return Sampled(run, frames, float(np.mean(temperatures)))


def ethanol_runs(name: str, temperature: float, count: int, frames: int, seed: int) -> list[Run]:
    """`count` ethanol trajectories, started from trans and gauche in turn."""
    dihedrals = itertools.islice(itertools.cycle(ETHANOL_DIHEDRALS), count)
    return [
        Run(
            name, i, ethanol(dihedral), GFN2, temperature, ETHANOL_DT, ETHANOL_FRICTION,
            ETHANOL_EQUIL, ETHANOL_STRIDE, frames, seed + i,
        )
        for i, dihedral in enumerate(dihedrals)
    ]  # fmt: skip


def periodic_runs(seed: int) -> list[Run]:
    """The trajectories of the periodic set: six for each composition."""
    runs = []
    for name, (molecules, density) in COMPOSITIONS.items():
        for i, (split, temperature, factor) in enumerate(PERIODIC_RUNS):
            run_seed = seed + len(runs)
            box = liquid_box(molecules, density * factor, np.random.default_rng([run_seed, 1]))
            runs.append(
                Run(
                    name, i, box, GFN1, temperature, PERIODIC_DT, PERIODIC_FRICTION,
                    PERIODIC_EQUIL, PERIODIC_STRIDE, PERIODIC_FRAMES, run_seed, split,
                )
            )  # fmt: skip
    return runs


# --- labelling -------------------------------------------------------------------


def label(job: tuple[Atoms, str]) -> Atoms:
    """A clean copy of a frame with REF_energy, REF_forces and (periodic) REF_stress."""
    frame, method = job
    work = bare(frame)
    assert np.array_equal(work.positions, frame.positions), "labelling moved atoms"
    work.calc = calculator(method)
    out = bare(frame)
    out.info = dict(frame.info)
    out.info["REF_energy"] = round(float(work.get_potential_energy()), 8)
    if frame.pbc.all():
        out.info["REF_stress"] = np.round(work.get_stress(), 10)
    out.arrays["REF_forces"] = np.round(work.get_forces(), 8) + 0.0
    return out


def isolated_atoms(method: str, symbols: Iterable[str]) -> list[Atoms]:
    """Free atoms in their spin-polarised ground state, without a cell."""
    frames = []
    for symbol in symbols:
        atom = Atoms(symbol, positions=[[0.0, 0.0, 0.0]])
        atom.calc = calculator(
            method, multiplicity=ATOM_MULTIPLICITY[symbol], spin_polarization=1.0
        )
        out = Atoms(symbol, positions=[[0.0, 0.0, 0.0]])
        energy = round(float(atom.get_potential_energy()), 8)
        out.info = {"config_type": "IsolatedAtom", "REF_energy": energy}
        out.arrays["REF_forces"] = np.zeros((1, 3))
        frames.append(out)
    return frames


# --- checks ------------------------------------------------------------------------


def check_forces(
    frame: Atoms, method: str, components: Sequence[tuple[int, int]], step: float = 5e-4
) -> tuple[float, float]:
    """Largest |force - central difference of the energy|, and largest |force|, in eV/Å."""
    atoms = bare(frame)
    atoms.calc = calculator(method)
    forces = atoms.get_forces()
    errors = []
    for i, k in components:
        energies = []
        for sign in (1, -1):
            moved = bare(frame)
            moved.positions[i, k] += sign * step
            moved.calc = calculator(method)
            energies.append(moved.get_potential_energy())
        errors.append(forces[i, k] + (energies[0] - energies[1]) / (2 * step))
    return float(np.abs(errors).max()), float(np.abs([forces[c] for c in components]).max())


def check_stress(frame: Atoms, method: str, step: float = 5e-4) -> tuple[float, float]:
    """Largest |stress - dE/d(strain)/V| over six components, and largest |stress|."""
    atoms = bare(frame)
    atoms.calc = calculator(method)
    stress = atoms.get_stress()
    errors = []
    for voigt, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += 0.5 * sign * step
            strain[j, i] += 0.5 * sign * step
            strained = bare(frame)
            strained.set_cell(strained.cell @ strain, scale_atoms=True)
            strained.calc = calculator(method)
            energies.append(strained.get_potential_energy())
        derivative = (energies[0] - energies[1]) / (2 * step)
        errors.append(stress[voigt] - derivative / frame.get_volume())
    return float(np.abs(errors).max()), float(np.abs(stress).max())


def _call(
    job: tuple[Callable[..., tuple[float, float]], tuple[object, ...]],
) -> tuple[float, float]:
    """Run ``function(*args)`` in a worker."""
    function, args = job
    return function(*args)


def finite_differences(
    ethanol_frame: Atoms, boxes: Sequence[Atoms], pool: ProcessPoolExecutor
) -> list[str]:
    """Finite-difference checks as Markdown table rows; raises if one is off."""
    every = list(itertools.product(range(len(ethanol_frame)), range(3)))
    names, jobs = [], []
    for method in (GFN2, GFN1):
        names.append(f"{method} | ethanol | forces, all 27 components | eV/Å")
        jobs.append((check_forces, (ethanol_frame, method, every)))
    for box in boxes:
        some = [(i, i % 3) for i in range(0, len(box), 4)]
        names.append(f"{GFN2} | {box.info['config_type']} | forces, {len(some)} components | eV/Å")
        jobs.append((check_forces, (box, GFN2, some)))
        names.append(f"{GFN2} | {box.info['config_type']} | stress, all 6 components | eV/Å^3")
        jobs.append((check_stress, (box, GFN2)))
    rows = []
    for name, (error, largest) in zip(names, pool.map(_call, jobs), strict=True):
        print(f"finite difference: {name}: {error:.1e} of {largest:.3g}", flush=True)
        limit = 1e-5 if "stress" in name else 1e-4
        assert error < limit, f"{name}: {error}"
        rows.append(f"| {name} | {error:.1e} | {largest:.3g} |")
    return rows


def bond_summary(frames: Sequence[Atoms]) -> tuple[float, float]:
    """Longest bond and shortest non-bonded contact, in sums of covalent radii."""
    ratios = np.concatenate([bond_ratios(f)[np.triu_indices(len(f), 1)] for f in frames])
    return float(ratios[ratios < BOND_FACTOR].max()), float(ratios[ratios >= BOND_FACTOR].min())


def read_back(path: Path, expected: int) -> list[Atoms]:
    """Read a file and assert what is promised of it; returns all its frames."""
    frames: list[Atoms] = ase.io.read(path, index=":")
    assert len(frames) == expected, (path.name, len(frames), expected)
    for frame in frames:
        isolated = frame.info["config_type"] == "IsolatedAtom"
        keys = {"config_type", "REF_energy"}
        if not isolated:
            keys.add("trajectory")
        if frame.pbc.any():
            assert frame.pbc.all()
            keys.add("REF_stress")
            assert np.shape(frame.info["REF_stress"]) == (6,)
            assert np.isfinite(frame.info["REF_stress"]).all()
        assert set(frame.info) == keys, (path.name, set(frame.info))
        assert set(frame.arrays) == {"numbers", "positions", "REF_forces"}
        assert frame.calc is None
        assert np.isfinite(frame.info["REF_energy"])
        assert frame.arrays["REF_forces"].shape == frame.positions.shape
        assert np.isfinite(frame.positions).all() and np.isfinite(frame.arrays["REF_forces"]).all()
    return frames


# --- the files -------------------------------------------------------------------------


def ethanol_sets(pool: ProcessPoolExecutor, report: list[str]) -> dict[str, list[Atoms]]:
    """Frames (not labelled) of the ethanol files: train, valid, test and hot."""
    warm = list(pool.map(sample, ethanol_runs("ethanol_500K", 500.0, 8, 50, SEED + 1000)))
    hot = list(pool.map(sample, ethanol_runs("ethanol_900K", 900.0, 4, 25, SEED + 2000)))
    for name, sampled in (("ethanol_500K", warm), ("ethanol_900K", hot)):
        mean = np.mean([s.mean_temperature for s in sampled])
        report.append(f"| {name} | {len(sampled)} | {mean:.0f} |")
    frames = [frame for s in warm for frame in s.frames]
    order = iter(np.random.default_rng(SEED).permutation(len(frames)))
    sets = {
        split: [frames[i] for i in itertools.islice(order, count)]
        for split, count in ETHANOL_SPLITS.items()
    }
    sets["hot"] = [frame for s in hot for frame in s.frames]
    return sets


def periodic_sets(pool: ProcessPoolExecutor, report: list[str]) -> dict[str, list[Atoms]]:
    """Frames (not labelled) of the periodic files, split by trajectory.

    A split's frames are drawn from its own trajectories only: first all
    frames are shuffled within each composition, then taken from the
    compositions in turn until the split is full.
    """
    sampled = list(pool.map(sample, periodic_runs(SEED + 3000)))
    for name in COMPOSITIONS:
        for temperature in sorted({t for _, t, _ in PERIODIC_RUNS}):
            means = [
                s.mean_temperature
                for s in sampled
                if (s.run.name, s.run.temperature) == (name, temperature)
            ]
            row = f"| {name}, {temperature:.0f} K | {len(means)} | {np.mean(means):.0f} |"
            report.append(row)
    rng = np.random.default_rng(SEED)
    sets: dict[str, list[Atoms]] = {}
    for split, count in PERIODIC_SPLITS.items():
        columns = []
        for name in COMPOSITIONS:
            frames = [
                f for s in sampled if (s.run.name, s.run.split) == (name, split) for f in s.frames
            ]
            columns.append([frames[i] for i in rng.permutation(len(frames))])
        in_turn = [f for row in itertools.zip_longest(*columns) for f in row if f is not None]
        sets[split] = in_turn[:count]
    return sets


def statistics_row(name: str, frames: Sequence[Atoms], size: int) -> str:
    """Markdown table row: counts and spreads, isolated atoms left out of the spreads."""
    real = [f for f in frames if f.info["config_type"] != "IsolatedAtom"]
    per_atom: dict[str, list[float]] = {}
    for f in real:
        per_atom.setdefault(f.get_chemical_formula(), []).append(f.info["REF_energy"] / len(f))
    # spread within each composition, pooled
    squares = [np.sum((np.array(e) - np.mean(e)) ** 2) for e in per_atom.values()]
    spread = np.sqrt(sum(squares) / len(real))
    forces = np.concatenate([f.arrays["REF_forces"].ravel() for f in real])
    rms, largest = np.sqrt(np.mean(forces**2)), np.abs(forces).max()
    isolated = len(frames) - len(real)
    return (
        f"| `{name}` | {len(real)} + {isolated} | {size / 1e3:.0f} | "
        f"{1e3 * spread:.2f} | {rms:.3f} | {largest:.2f} |"
    )


def write_readme(path: Path, text: str) -> None:
    """Replace the part between the markers of README.md."""
    begin, end = "<!-- generated: begin -->", "<!-- generated: end -->"
    old = path.read_text(encoding="utf-8") if path.exists() else f"{begin}\n{end}\n"
    head, rest = old.split(begin, 1)
    tail = rest.split(end, 1)[1]
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


def generate(out: Path, jobs: int) -> None:
    """Make every file in `out`."""
    start = time.perf_counter()
    temperatures: list[str] = []
    statistics: list[str] = []
    bonds: list[str] = []
    written: dict[str, list[Atoms]] = {}
    out.mkdir(parents=True, exist_ok=True)

    def progress(text: str) -> None:
        print(f"[{time.perf_counter() - start:7.1f} s] {text}", flush=True)

    with ProcessPoolExecutor(jobs) as pool:
        progress("sampling ethanol")
        plan = [("ethanol", GFN2, ethanol_sets(pool, temperatures))]
        plan.append(("ethanol", GFN1, plan[0][2]))
        progress("sampling the periodic boxes")
        plan.append(("periodic", GFN2, periodic_sets(pool, temperatures)))

        for system, method, sets in plan:
            progress(f"labelling {system} with {method}")
            for split, frames in sets.items():
                labelled = list(pool.map(label, [(f, method) for f in frames], chunksize=2))
                if split == "train":
                    symbols = sorted({s for f in frames for s in f.symbols})
                    labelled = isolated_atoms(method, symbols) + labelled
                path = out / f"{system}_{TAG[method]}_{split}.xyz"
                ase.io.write(path, labelled, format="extxyz")
                written[path.stem] = read_back(path, len(labelled))
                statistics.append(
                    statistics_row(path.name, written[path.stem], path.stat().st_size)
                )
                if method == GFN2:
                    longest, nearest = bond_summary(frames)
                    bonds.append(f"| `{path.name}` | {longest:.3f} | {nearest:.3f} |")

        progress("finite differences")
        boxes = [
            next(f for f in written["periodic_gfn2_train"] if f.info["config_type"] == name)
            for name in COMPOSITIONS
        ]
        differences = finite_differences(written["ethanol_gfn2_train"][-1], boxes, pool)

    # GFN1 against GFN2 on the same geometries
    compare = []
    for split in (*ETHANOL_SPLITS, "hot"):
        pairs = [
            (a, b)
            for a, b in zip(
                written[f"ethanol_gfn1_{split}"], written[f"ethanol_gfn2_{split}"], strict=True
            )
            if a.info["config_type"] != "IsolatedAtom"
        ]
        assert all(np.array_equal(a.positions, b.positions) for a, b in pairs)
        forces = np.concatenate([a.arrays["REF_forces"] - b.arrays["REF_forces"] for a, b in pairs])
        energies = [(a.info["REF_energy"] - b.info["REF_energy"]) / len(a) for a, b in pairs]
        dihedrals = np.array([ethanol_dihedral(a) for a, _ in pairs])
        trans = int(np.sum(np.abs(dihedrals - 180.0) < 60.0))
        compare.append(
            f"| {split} | {np.sqrt(np.mean(forces**2)):.3f} | {1e3 * np.std(energies):.2f} | "
            f"{trans} / {len(pairs) - trans} |"
        )

    # closed-shell molecules do not see the spin polarisation used for the atoms
    spin = []
    for method in (GFN1, GFN2):
        probe = bare(written["ethanol_gfn2_train"][-1])
        both = []
        for kwargs in ({}, {"spin_polarization": 1.0}):
            probe.calc = calculator(method, **kwargs)
            both.append(probe.get_potential_energy())
        spin.append(abs(both[1] - both[0]))
    assert max(spin) < 1e-6, spin

    e0s = [
        f"| {method} | {atom.symbols} | {ATOM_MULTIPLICITY[str(atom.symbols)]} | "
        f"{atom.info['REF_energy']:.8f} |"
        for method in (GFN1, GFN2)
        for atom in isolated_atoms(method, "CHO")
    ]
    compositions = []
    for split in PERIODIC_SPLITS:
        names = [f.info["config_type"] for f in written[f"periodic_gfn2_{split}"]]
        counts = " | ".join(str(names.count(name)) for name in COMPOSITIONS)
        compositions.append(f"| {split} | {counts} |")
    total = sum(path.stat().st_size for path in out.glob("*.xyz"))
    assert total < 3e6, total
    wall = time.perf_counter() - start

    def table(head: str, rows: Sequence[str]) -> str:
        return "\n".join([head, "|" + " --- |" * (head.count("|") - 1), *rows])

    versions = ", ".join(f"{p} {version(p)}" for p in ("tblite", "ase", "numpy"))
    blocks = [
        f"Made with {versions}, Python {platform.python_version()}; "
        f"wall time {wall / 60:.1f} min with {jobs} processes of one thread. "
        f"All `.xyz` files together: {total / 1e6:.2f} MB.",
        "### Files, energy and force spread",
        'Frames are counted as "frames + isolated atoms"; the isolated atoms are left out of '
        "the spreads. The energy spread is the standard deviation of the energy per atom within "
        "a composition (pooled over compositions).",
        table(
            "| file | frames | kB | std of E (meV/atom) | RMS force (eV/Å) | "
            "largest force component (eV/Å) |",
            statistics,
        ),
        "### GFN1-xTB against GFN2-xTB, same ethanol geometries",
        "RMS over force components; the last column counts frames whose C-C-O-H dihedral is "
        "within 60° of 180° (trans) and the others (gauche).",
        table(
            "| split | RMS force difference (eV/Å) | std of energy difference (meV/atom) | "
            "trans / gauche |",
            compare,
        ),
        "### Periodic frames by composition",
        table("| split | " + " | ".join(COMPOSITIONS) + " |", compositions),
        "### Isolated atoms",
        table("| method | atom | multiplicity | REF_energy (eV) |", e0s),
        f"Switching the spin polarisation on changes the energy of an ethanol frame by less than "
        f"{max(max(spin), 1e-9):.0e} eV (closed shell), so atoms and molecules share one "
        f"Hamiltonian.",
        "### Mean kinetic temperature of the trajectories",
        table("| trajectories | count | mean temperature (K) |", temperatures),
        "### Finite-difference checks",
        "Label against the central difference of the energy (step 0.0005 Å for forces, strain "
        "0.0005 for stress). The last column is the largest checked value.",
        table(
            "| method | system | quantity | unit | largest deviation | largest value |",
            differences,
        ),
        "### Bonds",
        f"Pairs nearer than {BOND_FACTOR} times the sum of their covalent radii (ASE's table) "
        f"count as bonded. The bonded pairs of every frame are asserted to be those of the start "
        f"geometry. Distances below are in sums of covalent radii, so the gap around "
        f"{BOND_FACTOR} shows that no bond is close to breaking or forming.",
        table("| file | longest bond | nearest non-bonded pair |", bonds),
    ]
    write_readme(out / "README.md", "\n\n".join(blocks))
    progress("done")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Make the reference data sets of this folder again (tblite and ase needed)."
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).resolve().parent,
        help="folder for the files (default: the folder of this script)",
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="worker processes; does not change the result"
    )
    args = parser.parse_args()
    generate(args.out, args.jobs)


if __name__ == "__main__":
    main()
