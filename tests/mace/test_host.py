"""The MACE host against the conformance tests that every framework passes."""

import numpy as np
import pytest
import torch
from ase.neighborlist import primitive_neighbor_list
from mace import modules

from piwsl_plugins.mace.host import SHARED_EDGES, MACEHost
from piwsl_plugins.mace.structures import without_forces
from piwsl_plugins.testing import HostConformance

from .conftest import R_MAX, atomic_data, batch_of, frames, make_model


class Framework:
    """A small random MACE."""

    def __init__(self, kind, **keywords):
        # large energies of isolated atoms would leave fewer digits to the reference's differences
        energies = np.array([-0.1, -0.5, -1.0])
        self.model = make_model(kind, atomic_energies=energies, **keywords)
        self.host = MACEHost(self.model)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]

    def batch(self, structures):
        return self.pooled(structures).to_dict()

    def pooled(self, structures):
        return batch_of([atomic_data(atoms) for atoms in structures])

    def call(self, batch, forces):
        inputs = dict(batch) if forces else without_forces(batch)
        return self.model(inputs, training=True, compute_force=forces)

    def alone(self, atoms):
        """With ASE's neighbour list, periodic images one by one."""
        batch = self.batch([atoms])
        sender, receiver, images = primitive_neighbor_list(
            "ijS", atoms.pbc, atoms.cell, atoms.positions, R_MAX
        )
        batch["edge_index"] = torch.from_numpy(np.stack([sender, receiver]))
        batch["unit_shifts"] = torch.from_numpy(images).double()
        batch["shifts"] = torch.from_numpy(images @ atoms.cell.array)
        output = self.model(batch, training=True, compute_force=True)
        return output["energy"][0], output["forces"]


@pytest.fixture(scope="module")
def scale_shift():
    return Framework(modules.ScaleShiftMACE)


class TestMACE(HostConformance):
    @pytest.fixture
    def small_model(self, scale_shift):
        return scale_shift


def test_the_other_kind_of_model_has_its_energies_elsewhere_in_the_output():
    HostConformance().test_terms_and_gradients_agree_with_the_slow_reference(
        Framework(modules.MACE), "pitc and pisc"
    )


@pytest.mark.parametrize(
    ("chosen", "carry"),
    [
        (None, [True, True]),
        (["first"], [True, False]),
        (["first", "first"], [True, False]),
        (["second", "first"], [True, True]),
    ],
)
def test_structures_of_the_chosen_heads_carry_terms(chosen, carry):
    names = ["first", "second"]
    model = make_model(heads=names, atomic_energies=np.zeros((2, 3)))
    (atoms,) = frames("ethanol_gfn2_train", 1)
    batch = batch_of([atomic_data(atoms, names, head) for head in names]).to_dict()
    assert MACEHost(model, chosen).describe(batch).carry.tolist() == carry


@pytest.fixture(scope="module")
def host():
    return MACEHost(make_model())


def test_on_a_cpu_only_small_calls_for_energies_are_shared(host):
    batch = batch_of([atomic_data(atoms) for atoms in frames("ethanol_gfn2_train", 2)]).to_dict()
    for n_edges, forces, shared in (
        (SHARED_EDGES, False, True),
        (SHARED_EDGES + 1, False, False),
        (10, True, False),
    ):
        batch["edge_index"] = torch.zeros(2, n_edges, dtype=torch.long)
        assert host.shares_calls(batch, forces) == shared
