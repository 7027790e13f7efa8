"""Errors of a trained model of ``accuracy.py`` on test data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase
import mace  # noqa: F401  sets a variable without which e3nn 0.4.4 does not load
import numpy as np
import torch
from _accuracy_cells import DATASETS, HESSIAN_TEST_FRAMES
from _accuracy_data import Sources, computed, draw, labelled
from _accuracy_hessian import hessian_errors
from _accuracy_job import Job
from _errors import errors
from mace import data, tools
from mace.tools import torch_geometric

#: atoms per batch
TEST_ATOMS = 600


def load(path: Path) -> Any:
    """A trained model, from a file of ours."""
    return torch.load(path, weights_only=False, map_location="cpu")


def predict(
    model: Any, frames: list[ase.Atoms], head: str = "Default"
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies (n_frames,) in eV and forces in eV/Å of a head of a MACE model, in batches."""
    # the dtype of the graphs; a worker's first task may come before MACE sets it
    torch.set_default_dtype(next(model.parameters()).dtype)
    numbers = tools.AtomicNumberTable([int(z) for z in model.atomic_numbers])
    graphs = [
        data.AtomicData.from_config(
            data.config_from_atoms(
                atoms, key_specification=data.KeySpecification(), head_name=head
            ),
            z_table=numbers,
            cutoff=float(model.r_max),
            heads=model.heads,
        )
        for atoms in frames
    ]
    size = max(1, TEST_ATOMS // max(len(atoms) for atoms in frames))
    energies, forces = [], []
    for batch in torch_geometric.dataloader.DataLoader(graphs, batch_size=size, shuffle=False):
        output = model(batch.to_dict(), compute_force=True)
        energies.append(output["energy"].detach().numpy())
        forces.append(output["forces"].detach().numpy())
    ends = np.cumsum([len(atoms) for atoms in frames])[:-1]
    return np.concatenate(energies), np.split(np.concatenate(forces), ends)


def validation(job: Job, sources: Sources, model: Any, shift: float) -> dict[str, float]:
    """Errors on the validation frames, with their forces though training may not have had them.

    What is chosen by seed 0 is chosen by these.
    """
    cell = job.effective_cell
    data = labelled(sources, cell.dataset, "train", cell.level)
    numbers = draw(cell, job.seed, len(data.frames)).valid
    frames, forces = ([part[n] for n in numbers] for part in (data.frames, data.forces))
    energies, found = predict(model, frames)
    measured = errors(frames, energies + shift, found, data.energies[numbers], forces)
    return {f"valid_{name}": measured[name] for name in ("E_centred", "F_rmse", "slope")}


def test(job: Job, sources: Sources, model: Any, shift: float) -> dict[str, float]:
    """Errors on the test file, against the reference (the cheap method, for a model of it)."""
    cell, dataset = job.effective_cell, DATASETS[job.effective_cell.dataset]
    level = "cheap" if cell.level == "cheap" else "reference"
    true = labelled(sources, cell.dataset, "test", level)
    energies, forces = predict(model, true.frames)
    if cell.level == "delta":
        lower = computed(sources, dataset.test, dataset.cheap)
        energies = energies + lower.energies
        forces = [mine + low for mine, low in zip(forces, lower.forces, strict=True)]
    measured = errors(true.frames, energies + shift, forces, true.energies, true.forces)
    file = sources.hessian_file(cell.dataset) if cell.hessians else None
    if file is not None:
        frames = labelled(sources, cell.dataset, "train", "reference").frames
        spare = draw(cell, job.seed, len(frames)).spare
        measured |= hessian_errors(
            lambda molecules: predict(model, molecules)[1],
            frames,
            spare,
            file,
            HESSIAN_TEST_FRAMES,
        )
    return measured
