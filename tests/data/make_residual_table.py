"""Writes ``residual_table.json``: residuals that both adapters must find, in plain numpy.

    python tests/data/make_residual_table.py

The potential is E = Σ p_i p_j (1 − (r_ij/r_max)²)³ over the pairs of atoms and periodic images
closer than ``r_max``, with a prefactor p of each element; it and its forces go smoothly to zero
at the cutoff. Neighbours are found by going through all images, and the equations of PITC and
PISC are written out; of the package, only the drawn displacements are used.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import ase.io
import numpy as np
import torch

from piwsl_plugins.core.displacements import draw, structure_keys
from piwsl_plugins.core.settings import Settings

PATH = Path(__file__).with_name("residual_table.json")
BUNDLED = Path(__file__).parents[2] / "data"
R_MAX = 4.0
PREFACTORS = {"H": 0.6, "C": -1.1, "O": 1.7}
OPTIONS = {
    "pitc_weight": 1.0,
    "pisc_weight": 1.0,
    "max_displacement": 0.1,
    "seed": 12,
}
EPOCH = 7


def energy_and_forces(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, prefactors: np.ndarray
) -> tuple[float, np.ndarray]:
    """Energy (eV) and forces ``(n_atoms, 3)`` (eV/Å) of one structure."""
    counts = [0, 0, 0]
    for axis in np.flatnonzero(pbc):
        height = 1.0 / np.linalg.norm(np.linalg.inv(cell)[:, axis])
        # atoms may lie outside the cell
        fractional = positions @ np.linalg.inv(cell)[:, axis]
        counts[axis] = int(np.ceil(R_MAX / height + np.ptp(fractional)))
    energy, forces = 0.0, np.zeros_like(positions)
    for image in itertools.product(*(range(-count, count + 1) for count in counts)):
        shift = np.array(image) @ cell
        for i, j in itertools.product(range(len(positions)), repeat=2):
            vector = positions[j] + shift - positions[i]
            inside = 1.0 - vector @ vector / R_MAX**2
            if inside <= 0.0 or (i == j and not any(image)):
                continue
            prefactor = prefactors[i] * prefactors[j]
            energy += 0.5 * prefactor * inside**3  # every pair is met twice
            forces[i] -= prefactor * 6.0 * inside**2 / R_MAX**2 * vector
    return energy, forces


def residuals(atoms: ase.Atoms) -> dict[str, float]:
    """Energy, PITC residual and PISC residual (at the default vertex) of one structure, in eV."""
    cell, pbc = atoms.cell.array, atoms.pbc
    prefactors = np.array([PREFACTORS[symbol] for symbol in atoms.symbols])
    settings = Settings.create(OPTIONS)
    sizes = [len(atoms)]
    keys = structure_keys(torch.from_numpy(atoms.positions), sizes, settings.seed, EPOCH)
    delta, waypoint = (
        draw(settings, point, keys, sizes).numpy() for point in ("displaced", "waypoint")
    )
    energy, forces = energy_and_forces(atoms.positions, cell, pbc, prefactors)
    displaced, _ = energy_and_forces(atoms.positions + delta, cell, pbc, prefactors)
    via, via_forces = energy_and_forces(atoms.positions + waypoint, cell, pbc, prefactors)
    return {
        "energy": float(energy),
        "pitc": float(displaced - (energy - np.sum(delta * forces))),
        "pisc": float(displaced - (via - np.sum((delta - waypoint) * via_forces))),
    }


def structures() -> list[ase.Atoms]:
    """Two molecules and the two sizes of periodic boxes, of the bundled data."""
    molecules = ase.io.read(BUNDLED / "ethanol_gfn2_test.xyz", ":2")
    boxes = {len(atoms): atoms for atoms in ase.io.read(BUNDLED / "periodic_gfn2_test.xyz", ":")}
    # of different sizes and in an order in which neither kind comes first
    return [molecules[0], *(boxes[size] for size in sorted(boxes)), molecules[1][[0, 1, 2, 8]]]


def table() -> dict:
    """The whole table, as it is written."""
    return {
        "about": "made by tests/data/make_residual_table.py; eV and Å",
        "r_max": R_MAX,
        "prefactors": PREFACTORS,
        "options": OPTIONS,
        "epoch": EPOCH,
        "structures": [
            {
                "symbols": atoms.get_chemical_symbols(),
                "pbc": atoms.pbc.tolist(),
                "cell": atoms.cell.array.tolist(),
                "positions": atoms.positions.tolist(),
                **residuals(atoms),
            }
            for atoms in structures()
        ],
    }


if __name__ == "__main__":
    # one line for each structure
    made = table()
    rows = ",\n".join(json.dumps(row) for row in made.pop("structures"))
    head = json.dumps(made, indent=1, ensure_ascii=False).removesuffix("\n}")
    PATH.write_text(f'{head},\n "structures": [\n{rows}\n]}}\n', encoding="utf-8")
