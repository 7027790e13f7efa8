"""Hessian labels in whole runs; the equations are in piwsl_plugins/testing, gradients of a
step in test_training_step.py, ranks in test_distributed.py."""

import ase.io
import numpy as np
import pytest
import torch
from mace import modules

from piwsl_plugins.labels.hessian_labels import HessianLabel, read_labels, write_labels
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.mace.companions import Companions
from piwsl_plugins.mace.loss import PIWSLLoss
from piwsl_plugins.terms.found import KEY
from piwsl_plugins.testing.hessians import springs

from .conftest import (
    DATA,
    assert_same_weights,
    atomic_data,
    batch_of,
    command_line,
    frames,
    isolated_atoms,
    make_model,
    run_command,
    train,
)
from .test_pool import bare
from .test_trainer import entries, log
from .test_training_step import training_calls

BUNDLED = read_labels(DATA / "ethanol_gfn2_hessian.npz")


def label(atoms, kind="hessian"):
    """What GFN2-xTB says of one of the first twenty training structures."""
    (known,) = (one for one in BUNDLED if np.array_equal(one.positions, atoms.positions))
    if kind == "hessian":
        return known
    fields = np.random.default_rng(0).normal(scale=0.01, size=(4, len(atoms), 3))
    changes = -(fields.reshape(4, -1) @ known.hessian).reshape(fields.shape)
    return HessianLabel(atoms.numbers, atoms.positions, displacements=fields, force_changes=changes)


@pytest.fixture
def hessians(tmp_path, files):
    """Whole Hessians of five, probes of three of the twelve training structures."""
    structures = frames("ethanol_gfn2_train", 8)
    labels = [label(a) for a in structures[:5]] + [label(a, "probes") for a in structures[5:]]
    write_labels(tmp_path / "labels.npz", labels, "GFN2-xTB")
    return tmp_path / "labels.npz"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["forces", "symmetric", "energies"])
def test_training_reduces_the_residual(form, tmp_path, files, hessians):
    options = {"piwsl_base_loss": "energy"} if form == "energies" else {}
    options |= {"max_num_epochs": 8, "lr": 0.02, "forces_weight": 1.0, "energy_weight": 1.0}
    options["num_interactions"] = 2
    train(tmp_path / "run", files, piwsl_hessian_file=hessians, piwsl_hessian_form=form, **options)
    text = log(tmp_path / "run")
    assert "PIWSL: Hessian labels for 8 of 12 training structures" in text
    assert "can flatten" not in text
    found = entries(tmp_path / "run", "piwsl")
    weight = 100.0 if form == "energies" else 1.0
    assert {entry["hessian_weight"] for entry in found} == {weight}
    assert not any("pitc" in entry for entry in found), "off by default beside Hessians"
    assert found[-1]["hessian_rms"] < 0.8 * found[0]["hessian_rms"]


def test_hessians_in_the_frames_of_the_training_file(tmp_path, files):
    structures = frames("ethanol_gfn2_train", 12)
    for atoms in structures[:7]:
        atoms.info["REF_hessian"] = label(atoms).hessian.ravel()
    ase.io.write(files["train_file"], isolated_atoms("ethanol_gfn2_train") + structures)
    options = {"piwsl_hessian_file": files["train_file"], "default_dtype": "float32"}
    train(tmp_path / "run", files, max_num_epochs=1, **options)
    assert "Hessian labels for 7 of 12 training structures" in log(tmp_path / "run")
    (entry,) = entries(tmp_path / "run", "piwsl")
    # (0.05 Å)² times the weight of forces
    assert entry["hessian"] == pytest.approx(0.25 * entry["hessian_rms"] ** 2, rel=0.3)


BASE_LOSSES = {
    "weighted": modules.WeightedEnergyForcesLoss(0.0, 5.0),
    "stress": modules.WeightedEnergyForcesStressLoss(0.0, 5.0, 0.0),
    "huber": modules.WeightedHuberEnergyForcesStressLoss(0.0, 5.0, 0.0, huber_delta=0.2),
    "universal": modules.UniversalLoss(0.0, 5.0, 0.0, huber_delta=0.2),
    "l1l2energyforces": modules.WeightedEnergyForcesL1L2Loss(0.0, 5.0),
}


@pytest.mark.parametrize("base", BASE_LOSSES)
def test_errors_of_the_hessian_cost_what_errors_of_forces_do(base):
    """At equal weights, of atoms 0.05 Å away, small and large ones."""
    structures = frames("periodic_gfn2_train", 3)
    labels = [springs(atoms) for atoms in structures]
    settings = MaceSettings.create({"hessian_file": "given", "hessian_weight": 5.0})
    loss = PIWSLLoss(BASE_LOSSES[base].double(), settings)
    batch = batch_of([atomic_data(atoms) for atoms in structures])
    model, companions = make_model(), Companions(labels=HessianLabels(labels))
    with training_calls(model, loss, companions):
        output = model(batch.to_dict(), training=True, compute_stress=True)
        total = loss(ref=batch, pred=output)
    alone = BASE_LOSSES[base](batch, output)
    errors = 0.05 * output[KEY].residuals["hessian"].reshape(-1, 3)
    assert errors.abs().min() < 0.2 < errors.abs().max()
    wrong = output | {"energy": batch.energy, "forces": batch.forces + errors}
    expected = BASE_LOSSES[base](batch, wrong)
    torch.testing.assert_close((total - alone).detach(), expected.detach())


def test_the_log_says_how_errors_of_the_hessian_are_penalised(tmp_path, files, hessians):
    options = {"swa": True, "start_swa": 1, "piwsl_base_loss": "huber", "huber_delta": 0.02}
    train(tmp_path, files, piwsl_hessian_file=hessians, **options)
    one, two = [line for line in log(tmp_path).splitlines() if "are penalised" in line]
    assert "by the Huber loss, linear above 0.02 eV/Å" in one
    assert "by their squares, as errors of forces are by WeightedEnergyForcesLoss" in two


@pytest.mark.slow
def test_stage_two_has_its_own_weight(tmp_path, files, hessians):
    options = {"swa": True, "start_swa": 1, "ema": True, "piwsl_hessian_weight": 4.0}
    for name, given in (("same", {}), ("own", {"swa_piwsl_hessian_weight": 2.0})):
        train(tmp_path / name, files, piwsl_hessian_file=hessians, **options, **given)
        weights = [entry["hessian_weight"] for entry in entries(tmp_path / name, "piwsl")]
        assert weights == ([4.0, 2.0] if given else [4.0, 4.0])


def test_labels_of_the_pool(tmp_path, files, hessians):
    structures = frames("ethanol_gfn2_test", 4)
    write_labels(tmp_path / "pool.npz", [springs(a) for a in structures[:3]], "springs")
    ase.io.write(tmp_path / "pool.xyz", [bare(atoms) for atoms in structures])
    options = {"piwsl_hessian_file": tmp_path / "pool.npz", "lbfgs": True, "batch_size": 12}
    train(tmp_path, files, piwsl_pool_file=tmp_path / "pool.xyz", max_num_epochs=1, **options)
    text = log(tmp_path)
    assert "Hessian labels for 0 of 12 training structures" in text
    assert "training structures, and for 3 of 4 of the pool" in text
    assert "pool of 4 structures, 0 with labels" in text
    assert np.isfinite(entries(tmp_path, "piwsl")[0]["hessian_rms"])


@pytest.mark.slow
def test_held_out_hessians_are_watched_and_change_nothing(tmp_path, files):
    structures = ase.io.read(files["valid_file"], index=":")
    write_labels(tmp_path / "valid.npz", [springs(a) for a in structures[:4]], "springs")
    options = {"max_num_epochs": 2, "piwsl_pitc_weight": 0.0, "eval_interval": 1}
    models = {}
    for name, given in (
        ("with", {"piwsl_hessian_valid_file": tmp_path / "valid.npz"}),
        ("alone", {}),
    ):
        models[name] = train(tmp_path / name, files, **options, **given)
    assert_same_weights(*models.values())
    assert "Hessian labels for 4 of 6 validation structures" in log(tmp_path / "with")
    found = entries(tmp_path / "with", "piwsl_validation")
    assert [entry["epoch"] for entry in found] == [None, 0, 1]
    assert all(0.1 < entry["hessian_valid_rms"] < 1000.0 for entry in found)
    assert f"Hessians {found[-1]['hessian_valid_rms']:.3f} eV/Å²" in log(tmp_path / "with")
    evaluated = [entries(tmp_path / name, "eval") for name in models]
    assert [e["loss"] for e in evaluated[0]] == [e["loss"] for e in evaluated[1]]


def wrong_labels(case, folder):
    """Options, and what the message must say."""
    structures = frames("ethanol_gfn2_train", 2)
    path = folder / "labels.npz"
    labels = [springs(atoms) for atoms in structures]
    options = {"piwsl_hessian_file": path}
    words = ["--piwsl_hessian_file="]
    if case == "no match":
        labels = [springs(atoms) for atoms in frames("ethanol_gfn2_test", 2)]
        words += ["belongs to one of the 12 training structures", "piwsl hessian"]
    elif case == "asymmetric":
        labels[1].hessian[0, 5] += 100.0
        words += ["label 1 (from 0): the Hessian is not symmetric"]
    elif case == "energies":
        probes = {"displacements": np.ones((1, 9, 3)), "curvatures": np.ones(1)}
        labels[1] = HessianLabel(labels[1].numbers, labels[1].positions, **probes)
        words = ["--piwsl_hessian_form=forces", "label 1 (from 0)"]
    elif case == "validation":
        options = {"piwsl_hessian_valid_file": path}
        words = ["--piwsl_hessian_valid_file=", "one of the 6 validation structures"]
    write_labels(path, labels, "springs")
    if case == "frames":
        path.with_suffix(".xyz").write_text((folder / "train.xyz").read_text())
        options = {"piwsl_hessian_file": path.with_suffix(".xyz")}
        words += ["REF_hessian"]
    return options, words


@pytest.mark.parametrize("case", ["no match", "asymmetric", "energies", "frames", "validation"])
def test_wrong_labels_end_the_run_with_one_message(case, tmp_path, files, capfd):
    options, words = wrong_labels(case, tmp_path)
    with pytest.raises(SystemExit) as ended:
        train(tmp_path / "run", files, **options)
    assert ended.value.code == 2
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    for word in words:
        assert word in message, message
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.slow
def test_the_command_and_a_restart(tmp_path, files, hessians):
    """Restarted from the same checkpoint twice, a run ends the same."""
    options = {"loss": "piwsl", "piwsl_hessian_file": hessians, "batch_size": 12, "ema": True}
    first = tmp_path / "first"
    first.mkdir()
    run_command(command_line(first, files, max_num_epochs=2, **options), tmp_path)
    assert [entry["epoch"] for entry in entries(first, "piwsl")] == [0, 1]
    models = []
    for name in ("second", "third"):
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        for path in (first / "checkpoints").glob("*.pt"):
            (folder / "checkpoints" / path.name).write_bytes(path.read_bytes())
        restart = {"max_num_epochs": 3, "restart_latest": True, **options}
        models.append(train(folder, files, **restart))
        assert entries(folder, "piwsl")[-1]["hessian"] > 0
    assert_same_weights(*models)
