"""Descriptors: turned, shifted and repeated structures, and those of models."""

import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.io import write

from piwsl_plugins.errors import InputError
from piwsl_plugins.frames.reading import Frame
from piwsl_plugins.tools.select.descriptors import descriptor
from piwsl_plugins.tools.select.model_features import MaceFeatures, ModelSource
from piwsl_plugins.tools.select.soap import Soap

from .conftest import rattled
from .test_command import TURN

pytestmark = [pytest.mark.framework, pytest.mark.slow]

mace_only = pytest.mark.skipif(find_spec("mace") is None, reason="needs the mace extra")
nequip_only = pytest.mark.skipif(find_spec("nequip") is None, reason="needs the nequip extra")


def describe(described, *structures):
    return described([Frame(atoms, f"frame {n}") for n, atoms in enumerate(structures)])


def turned(atoms):
    atoms = atoms.copy()
    atoms.positions = atoms.positions @ TURN + (1.0, 2.0, -3.0)
    atoms.cell = atoms.cell.array @ TURN
    return atoms[::-1]


def crystal(seed=0):
    atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def check_invariance(described, atoms, other, tolerance):
    first, again, different = describe(described, atoms, turned(atoms), other)
    size = np.abs(first).max()
    assert first.shape[0] == len(atoms) and first.std(axis=0).max() > 1e-3 * size
    assert np.abs(first - again[::-1]).max() < tolerance * size
    assert np.abs(first - different).max() > 100 * tolerance * size


def test_soap_of_molecules_and_crystals():
    check_invariance(Soap((1, 6, 8)), rattled(seed=0), rattled(seed=1), 1e-10)
    check_invariance(Soap((11, 17)), crystal(0), crystal(1), 1e-10)


def test_soap_of_one_structure_does_not_depend_on_those_beside_it():
    described = Soap((1, 6, 8, 11, 17))
    alone = describe(described, rattled()) + describe(described, crystal())
    together = describe(described, rattled(), crystal())
    assert all(np.array_equal(a, b) for a, b in zip(alone, together))


def test_soap_of_a_repeated_cell():
    small, large = describe(Soap((11, 17)), crystal(), crystal() * (2, 1, 1))
    assert np.allclose(np.tile(small, (2, 1)), large, atol=1e-10 * np.abs(small).max())


def test_soap_of_a_slab_sees_no_image_above_it():
    slab = fcc111("Cu", (2, 2, 3), vacuum=None)
    slab.pbc = (True, True, False)
    above = slab.copy()
    above.center(vacuum=30, axis=2)
    above.pbc = True
    first, second = describe(Soap((29,)), slab, above)
    assert np.allclose(first, second, atol=1e-10 * np.abs(first).max())


def test_a_molecule_in_a_box_without_periodicity_is_a_molecule():
    boxed = rattled()
    boxed.cell = [3.0, 3.0, 3.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # between ASE and numpy 2.5
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="ase")
        first, second = describe(Soap((1, 6, 8)), rattled(), boxed)
    assert np.array_equal(first, second)


def test_soap_reaches_as_far_as_its_cutoff():
    pair = Atoms("H2", [[0, 0, 0], [0, 0, 5.5]])
    alone = Atoms("H")
    for cutoff, equal in ((5.0, True), (6.0, False)):
        first, second = describe(Soap((1,), cutoff), pair, alone)
        assert np.allclose(first[0], second[0], atol=1e-12) == equal


def test_more_elements_have_a_coarser_basis():
    width = {n: describe(Soap(tuple(range(1, n + 1))), Atoms("H"))[0].shape[1] for n in (4, 5, 11)}
    assert width == {4: 10 * 216, 5: 15 * 80, 11: 66 * 36}
    with pytest.raises(InputError, match="33 elements, too many for SOAP"):
        Soap(tuple(range(1, 34)))


def check_batches(described, atoms, tolerance):
    """Together, in more than one batch and with crystals between, as one by one."""
    boxed = atoms.copy()
    boxed.set_cell([6.0, 6.5, 7.0])
    boxed.pbc = True
    structures = [atoms, boxed, atoms[:1], *(rattled(seed=seed) for seed in range(70))]
    alone = [describe(described, structure)[0] for structure in structures]
    together = describe(described, *structures)
    assert [len(array) for array in together] == [len(structure) for structure in structures]
    size = np.abs(alone[0]).max()
    assert max(np.abs(a - b).max() for a, b in zip(alone, together)) < tolerance * size
    assert np.abs(alone[0] - alone[1]).max() > 1e-3 * size


@mace_only
def test_mace_features_are_those_of_its_calculator(tmp_path):
    from mace.calculators import MACECalculator

    from ..mace_files import tiny_model

    path = tiny_model(tmp_path / "vectors.model", irreps="6x0e+6x1o")
    described = descriptor(str(path), None, "cpu", 5.0, [1, 6, 8])
    check_invariance(described, rattled(seed=0), rattled(seed=1), 1e-8)
    check_batches(described, rattled(), 1e-10)
    calculator = MACECalculator(model_paths=str(path), device="cpu", default_dtype="float64")
    expected = calculator.get_descriptors(rattled())
    assert expected.shape == (9, 12)
    assert np.allclose(describe(described, rattled())[0], expected, atol=1e-12)


@mace_only
def test_a_model_of_dipoles_too(tmp_path):
    """The scalars after each layer, of which its energies are made."""
    from ..mace_files import dipole_model

    model = dipole_model(tmp_path / "dipoles.model", "6x0e+6x1o")
    described = descriptor(str(tmp_path / "dipoles.model"), None, "cpu", 5.0, [1, 6, 8])
    check_invariance(described, rattled(seed=0), rattled(seed=1), 1e-8)
    check_batches(described, rattled(), 1e-10)
    features = describe(described, rattled())[0]
    assert features.shape == (9, 12)
    # the first layer's readout is linear: without E0s, its part of each atom's energy
    weight = model.readouts[0].linear.weight.detach().numpy()[:6] / np.sqrt(6)
    graph = described.calculator._atoms_to_batch(rattled()).to_dict()
    expected = model(graph, compute_force=False)["contributions"][0, 1].item()
    assert (features[:, :6] @ weight).sum() == pytest.approx(expected)


@mace_only
def test_mace(tmp_path, select, refused, pool):
    from ..mace_files import tiny_model

    path = tiny_model(tmp_path / "tiny.model")
    described = descriptor(str(path), None, "cpu", 5.0, [1, 6, 8])
    assert isinstance(described, MaceFeatures)
    check_invariance(described, rattled(seed=0), rattled(seed=1), 1e-8)
    assert describe(described, rattled())[0].shape == (9, 8)
    structures = [rattled(seed=seed) for seed in range(6)]
    write(tmp_path / "ethanol.xyz", structures)
    chosen, printed = select(tmp_path / "ethanol.xyz", "--n", 3, "--model", path, "--workers", 2)
    assert len(chosen) == 3 and "tiny.model" in printed
    write(tmp_path / "moved.xyz", [turned(atoms) for atoms in structures])
    again, _ = select(tmp_path / "moved.xyz", "--n", 3, "--model", path, out="again.xyz")
    numbers = [[a.info["select_index"] for a in frames] for frames in (chosen, again)]
    assert numbers[0] == numbers[1]
    error = refused(pool, "--n", 1, "--out", tmp_path / "o.xyz", "--model", path)
    assert "not trained on the element(s) Cu" in error


def saved_nequip(tmp_path, model):
    """A packaged model, as ``nequip-train`` and ``nequip-package`` make it."""
    from ...nequip.command_line import config, train

    made = config(model, loss={"_target_": "nequip.train.EnergyForceLoss"})
    made["training_module"]["model"] |= {"num_layers": 2} if model == "nequip" else {}
    train(tmp_path, made, "run=[train]", "trainer.max_epochs=1")
    return tmp_path / "out" / "last.ckpt"


def packaged(checkpoint):
    from ...nequip.command_line import ROOT, run

    package = checkpoint.with_name("model.nequip.zip")
    run("nequip-package", "build", checkpoint, package, directory=ROOT)
    return package


@pytest.fixture
def nequips_state():
    """As in a process of its own: what other tests in this one have left is another precision."""
    from ...nequip.conftest import global_state

    with global_state():
        yield


@nequip_only
@pytest.mark.usefixtures("nequips_state")
def test_nequip(tmp_path, select, refused, pool):
    path = saved_nequip(tmp_path, "nequip")
    described = descriptor(str(path), None, "cpu", 5.0, [1, 6, 8])
    check_invariance(described, rattled(seed=0), rattled(seed=1), 1e-8)
    # the scalars of both layers; the vectors of the first are left out
    assert describe(described, rattled())[0].shape == (9, 8)
    check_batches(described, rattled(), 1e-10)
    # a package brings classes of its own
    from_package = descriptor(str(packaged(path)), None, "cpu", 5.0, [1, 6, 8])
    arrays = [describe(d, rattled())[0] for d in (described, from_package)]
    assert np.allclose(*arrays, atol=1e-10)
    write(tmp_path / "ethanol.xyz", [rattled(seed=seed) for seed in range(6)])
    chosen, printed = select(tmp_path / "ethanol.xyz", "--n", 3, "--model", path)
    assert len(chosen) == 3 and "last.ckpt" in printed
    error = refused(pool, "--n", 1, "--out", tmp_path / "o.xyz", "--model", path)
    assert "not trained on the element(s) Cu" in error


@nequip_only
@pytest.mark.skipif(find_spec("allegro") is None, reason="needs nequip-allegro")
@pytest.mark.usefixtures("nequips_state")
def test_allegro(tmp_path):
    """What its energies are made of: they are the same function of what was described."""
    import torch
    from nequip.data import AtomicDataDict

    path = saved_nequip(tmp_path, "allegro")
    described = descriptor(str(path), None, "cpu", 5.0, [1, 6, 8])
    check_invariance(described, rattled(seed=0), rattled(seed=1), 1e-8)
    check_batches(described, rattled(), 1e-10)
    # linear in the edges, as a readout of one layer would be: its sum is that over all edges
    model, calculator = described.calculator.model, described.calculator
    (readout,) = [m for name, m in model.named_modules() if name.endswith("edge_readout")]
    edges = []
    hook = readout.register_forward_pre_hook(
        lambda _, given: edges.append(given[0][AtomicDataDict.EDGE_FEATURES_KEY].detach())
    )
    calculator.call_model(calculator.atoms_to_data(rattled()))
    hook.remove()
    features = torch.as_tensor(describe(described, rattled())[0])
    assert torch.allclose(edges[0].sum(0), features.sum(0).to(edges[0].dtype), atol=1e-10)


@nequip_only
@pytest.mark.skipif(find_spec("allegro") is None, reason="needs nequip-allegro")
@pytest.mark.usefixtures("nequips_state")
def test_allegro_features_are_smooth_at_the_cutoff(tmp_path):
    path = saved_nequip(tmp_path, "allegro")
    described = descriptor(str(path), None, "cpu", 5.0, [1, 6, 8])
    cutoff = float(described.calculator.model.metadata["r_max"])
    near, at, beyond = (
        describe(described, Atoms("OHC", [[0, 0, 0], [0, 0, 1], [distance, 0, 0]]))[0][0]
        for distance in (0.8 * cutoff, cutoff - 1e-4, cutoff + 1e-4)
    )
    assert np.abs(at - beyond).max() < 1e-6 < 1e-3 * np.abs(near).max()
    assert np.abs(near - beyond).max() > 1e-4 * np.abs(near).max()


@nequip_only
def test_a_compiled_model_is_refused(tmp_path, refused, pool):
    (tmp_path / "a.nequip.pt2").touch()
    model = ("--model", tmp_path / "a.nequip.pt2")
    error = refused(pool, "--n", 1, "--out", tmp_path / "o.xyz", *model)
    assert ".nequip.zip or .ckpt" in error


def test_a_model_whose_package_is_missing(tmp_path, refused, pool, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "a.model").touch()
    error = refused(pool, "--n", 1, "--out", tmp_path / "o.xyz", "--model", tmp_path / "a.model")
    assert 'pip install "piwsl-plugins[mace,tools]"' in error
    assert ModelSource.parse(str(tmp_path / "a.model")).called.startswith("--model=")
