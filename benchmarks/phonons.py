"""What Hessian labels of small cells do to the phonons of silicon, at equal steps and equal time.

    python benchmarks/phonons.py --out RESULTS_DIR [--seeds 1 2 3 4 5] [--frames 5] [--steps 600]

The teacher is Kumagai's many-body potential (matscipy, which comes with MACE). Training frames are
rattled and strained cells of 8 atoms with energies and forces, and their Hessians by central
differences of the teacher's forces. Small MACE models are trained by MACE's own trainer: the base
loss, the base loss with twice the steps, which costs what Hessians cost, with Hessians, and the
base loss with twice and three times the frames. Phonons are those of phonopy, a supercell of 64
atoms, compared on a mesh over the Brillouin zone. One row per run in ``phonons.csv``, and means.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pandas as pd
from _accuracy_cells import ENERGIES_AND_FORCES, MODEL, OPTIMISER, schedule
from _accuracy_cheap import calculator
from _accuracy_training import initialise_worker, train
from ase.build import bulk
from mace.calculators import MACECalculator
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from piwsl_plugins.labels.hessian_labels import HessianLabel, write_labels
from piwsl_plugins.tools.hessian import differences

#: Å, of the teacher
LATTICE = 5.429
RATTLE, STRAIN, STEP = 0.08, 0.02, 0.005
BATCH, VALIDATION, TEST = 5, 10, 50
MESH = (12, 12, 12)
#: cm⁻¹ per THz
WAVENUMBERS = 33.35641
#: name: multiple of the frames, of the steps, whether with Hessians
RUNS = {
    "base": (1, 1, False),
    "base ×2 steps": (1, 2, False),
    "hessians": (1, 1, True),
    "frames ×2": (2, 1, False),
    "frames ×3": (3, 1, False),
}


def cells(n: int, seed: int) -> list[ase.Atoms]:
    """Rattled and strained cells of 8 atoms with the teacher's energies and forces."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        atoms = bulk("Si", "diamond", LATTICE, cubic=True)
        strain = np.eye(3) + random.uniform(-STRAIN, STRAIN, (3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += random.normal(scale=RATTLE, size=(len(atoms), 3))
        atoms.calc = calculator("Kumagai")
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        found.append(atoms)
    return found


def hessian(atoms: ase.Atoms) -> HessianLabel:
    """The teacher's Hessian by central differences of forces."""
    moved = atoms.copy()
    moved.calc = calculator("Kumagai")
    whole, _ = differences.hessian(moved, STEP)
    return HessianLabel(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, whole)


def frequencies(calc: Any) -> np.ndarray:
    """On a mesh over the Brillouin zone, ``(n_q, 6)`` in cm⁻¹, imaginary ones negative."""
    unit = bulk("Si", "diamond", LATTICE, cubic=True)
    cell = PhonopyAtoms(unit.get_chemical_symbols(), cell=unit.cell.array, positions=unit.positions)
    phonons = Phonopy(cell, 2 * np.eye(3), primitive_matrix="F", log_level=0)
    phonons.generate_displacements(distance=0.01)
    forces = []
    for supercell in phonons.supercells_with_displacements:
        atoms = ase.Atoms(
            supercell.symbols, supercell.positions, cell=supercell.cell, pbc=True, calculator=calc
        )
        forces.append(atoms.get_forces())
    phonons.forces = forces
    phonons.produce_force_constants()
    phonons.run_mesh(MESH, is_mesh_symmetry=False)
    return phonons.get_mesh_dict()["frequencies"] * WAVENUMBERS


def errors(calc: Any, test: list[ase.Atoms], reference: np.ndarray) -> dict[str, float]:
    """Force RMSE (meV/Å), and errors of the phonons in cm⁻¹."""
    forces = []
    for atoms in test:
        copy = atoms.copy()
        copy.calc = calc
        forces.append(copy.get_forces() - atoms.arrays["REF_forces"])
    found = frequencies(calc)
    return {
        "F_rmse": 1e3 * float(np.sqrt(np.mean(np.square(forces)))),
        "freq_mae": float(np.abs(found - reference).mean()),
        "freq_max": float(found.max() - reference.max()),
        "imaginary": float((found < -5).mean()),
    }


def run(name: str, seed: int, options: argparse.Namespace, reference: np.ndarray) -> dict[str, Any]:
    """Train and test one model."""
    folder = options.out / f"{name.replace(' ', '_')}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    more_frames, more_steps, with_hessians = RUNS[name]
    training = cells(3 * options.frames, 1000 + seed)[: more_frames * options.frames]
    paths = {"train_file": folder / "train.xyz", "valid_file": folder / "valid.xyz"}
    ase.io.write(paths["train_file"], training)
    ase.io.write(paths["valid_file"], cells(VALIDATION, 2000 + seed))
    epochs = round(options.steps * more_steps * BATCH / len(training))
    arguments: dict[str, Any] = {
        **MODEL,
        **OPTIMISER,
        **ENERGIES_AND_FORCES,
        "loss": "piwsl",
        "piwsl_pitc_weight": 0,
        "E0s": "average",
        "r_max": 5.0,
        "seed": seed,
        "batch_size": BATCH,
        "valid_batch_size": VALIDATION,
        **schedule(epochs),
        **paths,
    }
    if with_hessians:
        write_labels(folder / "labels.npz", [hessian(atoms) for atoms in training], "Kumagai")
        arguments["piwsl_hessian_file"] = folder / "labels.npz"
    path, total = train(arguments, folder)
    calc = MACECalculator(str(path), device="cpu", default_dtype="float64")
    found = errors(calc, cells(TEST, 3000), reference)
    return {"run": name, "seed": seed, **found, "cpu_s": total["cpu_s"]}


def main() -> None:
    """Run what is not in the table yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "phonons.csv"
    rows = pd.read_csv(table).to_dict("records") if table.exists() else []
    done = {(row["run"], row["seed"]) for row in rows}
    initialise_worker()
    reference = frequencies(calculator("Kumagai"))
    print(f"teacher: highest frequency {reference.max():.1f} cm⁻¹")
    for seed in options.seeds:
        for name in RUNS:
            if (name, seed) not in done:
                rows.append(run(name, seed, options, reference))
                print(rows[-1], flush=True)
                pd.DataFrame(rows).to_csv(table, index=False, float_format="%.5g")
    print(pd.DataFrame(rows).groupby("run", sort=False).agg(["mean", "std"]).round(3).to_string())


if __name__ == "__main__":
    main()
