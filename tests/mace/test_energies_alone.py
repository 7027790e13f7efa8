"""Data with energies alone, and data of which some structures have no forces."""

import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from mace import data, modules
from mace.tools import evaluate

from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.mace.loss import EnergyLoss, PIWSLLoss

from .conftest import (
    assert_same_weights,
    atomic_data,
    batch_of,
    command_line,
    frames,
    loader,
    make_model,
    run_command,
    train,
    write_files,
)
from .test_trainer import entries, log, write_hdf5

OFF = {"piwsl_pitc_weight": 0.0}
ELEMENTS = {"E0s": "{1: -10.0, 6: -50.0, 8: -100.0}", "atomic_numbers": "[1, 6, 8]"}
ASE_KEYS = {"energy_key": "energy", "forces_key": "forces"}


def without_forces(files, every=1):
    """The same files, ``every``-th structure without a force label."""
    for path in files.values():
        structures = ase.io.read(path, index=":")
        for index, atoms in enumerate(structures):
            if index % every == 0:
                atoms.arrays.pop("REF_forces", None)
        ase.io.write(path, structures)
    return files


@pytest.fixture
def energies(tmp_path):
    """Files whose text holds no force at all."""
    files = without_forces(write_files(tmp_path, "ethanol_gfn2", 8, 4))
    assert all("REF_forces" not in path.read_text() for path in files.values())
    return files


def mixed(order):
    """Ethanol and periodic structures; the second and third have no force label."""
    structures = frames("ethanol_gfn2_train", 2) + frames("periodic_gfn2_train", 2)
    for atoms in structures[1:3]:
        del atoms.arrays["REF_forces"]
    structures[0].info["config_weight"] = 2.0
    structures[3].info["config_energy_weight"] = 0.5
    structures[3].info["config_forces_weight"] = 3.0
    return [structures[index] for index in order]


def under_ases_keys(structures):
    """The same with their labels as results of a calculator."""
    changed = [ase.Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in structures]
    for atoms, given in zip(changed, structures, strict=True):
        labels = {"energy": given.info.get("REF_energy"), "forces": given.arrays.get("REF_forces")}
        there = {name: value for name, value in labels.items() if value is not None}
        atoms.calc = SinglePointCalculator(atoms, **there)
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["xyz", "hdf5"])
def test_missing_labels_under_the_keys_of_ase_count_nothing(kind, tmp_path):
    """MACE 0.3.16 gives them weight 1, and so learns zeros."""
    files, others = {}, {}
    for name, (part, n) in {"train_file": ("train", 12), "valid_file": ("valid", 6)}.items():
        structures = frames(f"ethanol_gfn2_{part}", n)
        for index, atoms in enumerate(structures):
            if index % 2:
                del atoms.arrays["REF_forces"]
            elif index % 3 == 0:
                del atoms.info["REF_energy"]
        files[name], others[name] = tmp_path / f"{part}.xyz", tmp_path / f"{part}_ase.xyz"
        ase.io.write(files[name], structures)
        ase.io.write(others[name], under_ases_keys(structures))
        if kind == "hdf5":
            others[name] = write_hdf5(tmp_path, others[name], **ASE_KEYS)
    options = {**ELEMENTS, **OFF, "piwsl_base_loss": "huber"}
    expected = train(tmp_path / "expected", files, **options)
    found = train(tmp_path / "found", others, **options, **ASE_KEYS)
    assert_same_weights(found, expected)


@pytest.mark.parametrize("labelled_later", [False, True])
def test_labels_that_mace_makes_later_keep_their_weight(labelled_later, tmp_path, monkeypatch):
    """Replay data without labels, which the foundation model labels."""
    monkeypatch.setenv("_PIWSL_PLUGINS_SELECTED", "1")
    structures = frames("ethanol_gfn2_train", 2)
    del structures[1].arrays["REF_forces"]
    ase.io.write(tmp_path / "replay.xyz", under_ases_keys(structures))
    keys = data.KeySpecification.from_defaults().update({"energy": "energy"}, {"forces": "forces"})
    _, configs = data.utils.load_from_xyz(tmp_path / "replay.xyz", keys, no_data_ok=labelled_later)
    weights = [config.property_weights for config in configs]
    assert [weight["energy"] for weight in weights] == [1.0, 1.0]
    assert [weight["forces"] for weight in weights] == [1.0, float(labelled_later)]


def predictions(structures):
    """Predicted energies and forces, different from all labels and the same in any order."""
    energy = [atoms.info["REF_energy"] + 0.1 * atoms.positions[0, 0] for atoms in structures]
    forces = [torch.from_numpy(atoms.positions).sin() for atoms in structures]
    return {
        "energy": torch.tensor(energy, requires_grad=True),
        "forces": torch.cat(forces).requires_grad_(),
        "stress": torch.zeros(len(structures), 3, 3),
        "virials": torch.zeros(len(structures), 3, 3),
    }


def by_hand(name, structures):
    """Energy weight 2 and forces weight 5, one structure after the other, in plain numbers."""
    e_terms, f_terms, n_atoms = [], [], sum(map(len, structures))
    for atoms in structures:
        weight = atoms.info.get("config_weight", 1.0)
        e_weight = atoms.info.get("config_energy_weight", 1.0)
        f_weight = atoms.info.get("config_forces_weight", 1.0)
        error = 0.1 * atoms.positions[0, 0] / len(atoms)
        labelled = "REF_forces" in atoms.arrays
        label = torch.from_numpy(atoms.arrays["REF_forces"]) if labelled else None
        guess = torch.from_numpy(atoms.positions).sin()
        if name == "weighted":
            e_terms.append(weight * e_weight * error**2)
            if labelled:
                f_terms.append(weight * f_weight * (guess - label).square().sum() / 3)
        elif name == "l1l2energyforces":
            e_terms.append(weight * e_weight * abs(error))
            if labelled:
                f_terms.append((guess - label).norm(dim=1).sum())
        else:
            use_weights = name == "universal"
            e_terms.append(huber(torch.tensor(e_weight * error if use_weights else error)))
            if labelled:
                difference = (guess - label) * (f_weight if use_weights else 1.0)
                f_terms.append(huber(difference).sum() / 3)
    return 2.0 * sum(e_terms) / len(structures) + 5.0 * sum(f_terms) / n_atoms


def huber(x, delta=0.01):
    return torch.where(x.abs() < delta, 0.5 * x**2, delta * (x.abs() - 0.5 * delta))


LOSSES = {
    "weighted": modules.WeightedEnergyForcesLoss(2.0, 5.0),
    "l1l2energyforces": modules.WeightedEnergyForcesL1L2Loss(2.0, 5.0),
    "huber": modules.WeightedHuberEnergyForcesStressLoss(2.0, 5.0, 0.0),
    "universal": modules.UniversalLoss(2.0, 5.0, 0.0),
}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 3, 0, 1), (3, 2, 1, 0)])
@pytest.mark.parametrize("name", LOSSES)
def test_each_label_counts_where_it_exists(name, order):
    """Missing ones count nothing, whatever the base loss."""
    structures = mixed(order)
    loss_fn = PIWSLLoss(LOSSES[name].double(), MaceSettings.create({"pitc_weight": 0.0}))
    batch, pred = batch_of([atomic_data(atoms) for atoms in structures]), predictions(structures)
    known = (batch["forces_weight"] > 0)[batch["batch"]]
    loss = loss_fn(ref=batch, pred=pred)
    torch.testing.assert_close(loss.detach(), torch.as_tensor(by_hand(name, structures)))
    loss.backward()
    assert not pred["forces"].grad[~known].any()
    assert pred["forces"].grad[known].any()


@pytest.mark.parametrize(
    ("name", "base", "factor", "per_atom"),
    [
        ("stress", modules.WeightedHuberEnergyForcesStressLoss(0, 0, 3.0, 1e3), 1.5, False),
        ("stress", modules.WeightedEnergyForcesStressLoss(0, 0, 3.0), 3.0, False),
        ("virials", modules.WeightedEnergyForcesVirialsLoss(0, 0, 3.0), 3.0, True),
        ("dipole", modules.WeightedEnergyForcesDipoleLoss(0, 0, 0.03), 3.0, True),
    ],
)
def test_stress_virials_and_dipoles_count_where_they_exist(name, base, factor, per_atom):
    """MACE's losses of Huber and of dipoles take missing ones for labels that are zero."""
    structures = [frames("periodic_gfn2_train", 1)[0].copy() for _ in range(3)]
    shape, key = ((3,), name) if name == "dipole" else ((3, 3), f"REF_{name}")
    for atoms, label in zip(structures, (np.full(shape, 0.5), None, np.zeros(shape)), strict=True):
        atoms.info.pop(key, None)
        if label is not None:
            atoms.info[key] = label
    batch = batch_of([atomic_data(atoms) for atoms in structures])
    pred = predictions(structures) | {"dipole": torch.zeros(3, 3)}
    pred[name] = torch.ones_like(pred[name]).requires_grad_()
    settings = MaceSettings.create({"pitc_weight": 0.0})
    loss = PIWSLLoss(base.double(), settings)(ref=batch, pred=pred)
    loss.backward()
    unit = len(structures[0]) if per_atom else 1
    assert loss.item() == pytest.approx(factor * (0.5**2 + 1.0) / 3 / unit**2)
    assert pred[name].grad[[0, 2]].all() and not pred[name].grad[1].any()


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_errors_on_validation_data_are_of_the_labels_that_there_are(batch_size):
    """MACE 0.3.16 counts a missing energy as 0 eV in the errors per atom."""
    structures = frames("periodic_gfn2_train", 5)
    for number in (0, 3):
        del structures[number].info["REF_energy"]
    for number in (1, 3):
        del structures[number].arrays["REF_forces"]
    for number in (0, 4):
        structures[number].info["REF_virials"] = np.diag([1.0, 2.0, number])
    model = make_model()
    energy_errors, virial_errors, force_errors, forces = [], [], [], []
    for atoms in structures:
        batch = batch_of([atomic_data(atoms)])
        output = model(batch.to_dict(), compute_virials=True)
        if "REF_energy" in atoms.info:
            energy_errors.append((batch.energy - output["energy"]) / len(atoms))
        if "REF_virials" in atoms.info:
            virial_errors.append((batch.virials - output["virials"]).flatten() / len(atoms))
        if "REF_forces" in atoms.arrays:
            forces.append(batch.forces.flatten())
            force_errors.append((batch.forces - output["forces"]).flatten())
    loss = PIWSLLoss(modules.WeightedEnergyForcesVirialsLoss(), MaceSettings())
    wanted = {"forces": True, "virials": True, "stress": False}
    data = loader([atomic_data(atoms) for atoms in structures], batch_size)
    _, found = evaluate(model, loss, data, wanted, torch.device("cpu"))
    assert found["rmse_e_per_atom"] == pytest.approx(rms(energy_errors))
    assert found["rmse_virials_per_atom"] == pytest.approx(rms(virial_errors))
    assert found["rmse_f"] == pytest.approx(rms(force_errors))
    assert found["rel_rmse_f"] == pytest.approx(100.0 * rms(force_errors) / rms(forces))


def rms(values):
    return torch.cat(values).square().mean().sqrt().item()


@pytest.mark.parametrize("weight", [None, "config_energy_weight", "config_forces_weight"])
def test_fully_labelled_batches_are_left_as_they_are(weight):
    """Also where a label has the weight 0, which MACE's loss "huber" ignores."""
    structures = frames("periodic_gfn2_train", 3)
    if weight:
        structures[1].info[weight] = 0.0
    batch = batch_of([atomic_data(atoms) for atoms in structures])
    for name, base in LOSSES.items():
        values, gradients = [], []
        for loss_fn in (
            base.double(),
            PIWSLLoss(base.double(), MaceSettings.create({"pitc_weight": 0.0})),
        ):
            pred = predictions(structures)
            values.append(loss_fn(ref=batch, pred=pred))
            values[-1].backward()
            gradients.append(pred["forces"].grad)
        assert torch.equal(*values), name
        assert torch.equal(*gradients), name


def test_the_energy_loss_is_the_weighted_mean_square_per_atom():
    structures = mixed((0, 1, 2, 3))
    batch, pred = batch_of([atomic_data(atoms) for atoms in structures]), predictions(structures)
    expected = [
        atoms.info.get("config_weight", 1.0)
        * atoms.info.get("config_energy_weight", 1.0)
        * (0.1 * atoms.positions[0, 0] / len(atoms)) ** 2
        for atoms in structures
    ]
    loss = EnergyLoss(energy_weight=7.0)(ref=batch, pred=pred | {"forces": None})
    assert loss.item() == pytest.approx(7.0 * sum(expected) / 4, rel=1e-12)


def test_its_gradient_is_that_of_the_weighted_loss_without_forces():
    batch = batch_of([atomic_data(atoms) for atoms in mixed((0, 1, 2, 3))])
    gradients = []
    for base in (modules.WeightedEnergyForcesLoss(7.0, 0.0), EnergyLoss(7.0)):
        model = make_model()
        compute = not isinstance(base, EnergyLoss)
        base(
            ref=batch, pred=model(batch.to_dict(), training=True, compute_force=compute)
        ).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    weighted, alone = gradients
    for name, value in alone.items():
        torch.testing.assert_close(value, weighted[name], rtol=1e-12, atol=1e-14, msg=name)


def count_force_calls(patch):
    """Calls of MACE's functions that differentiate the energy by positions, by training."""
    from mace.modules import utils

    calls = []
    for name in ("compute_forces", "compute_forces_virials"):
        original = getattr(utils, name)

        def counted(*args, original=original, **keywords):
            calls.append(keywords["training"])
            return original(*args, **keywords)

        patch.setattr(utils, name, counted)
    return calls


@pytest.mark.slow
def test_the_baseline_computes_no_forces_and_force_labels_do_not_matter(tmp_path, monkeypatch):
    options = {"piwsl_base_loss": "energy", "scaling": "no_scaling", "swa": True, "start_swa": 1}
    labelled = write_files(tmp_path, "ethanol_gfn2", 8, 4, suffix="_labelled")
    expected = train(tmp_path / "labelled", labelled, **options, **OFF)
    assert all(entry["rmse_f"] > 0 for entry in entries(tmp_path / "labelled", "eval"))
    calls = count_force_calls(monkeypatch)
    files = without_forces(write_files(tmp_path, "ethanol_gfn2", 8, 4))
    model = train(tmp_path / "alone", files, **options, **OFF)
    assert calls == []
    assert_same_weights(model, expected)
    text = log(tmp_path / "alone")
    assert "RMSE_F=None" in text
    assert "force slope" not in text
    assert "EnergyLoss(energy_weight=1000.000)" in text
    assert not any("rmse_f" in entry for entry in entries(tmp_path / "alone", "eval"))


@pytest.mark.parametrize("form", ["symmetric", "first_order"])
def test_terms_train_on_energies_alone(tmp_path, energies, form, monkeypatch):
    calls = count_force_calls(monkeypatch)
    options = {"piwsl_base_loss": "energy", "piwsl_softening_guard": "off", "max_num_epochs": 1}
    given = {} if form == "symmetric" else {"piwsl_consistency_form": form}
    train(tmp_path, energies, piwsl_pitc_weight=1e3, **given, **options)
    assert calls == ([] if form == "symmetric" else [True, True])
    assert f"consistency_form={form}" in log(tmp_path)
    assert entries(tmp_path, "piwsl")[0]["pitc"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("guard", ["off", "warn"])
def test_without_compute_forces_only_the_guard_asks_for_them(guard, tmp_path, files, monkeypatch):
    """... and the model is the same."""
    options = {"piwsl_base_loss": "energy", "piwsl_softening_guard": guard, "max_num_epochs": 1}
    expected = train(tmp_path / "with", files, **options)
    calls = count_force_calls(monkeypatch)
    model = train(tmp_path / "without", files, compute_forces=False, **options)
    assert calls == ([] if guard == "off" else [False] * 2)
    assert_same_weights(model, expected)


def test_a_term_gets_the_forces_that_it_needs(tmp_path, files):
    options = {
        "piwsl_base_loss": "energy",
        "piwsl_consistency_form": "first_order",
        "piwsl_pitc_weight": 1e3,
        "max_num_epochs": 1,
    }
    expected = train(tmp_path / "with", files, **options)
    assert_same_weights(
        train(tmp_path / "without", files, compute_forces=False, **options), expected
    )


def test_the_command_trains_on_energies_alone(tmp_path, energies):
    options = {"piwsl_base_loss": "energy", "ema": True, "plot": True, "plot_frequency": 1}
    run_command(command_line(tmp_path, energies, loss="piwsl", E0s="average", **options), tmp_path)
    assert (tmp_path / "run.model").exists()
    assert "against RMS force at the start of training" in log(tmp_path)
    assert entries(tmp_path, "piwsl")[-1]["pitc"] > 0


def test_a_base_loss_that_could_use_forces_says_that_there_are_none(tmp_path, energies):
    train(tmp_path, energies, max_num_epochs=1, **OFF)
    text = log(tmp_path)
    assert "WARNING: PIWSL: the training data has no force labels under --forces_key" in text
    assert "--piwsl_base_loss=energy" in text


@pytest.mark.parametrize("loss", ["weighted", "energy"])
def test_nobody_is_told_to_throw_the_forces_of_a_pool_away(loss, tmp_path, energies):
    ase.io.write(tmp_path / "pool.xyz", frames("ethanol_gfn1_hot", 4))
    pool = {"piwsl_pool_file": tmp_path / "pool.xyz", "piwsl_pool_per_batch": 2}
    train(tmp_path, energies, max_num_epochs=1, piwsl_base_loss=loss, **pool, **OFF)
    text = log(tmp_path)
    advice = "which the base loss 'energy' does not read; to learn them choose --piwsl_base_loss="
    assert (advice in text) == (loss == "energy")
    assert ("forces are learned from the pool alone" in text) == (loss == "weighted")
    assert "choose --piwsl_base_loss=energy" not in text
