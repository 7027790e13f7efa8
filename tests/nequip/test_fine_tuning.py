"""Fine-tuning a pretrained model as people do it: each configuration through the real command.

The pretrained model is made once, from GFN1-xTB labels; fine-tuning goes to GFN2-xTB energies
alone. That both ways of loading work beside PIWSL's own features is in ``test_packages.py``.
"""

from __future__ import annotations

import functools

import ase.io
import numpy as np
import pytest
import yaml

from .command_line import DATA, ROOT, checkpoint, metrics, run, same, weights

CONFIGS = ROOT / "configs/nequip"
MODES = ["finetune", "finetune_checkpoint"]
#: with Hessian labels beside energies and forces, and their numbers of frames
HESSIAN_MODES = {"finetune_hessian": 10, "soften_one_frame": 1}
SHORT = ["trainer.max_epochs=2"]
SMALL = ["num_features=4", "radial_mlp_width=8", "model_dtype=float64"]
SCALE_SHIFT = "model.sole_model.model.func.per_type_energy_scale_shift"
#: a program: energies and forces of a file's frames with each of some saved models
EVALUATE = """
import sys, ase.io, numpy as np
from nequip.integrations.ase import NequIPCalculator
for index, model in enumerate(sys.argv[2:]):
    calculator = NequIPCalculator._from_saved_model(model, chemical_species_to_atom_type_map=True)
    energies, forces = [], []
    for atoms in ase.io.read(sys.argv[1], ":"):
        calculator.calculate(atoms)
        energies.append(calculator.results["energy"])
        forces.append(calculator.results["forces"])
    np.savez(f"{index}.npz", energies=energies, forces=forces)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """A folder with best.ckpt and pretrained.nequip.zip of a tiny model."""
    folder = tmp_path_factory.mktemp("pretrained")
    small = [f"training_module.model.{option}" for option in SMALL]
    config = ["-cp", str(CONFIGS), "-cn", "finetune_pretrain"]
    arguments = [*config, f"hydra.run.dir={folder}", "run=[train]", *small]
    run("nequip-train", *arguments, "trainer.max_epochs=4", directory=ROOT)
    paths = str(folder / "best.ckpt"), str(folder / "pretrained.nequip.zip")
    run("nequip-package", "build", *paths, directory=ROOT)
    return folder


def source(mode, pretrained):
    if mode == "finetune_checkpoint":
        return f"checkpoint={pretrained / 'best.ckpt'}"
    return f"package={pretrained / 'pretrained.nequip.zip'}"


@pytest.fixture(scope="session")
def tuned(pretrained, tmp_path_factory):
    """``tuned(mode, *arguments, config=…)`` runs a configuration through ``nequip-train``, once."""

    @functools.cache
    def tune(mode, *arguments, config=None):
        folder = tmp_path_factory.mktemp(mode)
        config = config or CONFIGS / f"{mode}.yaml"
        named = ["-cp", str(config.parent), "-cn", config.stem, f"hydra.run.dir={folder}"]
        run("nequip-train", *named, source(mode, pretrained), *SHORT, *arguments, directory=ROOT)
        return folder

    return tune


def new_shifts(mode):
    return settings(mode)["ethanol"]


def settings(mode):
    return yaml.safe_load((CONFIGS / f"{mode}.yaml").read_text())


@pytest.mark.parametrize("mode", MODES)
def test_energies_and_pitc_alone_are_trained(mode, tuned):
    """No force term in the loss, and PITC in every epoch."""
    found = metrics(tuned(mode))
    terms = {name.partition("/")[2] for name in found if name.startswith("train_loss_epoch")}
    assert terms == {"per_atom_energy_mse", "pitc", "weighted_sum"}
    assert len(found["train_loss_epoch/pitc"]) == 2
    for penalty in found["train_loss_epoch/pitc"]:
        assert 1e-4 < penalty**0.5 < 0.1, "eV per atom, the curvature of a molecule"


@pytest.mark.parametrize("mode", HESSIAN_MODES)
def test_hessians_are_learned(mode, tuned):
    """The recipes with Hessian labels; the error is that along fixed directions."""
    n_frames = HESSIAN_MODES[mode]
    chosen = f"data/ethanol_gfn2_train.xyz@5:{5 + n_frames}"
    watched = "+training_module.loss.hessian_valid_file=data/ethanol_gfn2_hessian.npz"
    arguments = (watched, f"data.train_file_path={chosen}", f"data.val_file_path={chosen}")
    folder = tuned(mode, "trainer.max_epochs=4", *arguments)
    found = metrics(folder)
    terms = {name.partition("/")[2] for name in found if name.startswith("train_loss_epoch")}
    assert terms == {"per_atom_energy_mse", "forces_mse", "hessian", "weighted_sum"}
    errors = found["val_epoch/hessian_rms"]
    assert len(errors) == len(found["train_loss_epoch/hessian"]) == 4
    assert errors == sorted(errors, reverse=True)
    log = (folder / "train.log").read_text()
    assert f"Hessian labels for {n_frames} of {n_frames} training structures" in log


@pytest.fixture(scope="session")
def before(pretrained, tmp_path_factory):
    """Energies and forces of the pretrained model on the validation frames, per mode."""
    folder = tmp_path_factory.mktemp("before")
    (folder / "evaluate.py").write_text(EVALUATE)
    models = [str(pretrained / "pretrained.nequip.zip"), str(pretrained / "best.ckpt")]
    frames = str(DATA / "ethanol_gfn2_test.xyz")
    run("python", "evaluate.py", frames, *models, directory=folder)
    return {mode: np.load(folder / f"{index}.npz") for index, mode in enumerate(MODES)}


@pytest.mark.parametrize("mode", MODES)
def test_fine_tuning_starts_from_the_pretrained_forces(mode, pretrained, tuned, before):
    """Before the first step: the pretrained (EMA) model, its energies moved by the new shifts."""
    frames = labelled("gfn2")
    energies = before[mode]["energies"] + change_of_shifts(mode, pretrained)
    energy_error = (energies - [atoms.info["REF_energy"] for atoms in frames]) / 9
    force_error = before[mode]["forces"] - [atoms.arrays["REF_forces"] for atoms in frames]
    first = {name: values[0] for name, values in metrics(tuned(mode)).items()}
    for name, error in {"per_atom_energy": energy_error, "forces": force_error}.items():
        expected = np.sqrt(np.mean(error**2))
        assert first[f"val0_epoch/{name}_rmse"] == pytest.approx(expected, rel=1e-6), name


@pytest.mark.parametrize("mode", MODES)
def test_shifts_of_the_configuration_take_the_constant_off(mode, pretrained):
    """The constant between the two methods is 2.3 eV per atom, and 7 meV of it may be left."""
    pairs = zip(labelled("gfn2"), labelled("gfn1"))
    constant = np.mean([new.info["REF_energy"] - old.info["REF_energy"] for new, old in pairs])
    assert constant / 9 > 2.0
    assert abs(change_of_shifts(mode, pretrained) - constant) / 9 < 0.007


def labelled(level):
    return ase.io.read(DATA / f"ethanol_{level}_test.xyz", ":")


def change_of_shifts(mode, pretrained):
    """By how much the new shifts move the energy of an ethanol molecule, in eV."""
    old = weights(pretrained / "best.ckpt")[f"{SCALE_SHIFT}.shifts"].flatten().numpy()
    n_atoms = np.array([2, 6, 1])  # C, H and O
    return n_atoms @ (np.array(list(new_shifts(mode).values())) - old)


def test_shifts_of_the_package_are_set_and_kept(pretrained, tuned):
    model = weights(tuned("finetune") / "last.ckpt")
    expected = list(new_shifts("finetune").values())
    assert model[f"{SCALE_SHIFT}.shifts"].flatten().tolist() == expected
    scales = weights(pretrained / "best.ckpt")[f"{SCALE_SHIFT}.scales"].flatten()
    assert (model[f"{SCALE_SHIFT}.scales"] == scales).all()


def test_shifts_of_the_checkpoint_are_trained(tuned):
    """Adam moves them by about its rate in each of the 20 steps, together: one composition."""
    trained = weights(tuned("finetune_checkpoint") / "last.ckpt")[f"{SCALE_SHIFT}.shifts"]
    moved = trained.flatten().numpy() - np.array(list(new_shifts("finetune_checkpoint").values()))
    rate = settings("finetune_checkpoint")["training_module"]["optimizer"]["lr"]
    assert (abs(moved) > 0).all()
    assert (abs(moved) <= 20 * rate * 1.001).all()
    np.testing.assert_allclose(moved, moved[0], rtol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_weights_of_zero_train_exactly_as_nequip_does(mode, tuned, tmp_path):
    made = settings(mode)
    assert made["training_module"]["loss"]["coeffs"] == {"total_energy": 1.0}
    made["training_module"]["loss"] = {"_target_": "nequip.train.EnergyOnlyLoss"}
    (tmp_path / "stock.yaml").write_text(yaml.safe_dump(made))
    stock = tuned(mode, "run=[train]", config=tmp_path / "stock.yaml")
    zero = [f"+training_module.loss.{name}_weight=0" for name in ("pitc", "pisc", "hessian")]
    labels = f"+training_module.loss.hessian_file={DATA / 'ethanol_gfn2_hessian.npz'}"
    off = tuned(mode, "run=[train]", labels, *zero)
    for part in ("model", "ema"):
        states = [weights(folder / "last.ckpt", part) for folder in (stock, off, tuned(mode))]
        assert same(*states[:2]), part
        assert not same(states[0], states[2]), part
    assert checkpoint(stock / "last.ckpt")["global_step"] == 20
