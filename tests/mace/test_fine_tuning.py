"""Fine-tuning a pretrained model as people do it: each configuration through the real command.

The pretrained model is made once, from GFN1-xTB labels, and stands for a foundation model;
fine-tuning goes to GFN2-xTB energies alone. What belongs to the PIWSL terms is in
``test_trainer.py``; here is that they leave each kind of fine-tuning what it is.
"""

import functools
import json
import re
import shutil
import textwrap
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
import yaml
from mace.calculators import MACECalculator

from piwsl_plugins.options.settings import Consistency
from piwsl_plugins.terms.displacements import draw, epoch_keys, geometry_keys

from .conftest import assert_same_weights, frames, run_command, run_here

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "mace"
#: configuration, and the head that carries PIWSL terms
MODES = {
    "finetune": "Default",
    "finetune_lora": "Default",
    "finetune_freeze": "Default",
    "finetune_replay": "gfn2",
    "finetune_pseudolabels": "gfn2",
    "finetune_same_theory": "Default",
}
SHORT = {"max_num_epochs": 2, "eval_interval": 1, "plot": False}
#: a pretrained model whose linear maps are larger than the LoRA rank below
SMALL = {"num_channels": 4, "max_ell": 2, "r_max": 3.5, "num_radial_basis": 4, "batch_size": 10}
LORA_RANK = 2
#: of each file in ``short_data``
N_FRAMES = 16

pytestmark = pytest.mark.slow


def arguments(config, folder, **changes):
    given = {"work_dir": folder, "model_dir": folder, **SHORT, **changes}
    return [f"--config={config}", *(f"--{name}={value}" for name, value in given.items())]


def load(folder, name):
    return torch.load(folder / f"{name}.model", weights_only=False)


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """The path of a tiny model with the elements H, C, N and O."""
    folder = tmp_path_factory.mktemp("pretrained")
    config = CONFIGS / "finetune_pretrain.yaml"
    changes = {"max_num_epochs": 4, "eval_interval": 4, "lr": 0.02}
    run_command(arguments(config, folder, **SMALL | changes), ROOT)
    return folder / "pretrained.model"


def options(mode, pretrained):
    changes = {"foundation_model": pretrained}
    return changes | ({"lora_rank": LORA_RANK} if mode == "finetune_lora" else {})


@pytest.fixture(scope="session")
def tuned(pretrained, short_data, tmp_path_factory):
    """``tuned(mode)`` runs a configuration through ``mace_run_train``, once."""

    @functools.cache
    def tune(mode):
        folder = tmp_path_factory.mktemp(mode)
        made = arguments(CONFIGS / f"{mode}.yaml", folder, **options(mode, pretrained))
        run_command(made, short_data)
        return folder

    return tune


@pytest.fixture
def train(pretrained, short_data, tmp_path, monkeypatch):
    """The same in this process; ``without_piwsl`` takes PIWSL out of the configuration."""
    monkeypatch.chdir(short_data)

    def in_process(mode, name, without_piwsl=False, **changes):
        text = (CONFIGS / f"{mode}.yaml").read_text()
        settings = {k: v for k, v in yaml.safe_load(text).items() if not k.startswith("piwsl_")}
        if without_piwsl:
            settings = {"forces_weight": 0.0} | settings | {"loss": "weighted"}
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
        config = tmp_path / "config.yaml" if without_piwsl else CONFIGS / f"{mode}.yaml"
        folder = tmp_path / name
        made = arguments(config, folder, name=name, **options(mode, pretrained) | changes)
        run_here(made)
        return load(folder, name)

    return in_process


def entries(folder, mode):
    (path,) = (folder / "results").glob("*_train.txt")
    return [entry for entry in map(json.loads, path.open()) if entry["mode"] == mode]


def log(folder):
    (path,) = (path for path in (folder / "logs").glob("*.log") if "debug" not in path.name)
    return path.read_text()


def atomic_energies(model):
    """E0 by atomic number, eV, of a model with one head."""
    return dict(
        zip(
            model.atomic_numbers.tolist(),
            model.atomic_energies_fn.atomic_energies.flatten().tolist(),
        )
    )


def predictions(path, structures, head=None):
    """Energies ``(n,)`` in eV and forces, a list of ``(n_atoms, 3)`` in eV/Å."""
    calculator = MACECalculator(str(path), device="cpu", default_dtype="float64", head=head)
    energies, forces = [], []
    for atoms in structures:
        calculator.calculate(atoms)
        energies.append(calculator.results["energy"])
        forces.append(calculator.results["forces"])
    return np.array(energies), forces


def labels(structures):
    return np.array([atoms.info["REF_energy"] for atoms in structures])


def elements(structures, numbers):
    """Number of atoms of each element, ``(n_structures, n_elements)``."""
    return np.array([[np.sum(atoms.numbers == z) for z in numbers] for atoms in structures])


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.mark.parametrize("mode", MODES)
def test_terms_are_active_from_the_first_epoch(mode, tuned):
    found = entries(tuned(mode), "piwsl")
    assert [entry["epoch"] for entry in found] == [0, 1]
    for entry in found:
        weight, residual = entry["pitc_weight"], entry["pitc_rms"]
        assert weight > 0
        assert 1e-4 < residual < 0.1, "eV per atom, the curvature of a molecule"
        # a mean over steps of unequally many structures with replay
        assert entry["pitc"] == pytest.approx(weight * residual**2, rel=0.5)


@pytest.mark.parametrize("mode", MODES)
def test_weights_of_zero_train_exactly_as_without_piwsl(mode, tuned, train):
    plain = train(mode, "plain", without_piwsl=True)
    off = train(mode, "off", piwsl_pitc_weight=0, piwsl_pisc_weight=0)
    assert_same_weights(plain, off)
    name = yaml.safe_load((CONFIGS / f"{mode}.yaml").read_text())["name"]
    with pytest.raises(AssertionError):
        assert_same_weights(plain, load(tuned(mode), name))


@pytest.fixture(scope="session")
def data():
    return frames("ethanol_gfn2_valid", N_FRAMES), frames("ethanol_gfn2_test", N_FRAMES)


def changed(first, second):
    """Names of parameters that differ in any bit."""
    second = dict(second.named_parameters())
    return {
        name for name, value in first.named_parameters() if not torch.equal(value, second[name])
    }


def test_naive_fine_tuning_trains_every_weight(tuned, train):
    start = train("finetune", "start", lr=0)
    # MACE 0.3.16 makes this one a parameter (finetuning_utils.py), but gives it to no optimiser
    expected = dict(start.named_parameters()).keys() - {"radial_embedding.bessel_fn.bessel_weights"}
    assert changed(start, load(tuned("finetune"), "naive")) == expected


def test_freezing(tuned, train):
    """``--freeze=5``: embedding and interactions stay to the last bit, all else moves."""
    start = train("finetune_freeze", "start", lr=0)
    trained = ("products", "readouts")
    expected = {name for name, _ in start.named_parameters() if name.split(".")[0] in trained}
    assert len(expected) > 4
    assert changed(start, load(tuned("finetune_freeze"), "freeze")) == expected


def test_lora(tuned, train):
    """What is saved differs from the pretrained weights by maps of the chosen rank, no more."""
    from e3nn.nn._fc import _Layer
    from e3nn.o3 import Linear

    start = train("finetune_lora", "start", lr=0)
    model = load(tuned("finetune_lora"), "lora")
    assert not any("lora" in name for name, _ in model.named_parameters())
    adapted, full = set(), 0
    for name, module in start.named_modules():
        if isinstance(module, Linear | _Layer):
            adapted.add(f"{name}.weight")
            change = model.get_submodule(name).weight - module.weight
            shapes = (
                [instruction.path_shape for instruction in module.instructions]
                if isinstance(module, Linear)
                else [module.weight.shape]
            )
            blocks = change.detach().flatten().split([a * b for a, b in shapes])
            for block, shape in zip(blocks, shapes):
                singular = torch.linalg.svdvals(block.view(*shape))
                assert singular[0] > 1e-9, name
                assert (singular[LORA_RANK:] < 1e-12 + 1e-9 * singular[0]).all(), name
                full += len(singular) > LORA_RANK
    assert full >= 5, "maps of higher rank than LoRA's"
    assert changed(start, model) == adapted
    assert any("symmetric_contractions" in name for name, _ in start.named_parameters())


def test_replay(pretrained, train, tmp_path, tuned):
    """PIWSL survives the switch to the universal loss; its residuals are the new head's alone.

    With a learning rate of 0 the logged residual of an epoch is that of one model; it is worked
    out again here, structure by structure, on the structures of the new head.
    """
    text = log(tuned("finetune_replay"))
    assert "base_loss: universal (MACE replaced 'weighted'" in text
    assert "PIWSLLoss(base_loss=UniversalLoss" in text
    train("finetune_replay", "still", lr=0)
    found = entries(tmp_path / "still", "piwsl")
    structures = frames("ethanol_gfn2_valid", N_FRAMES)
    replayed = frames("ethanol_gfn1_hot", N_FRAMES)
    model = tmp_path / "still" / "still.model"
    assert load(tmp_path / "still", "still").heads == ["pt_head", "gfn2"]
    options = Consistency()
    for entry in found:
        residuals = {}
        for head, group in {"gfn2": structures, "pt_head": replayed}.items():
            positions = torch.from_numpy(np.concatenate([atoms.positions for atoms in group]))
            sizes = [len(atoms) for atoms in group]
            keys = epoch_keys(geometry_keys(positions, sizes), seed=1, epoch=entry["epoch"])
            displacement = [d.numpy() for d in draw(options, "displaced", keys, sizes).split(sizes)]
            displaced = [atoms.copy() for atoms in group]
            for atoms, field in zip(displaced, displacement):
                atoms.positions += field
            energies, forces = predictions(model, group, head)
            work = np.array([np.sum(field * f) for field, f in zip(displacement, forces)])
            residual = predictions(model, displaced, head)[0] - energies + work
            residuals[head] = rms(residual / sizes)
        assert entry["pitc_rms"] == pytest.approx(residuals["gfn2"], rel=1e-6)
        assert abs(residuals["pt_head"] / residuals["gfn2"] - 1) > 0.01


def test_estimated_e0s(pretrained, tuned, data):
    """E0s: the least change of the pretrained ones that fits the new energies best.

    Forces before the first step are then the pretrained model's, and energies differ by the
    constants alone.
    """
    training, validation = data
    old = atomic_energies(torch.load(pretrained, weights_only=False))
    new = atomic_energies(load(tuned("finetune"), "naive"))
    assert set(old) == {1, 6, 7, 8}
    numbers = list(new)
    assert numbers == [1, 6, 8]
    error = labels(training) - predictions(pretrained, training)[0]
    change = np.linalg.lstsq(elements(training, numbers), error, rcond=None)[0]
    expected = np.array([old[z] for z in numbers]) + change
    np.testing.assert_allclose(list(new.values()), expected, rtol=0, atol=1e-8)

    initial = entries(tuned("finetune"), "eval")[0]
    assert initial["epoch"] is None
    energies, forces = predictions(pretrained, validation)
    error = labels(validation) - energies - elements(validation, numbers) @ change
    assert initial["rmse_e_per_atom"] == pytest.approx(rms(error / 9), rel=1e-6)
    force_error = [f - atoms.arrays["REF_forces"] for f, atoms in zip(forces, validation)]
    assert initial["rmse_f"] == pytest.approx(rms(force_error), rel=1e-6)


def test_foundation_e0s(pretrained, tuned):
    """At the same level of theory fine-tuning starts from exactly the pretrained model."""
    old = atomic_energies(torch.load(pretrained, weights_only=False))
    new = atomic_energies(load(tuned("finetune_same_theory"), "same_theory"))
    assert new == {z: old[z] for z in (1, 6, 8)}
    validation = frames("ethanol_gfn1_test", N_FRAMES)
    error = labels(validation) - predictions(pretrained, validation)[0]
    initial = entries(tuned("finetune_same_theory"), "eval")[0]
    assert initial["rmse_e_per_atom"] == pytest.approx(rms(error / 9), rel=1e-6)


def test_trap_e0s_are_copied_where_the_elements_are_the_same(pretrained, train, tmp_path):
    """MACE 0.3.16 (``load_foundations_elements``) overwrites E0s that it has just estimated.

    If this fails with a newer MACE, the warning in docs/fine_tuning.md can go.
    """
    model = train("finetune", "trap", foundation_model_elements=True, max_num_epochs=1)
    assert "E0 ESTIMATION FROM FOUNDATION MODEL" in log(tmp_path / "trap")
    assert atomic_energies(model) == atomic_energies(torch.load(pretrained, weights_only=False))
    initial = entries(tmp_path / "trap", "eval")[0]
    assert initial["rmse_e_per_atom"] > 1.0, "eV per atom"
    text = log(tmp_path / "trap")
    assert "WARNING: PIWSL: --E0s=estimated: before the first step the model's energies" in text
    assert "MACE keeps the E0s of a pretrained model that has exactly the elements" in text


def test_documented_way_out_of_the_trap(pretrained, train, tmp_path, tuned, monkeypatch):
    """The program in docs/fine_tuning.md moves the constant into the pretrained file."""
    (program,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "fine_tuning.md").read_text(), re.DOTALL
    )
    ase.io.write(tmp_path / "train.xyz", frames("ethanol_gfn2_valid", N_FRAMES))
    shutil.copy(pretrained, tmp_path / "pretrained.model")
    with monkeypatch.context() as here:
        here.chdir(tmp_path)
        exec(textwrap.dedent(program), {})
    shifted = tmp_path / "shifted.model"
    same = {"foundation_model_elements": True, "E0s": "foundation", "max_num_epochs": 1}
    train("finetune", "free", foundation_model=shifted, **same)
    initial = entries(tmp_path / "free", "eval")[0]
    expected = entries(tuned("finetune"), "eval")[0]
    for name in ("rmse_e_per_atom", "rmse_f"):
        assert initial[name] == pytest.approx(expected[name], rel=1e-6)


def test_trap_isolated_atoms_in_the_file_win(tuned, train, tmp_path):
    """... over ``E0s: estimated``: they are the new method's, the fit was to the old one's."""
    path = tmp_path / "train.xyz"
    atoms = ase.io.read(ROOT / "data" / "ethanol_gfn2_train.xyz", index=":43")
    ase.io.write(path, atoms)
    model = train("finetune", "isolated", train_file=path, max_num_epochs=1)
    expected = {z: atoms[i].info["REF_energy"] for i, z in ((1, 1), (0, 6), (2, 8))}
    assert atomic_energies(model) == pytest.approx(expected, abs=1e-9)
