"""Hessian labels in fine-tuning: beside replay, also of pseudolabels, LoRA and freezing; recipes.

A tiny pretrained model, in this process but for the recipes.
"""

from argparse import Namespace

import ase.io
import numpy as np
import pytest
import torch
import yaml
from mace.calculators import MACECalculator

from piwsl_plugins.labels.hessian_labels import HessianLabel, read_labels, write_labels
from piwsl_plugins.mace.pseudolabels import check_pseudolabels

from .conftest import DATA, frames, isolated_atoms, run_command, train, write_files
from .test_trainer import entries, log

CONFIGS = DATA.parent / "configs" / "mace"
#: name, and number of frames with Hessians
RECIPES = {"finetune_hessian": 10, "finetune_hessian_replay": 10, "soften_one_frame": 1}
N_TRAIN = 8
BUNDLED = read_labels(DATA / "ethanol_gfn2_hessian.npz")[: 2 * N_TRAIN]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A model of GFN1-xTB."""
    folder = tmp_path_factory.mktemp("pretrained")
    files = write_files(folder, "ethanol_gfn1", 12, 4)
    train(folder, files, loss="weighted", max_num_epochs=2, lr=0.02, save_cpu=True)
    return folder / "run.model"


@pytest.fixture
def tune(pretrained, tmp_path):
    """``tune(name, …)`` fine-tunes on GFN2-xTB frames, all of which have Hessian labels."""
    ase.io.write(tmp_path / "train.xyz", frames("ethanol_gfn2_train", N_TRAIN))
    ase.io.write(tmp_path / "valid.xyz", frames("ethanol_gfn2_valid", 4))
    files = {name: tmp_path / f"{name}.xyz" for name in ("train", "valid")}

    def run(name, labels=BUNDLED, **options):
        write_labels(tmp_path / "labels.npz", labels, "GFN2-xTB")
        given = {"foundation_model": pretrained, "E0s": "estimated"}
        options = given | {"multiheads_finetuning": False} | options
        return train(
            tmp_path / name,
            {"train_file": files["train"], "valid_file": files["valid"]},
            piwsl_hessian_file=tmp_path / "labels.npz",
            **options,
        )

    return run


@pytest.fixture
def replay(tmp_path):
    """Other structures, with GFN1-xTB energies and forces; they have Hessian labels, too."""
    files = write_files(tmp_path, "ethanol_gfn1", N_TRAIN, 4, suffix="_replay")
    replayed = frames("ethanol_gfn1_train", 2 * N_TRAIN)[N_TRAIN:]
    ase.io.write(files["train_file"], isolated_atoms("ethanol_gfn1_train") + replayed)
    return {
        "multiheads_finetuning": True,
        "pt_train_file": files["train_file"],
        "pt_valid_file": files["valid_file"],
        "atomic_numbers": "[1, 6, 8]",
        "force_mh_ft_lr": True,
        "E0s": "foundation",
    }


def probe(label, number):
    """One displacement with the change of the forces along it, as phonopy sets have it."""
    field = np.random.default_rng(number).normal(scale=0.01, size=(1, *label.positions.shape))
    change = -(field.reshape(1, -1) @ label.hessian).reshape(field.shape)
    return HessianLabel(label.numbers, label.positions, displacements=field, force_changes=change)


def residual(model, head, labels):
    """RMS over all components of [F(r) − F(r+δ) + ΔF] per RMS component of δ, in eV/Å²."""
    calculator = MACECalculator(str(model), device="cpu", default_dtype="float64", head=head)
    errors = []
    for label in labels:
        atoms = ase.Atoms(label.numbers, label.positions, calculator=calculator)
        at_rest = atoms.get_forces()
        atoms.positions += label.displacements[0]
        size = np.sqrt(np.mean(np.square(label.displacements[0])))
        errors.append((at_rest - atoms.get_forces() + label.force_changes[0]) / size)
    return np.sqrt(np.mean(np.square(errors)))


@pytest.mark.parametrize("heads", [None, "pt_head,Default"])
def test_beside_replay_terms_act_on_the_new_head(heads, tune, replay, tmp_path):
    """The structures of both heads have labels; only the new head's carry the term.

    With a learning rate of 0 the logged residual is that of one model; it is worked out again here
    for the structures of each head.
    """
    labels = [probe(label, number) for number, label in enumerate(BUNDLED)]
    options = {"lr": 0.0, "max_num_epochs": 1, "batch_size": 2 * N_TRAIN, "piwsl_heads": heads}
    tune("still", labels, **options, **replay)
    text = log(tmp_path / "still")
    assert "base_loss: universal (MACE replaced 'weighted'" in text
    carrying = N_TRAIN if heads is None else 2 * N_TRAIN
    assert f"Hessian labels for {carrying} of {carrying} training structures" in text
    (entry,) = entries(tmp_path / "still", "piwsl")
    model = tmp_path / "still" / "run.model"
    new = residual(model, "Default", labels[:N_TRAIN])
    old = residual(model, "pt_head", labels[N_TRAIN:])
    assert abs(old / new - 1) > 1e-3
    expected = new if heads is None else np.sqrt(0.5 * (new**2 + old**2))
    assert entry["hessian_rms"] == pytest.approx(expected, rel=1e-5)


def test_beside_replay_hessians_are_learned(tune, replay, tmp_path):
    options = {"max_num_epochs": 6, "lr": 0.02, "batch_size": 4}
    tune("run", **options, **replay)
    found = entries(tmp_path / "run", "piwsl")
    assert found[-1]["hessian_rms"] < 0.9 * found[0]["hessian_rms"]
    assert not any("pitc" in entry for entry in found), "off by default beside Hessians"


def relabel(path, virials=None, **columns):
    """Change the labels of a file: other ones, or none."""
    structures = [atoms for atoms in ase.io.read(path, ":") if len(atoms) > 1]
    for atoms in structures:
        atoms.info["REF_energy"] += 100
        atoms.arrays["REF_forces"] += 7
        if virials is not None:
            atoms.info["REF_virials"] = virials
    ase.io.write(path, structures, **columns)


@pytest.mark.parametrize("virials", [None, np.ones(9)], ids=["", "virials in the file"])
def test_pseudolabels_are_the_pretrained_models(virials, tune, replay, tmp_path):
    """Those of the file, here nonsense, are replaced; the term acts on the new head alone."""
    for name in ("pt_train_file", "pt_valid_file"):
        relabel(replay[name], virials)
    labels = [probe(label, number) for number, label in enumerate(BUNDLED)]
    options = {"lr": 0.0, "max_num_epochs": 1, "batch_size": 2 * N_TRAIN, **replay}
    tune("still", labels, pseudolabel_replay=True, **options)
    first, *_ = (e for e in entries(tmp_path / "still", "eval") if e["head"] == "pt_head")
    assert first["rmse_e_per_atom"] < 1e-9
    assert first["rmse_f"] < 1e-9
    (entry,) = entries(tmp_path / "still", "piwsl")
    new = residual(tmp_path / "still" / "run.model", "Default", labels[:N_TRAIN])
    assert entry["hessian_rms"] == pytest.approx(new, rel=1e-5)


def test_replayed_labels_of_another_method_are_named_as_such(tune, replay, tmp_path):
    """MACE 0.3.16 gives this head the pretrained model's E0s: no E0s would help."""
    tune("run", max_num_epochs=1, lr=0.0, **replay)
    lines = [line for line in log(tmp_path / "run").splitlines() if "of head 'pt_head'" in line]
    assert lines and all("PIWSL: --pt_train_file: before the first step" in one for one in lines)
    assert all("--pseudolabel_replay=True" in one and "estimated" not in one for one in lines)


@pytest.mark.parametrize(
    ("labelled", "expected"),
    [
        (False, "8 of 12 replayed structures have no REF_energy and REF_forces"),
        (True, "could not label 12 of 12 replayed structures"),
        ("virials", "could not label 12 of 12 replayed structures"),
    ],
    ids=["no labels", "model in float32", "virials in the file"],
)
def test_pseudolabels_that_mace_does_not_use(
    labelled, expected, tune, replay, pretrained, tmp_path, capfd
):
    """MACE 0.3.16 logs success, and replays nothing, or the labels of the file."""
    options = {"pseudolabel_replay": True, **replay}
    if not labelled:
        bare = {"columns": ["symbols", "positions"], "write_info": False}
        relabel(replay["pt_train_file"], **bare)
    else:
        if labelled == "virials":
            relabel(replay["pt_train_file"], virials=np.zeros(9))
            relabel(replay["pt_valid_file"], virials=np.zeros(9))
        single = tmp_path / "single.model"
        torch.save(torch.load(pretrained, weights_only=False).float(), single)
        options["foundation_model"] = single
    with pytest.raises(SystemExit) as ended:
        tune("run", **options)
    assert ended.value.code == 2
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    assert message.startswith("--pseudolabel_replay=True: ")
    assert expected in message
    assert message.count("\n") == 1
    assert not (tmp_path / "run" / "run.model").exists()


def test_pseudolabels_of_a_file_that_mace_reads_later(tmp_path, capsys):
    """MACE 0.3.16 labels what it holds in memory alone."""
    path = tmp_path / "replay.h5"
    path.touch()
    head = Namespace(head_name="pt_head", train_file=[str(path)], collections=None)
    args = Namespace(pseudolabel_replay=True, multiheads_finetuning=True)
    with pytest.raises(SystemExit):
        check_pseudolabels(args, [head], None)
    assert f"here of {path}; give" in capsys.readouterr().err


def test_beside_freezing(tune):
    """Hessians move products and readouts; embedding and interactions stay to the last bit."""
    options = {"freeze": 5, "lr": 0.02, "max_num_epochs": 1}
    with_hessians = dict(tune("with", **options).named_parameters())
    for name, change in (("without", {"piwsl_hessian_weight": 0.0}), ("before", {"lr": 0.0})):
        other = tune(name, **options | change).named_parameters()
        changed = {name for name, v in other if not torch.equal(v, with_hessians[name])}
        assert {name.split(".")[0] for name in changed} == {"products", "readouts"}


def test_beside_lora(tune, tmp_path):
    """Hessians are learned by the corrections alone; the saved model has them added in."""
    lora = {"lora": True, "lora_rank": 2}
    before = tune("before", lr=0.0, max_num_epochs=1, **lora)
    after = tune("after", lr=0.05, max_num_epochs=8, **lora)
    start, *_, end = [entry["hessian_rms"] for entry in entries(tmp_path / "after", "piwsl")]
    (still,) = entries(tmp_path / "before", "piwsl")
    # in the first epoch the corrections begin at zero
    assert start == pytest.approx(still["hessian_rms"], rel=0.2)
    assert end < 0.9 * start
    trained = dict(after.named_parameters())
    assert not any("lora" in name for name in trained)
    changed = {name for name, v in before.named_parameters() if not torch.equal(v, trained[name])}
    assert any("linear" in name for name in changed)
    assert not any("symmetric_contractions" in name for name in changed)
    assert len(changed) < len(trained)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes(recipe, pretrained, short_data, tmp_path):
    """Each configuration through the real command, shortened."""
    config = CONFIGS / f"{recipe}.yaml"
    given = yaml.safe_load(config.read_text())
    number = RECIPES[recipe]
    first = 5 if number == 1 else 3
    everything = ase.io.read(DATA / "ethanol_gfn2_train.xyz", index=":")
    ase.io.write(tmp_path / "frames.xyz", everything[first : first + number])
    shorter = {
        "work_dir": tmp_path,
        "foundation_model": pretrained,
        "max_num_epochs": 2,
        "eval_interval": 1,
        "plot": False,
    }
    if "heads" in given:
        shorter["heads"] = given["heads"].replace("finetune/ten.xyz", str(tmp_path / "frames.xyz"))
        shorter["atomic_numbers"] = "[1, 6, 8]"
    for name in ("train_file", "valid_file"):
        if given.get(name, "").startswith("finetune/"):
            shorter[name] = tmp_path / "frames.xyz"
    arguments = [f"--config={config}", *(f"--{name}={value}" for name, value in shorter.items())]
    done = run_command(arguments, short_data)
    assert "Error-table" in done.stdout
    assert f"Hessian labels for {number} of {number} training structures" in done.stdout
    found = entries(tmp_path, "piwsl", f"{given['name']}_run-1")
    assert [entry["epoch"] for entry in found] == [0, 1]
    assert all(entry["hessian"] > 0 for entry in found)
