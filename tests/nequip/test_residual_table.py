"""The residuals of ``tests/data/residual_table.json``, through the NequIP adapter."""

from __future__ import annotations

import json

import ase
import numpy as np
import pytest
import torch
from nequip.data import AtomicDataDict
from nequip.nn import (
    AtomwiseReduce,
    ForceStressOutput,
    GraphModel,
    GraphModuleMixin,
    SequentialGraphNetwork,
)
from nequip.nn.utils import scatter, with_edge_vectors_

from piwsl_plugins.nequip import PIWSLLoss
from piwsl_plugins.nequip.evaluation import DisplacedEvaluation, Moment

from ..data.make_residual_table import PATH
from .conftest import TYPE_NAMES
from .reference import as_batch

TABLE = json.loads(PATH.read_text(encoding="utf-8"))


class PairPotential(GraphModuleMixin, torch.nn.Module):
    """The potential of the table, as energies of atoms."""

    def __init__(self):
        super().__init__()
        self._init_irreps(irreps_out={AtomicDataDict.PER_ATOM_ENERGY_KEY: "0e"})
        prefactors = [TABLE["prefactors"][symbol] for symbol in TYPE_NAMES]
        self.register_buffer("prefactors", torch.tensor(prefactors))

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        data = with_edge_vectors_(data, with_lengths=True)
        first, second = data[AtomicDataDict.EDGE_INDEX_KEY]
        inside = (1 - (data[AtomicDataDict.EDGE_LENGTH_KEY] / TABLE["r_max"]) ** 2).clamp(min=0)
        prefactors = self.prefactors[data[AtomicDataDict.ATOM_TYPE_KEY]]
        per_edge = 0.5 * (prefactors[first] * prefactors[second]).unsqueeze(1) * inside**3
        data[AtomicDataDict.PER_ATOM_ENERGY_KEY] = scatter(
            per_edge, first, dim=0, dim_size=len(prefactors)
        )
        return data


def make_model() -> GraphModel:
    pairs = PairPotential()
    total = AtomwiseReduce(
        field=AtomicDataDict.PER_ATOM_ENERGY_KEY,
        out_field=AtomicDataDict.TOTAL_ENERGY_KEY,
        irreps_in=pairs.irreps_out,
    )
    config = {"model_dtype": "float64", "type_names": TYPE_NAMES, "r_max": TABLE["r_max"]}
    model = ForceStressOutput(SequentialGraphNetwork({"pairs": pairs, "total": total}))
    return GraphModel(model, config)


@pytest.mark.parametrize("join", [False, True])
def test_residuals_are_those_of_the_table(join):
    rows = TABLE["structures"]
    frames = [
        ase.Atoms(**{key: row[key] for key in ("symbols", "pbc", "cell", "positions")})
        for row in rows
    ]
    options = dict(TABLE["options"])
    seed = options.pop("seed")
    model = make_model()
    evaluation = DisplacedEvaluation(
        model, PIWSLLoss(**options), seed, schedule=lambda: Moment(TABLE["epoch"], 1.0), join=join
    )
    output = model(as_batch(frames, TYPE_NAMES, TABLE["r_max"]))
    evaluation.remove()
    found = {
        "energy": output["total_energy"][:, 0].tolist(),
        "pitc": output["piwsl_pitc"][0].tolist(),
        "pisc": output["piwsl_pisc"][0].tolist(),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, [row[name] for row in rows], rtol=1e-10, err_msg=name)
