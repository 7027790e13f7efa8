"""The residuals of ``tests/data/residual_table.json``, through the MACE adapter."""

import json

import ase
import numpy as np
import pytest
import torch
from mace import modules

from piwsl_plugins.core.settings import Settings
from piwsl_plugins.mace.loss import PIWSLLoss
from piwsl_plugins.mace.training import DisplacedEvaluation

from ..data.make_residual_table import PATH
from .conftest import ELEMENTS, atomic_data, batch_of

TABLE = json.loads(PATH.read_text(encoding="utf-8"))


class PairPotential(torch.nn.Module):
    """The potential of the table, called and answering as MACE's models are and do.

    Energies of isolated atoms, which no residual feels, come first in "contributions".
    """

    def __init__(self):
        super().__init__()
        symbols = [ase.data.chemical_symbols[number] for number in ELEMENTS]
        prefactors = [TABLE["prefactors"][symbol] for symbol in symbols]
        self.register_buffer("prefactors", torch.tensor(prefactors))
        self.register_buffer("atomic_energies", torch.tensor([-13.0, -1035.0, -2040.0]))
        self.register_buffer("r_max", torch.tensor(TABLE["r_max"]))

    def forward(
        self,
        data,
        training=False,
        compute_force=True,
        compute_virials=False,
        compute_stress=False,
    ):
        positions = data["positions"].requires_grad_(True)
        sender, receiver = data["edge_index"]
        vectors = positions[receiver] - positions[sender] + data["shifts"]
        inside = (1 - vectors.square().sum(dim=1) / self.r_max**2).clamp(min=0)
        prefactors = data["node_attrs"] @ self.prefactors
        per_edge = 0.5 * prefactors[sender] * prefactors[receiver] * inside**3
        per_atom = torch.zeros_like(prefactors).index_add(0, receiver, per_edge)
        both = torch.stack([data["node_attrs"] @ self.atomic_energies, per_atom], dim=1)
        contributions = both.new_zeros(len(data["ptr"]) - 1, 2).index_add(0, data["batch"], both)
        energy, forces = contributions.sum(dim=1), None
        if compute_force:
            forces = -torch.autograd.grad(energy.sum(), positions, create_graph=training)[0]
        return {"energy": energy, "contributions": contributions, "forces": forces}


@pytest.mark.parametrize("join", [False, True])
def test_residuals_are_those_of_the_table(join):
    rows = TABLE["structures"]
    batch = batch_of(
        [
            atomic_data(
                ase.Atoms(**{key: row[key] for key in ("symbols", "pbc", "cell", "positions")}),
                r_max=TABLE["r_max"],
            )
            for row in rows
        ]
    ).to_dict()
    model = PairPotential()
    base = modules.WeightedEnergyForcesLoss(1.0, 1.0)
    loss = PIWSLLoss(base, Settings.create(TABLE["options"]))
    with DisplacedEvaluation(model, loss, TABLE["epoch"], first_step=0, join=join):
        output = model(batch, training=True, compute_force=True)
    found = {
        "energy": output["contributions"][:, 1].tolist(),
        "pitc": output["piwsl_pitc"][0].tolist(),
        "pisc": output["piwsl_pisc"][0].tolist(),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, [row[name] for row in rows], rtol=1e-10, err_msg=name)
