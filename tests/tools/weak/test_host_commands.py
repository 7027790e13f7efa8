"""The command lines of the hosts, and trainings that fail, without any host."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from piwsl_plugins.errors import InputError, RunError
from piwsl_plugins.tools.weak.correction_training import CorrectionTraining
from piwsl_plugins.tools.weak.hosts import HostCommand, model_of

CHEAP = ("--cheap_labels", "cheap.xyz")
TRAINING = CorrectionTraining(Path("a b/train.xyz"), Path("a b/valid.xyz"), 7, Path("a b/training"))


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs of the hosts' names, in a folder of PATH."""
    for name in ("mace_run_train", "nequip-train"):
        path = tmp_path / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_mace_gets_files_folders_and_no_offsets(programs):
    command = HostCommand.parse("mace_run_train --name=mine --lr 0.01")
    words = command.arguments(TRAINING, [1, 8])
    assert words[:4] == [str(programs / "mace_run_train"), "--name=mine", "--lr", "0.01"]
    assert words.index("--name=correction") > words.index("--name=mine"), "the last is in force"
    assert f"--train_file={programs}/a b/train.xyz" in words
    assert f"--valid_file={programs}/a b/valid.xyz" in words
    assert f"--model_dir={programs}/a b/training" in words
    assert {"--seed=7", "--E0s={1: 0.0, 8: 0.0}", "--energy_key=REF_energy"} <= set(words)


def test_nequip_gets_overrides(programs):
    words = HostCommand.parse("nequip-train -cn mine.yaml").arguments(TRAINING, [1, 8])
    assert f"++data.train_file_path='{programs}/a b/train.xyz'" in words
    assert f"hydra.run.dir='{programs}/a b/training'" in words
    assert {"++data.seed=7", "++training_module.model.seed=7", "run=[train]"} <= set(words)


def test_nequip_gets_a_config_file_as_its_own_options(programs, tmp_path):
    """As ``nequip-train`` takes no path where the loss is one of NequIP's."""
    (tmp_path / "mine.yaml").touch()
    words = HostCommand.parse(f"nequip-train {tmp_path}/mine.yaml epochs=3").arguments(
        TRAINING, [1]
    )
    assert words[1:6] == ["-cp", str(tmp_path), "-cn", "mine.yaml", "epochs=3"]


SPLIT = "data: {split_dataset: {file_path: all.xyz, train: 0.8, val: 0.2}}"
ASE_DATA = "data: {_target_: nequip.data.datamodule.ASEDataModule, train_file_path: a.xyz}"


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        (SPLIT, "", 1),
        (ASE_DATA, "", 0),
        (ASE_DATA, " +data.split_dataset.file_path=b.xyz", 1),
        (SPLIT, " ~data.split_dataset", 1),  # Hydra refuses a second one
        ("defaults: [base]", "", 0),
    ],
)
def test_nequip_gets_no_frames_of_a_split(text, overrides, expected, programs, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    for named in ("mine.yaml", f"-cp {tmp_path} -cn mine"):
        command = HostCommand.parse(f"nequip-train {named}{overrides}")
        words = command.arguments(TRAINING, [1])
        assert words.count("~data.split_dataset") == expected


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ("_target_: nequip.data.datamodule.NequIPDataModule", "NequIPDataModule"),
        ("_target_: nequip.data.datamodule.rMD17DataModule", "rMD17DataModule"),
        ("_target_: mine.Data, train_dataset: {}, val_dataset: {}", "train_dataset, val_dataset"),
    ],
)
def test_data_of_nequip_that_is_no_file_is_refused(section, named, programs, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"data: {{{section}}}")
    with pytest.raises(InputError, match=f"{named}, and the frames .*ASEDataModule"):
        HostCommand.parse("nequip-train mine.yaml")


def callbacks(*folders):
    """A config whose ModelCheckpoints, after another callback, write to these folders."""
    target = "lightning.pytorch.callbacks"
    lines = [f"  - _target_: {target}.EarlyStopping"]
    for folder in folders:
        lines += [f"  - _target_: {target}.ModelCheckpoint", f"    dirpath: {folder}"]
        lines += ["    filename: mine-{epoch}", "    save_top_k: 3"]
    return "trainer:\n  callbacks:\n" + "\n".join(lines) + "\n"


#: leaves a checkpoint where the ModelCheckpoint behind an EarlyStopping is told to
FAKE_NEQUIP = """#!{python}
import pathlib, sys
given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
callback = "++trainer.callbacks.1."
folder = pathlib.Path(given.get(callback + "dirpath", "elsewhere").strip("'").replace(chr(92), ""))
folder.mkdir(exist_ok=True)
for n in range(int(given.get(callback + "save_top_k", 3))):
    name = given.get(callback + "filename", "mine")
    (folder / (name + (f"-v{{n}}" if n else "") + ".ckpt")).touch()
"""
#: leaves a model where the last of MACE's options says
FAKE_MACE = """#!{python}
import pathlib, sys
given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
folder = pathlib.Path(given["--checkpoints_dir"])
folder.mkdir()
(folder / "correction_run-0.model").touch()
pathlib.Path(given["--model_dir"], given["--name"] + ".model").touch()
"""


def trained(text, name, program, folder):
    """The model of a training by a program of a host's name."""
    Path(name).write_text(program.format(python=sys.executable))
    folder.mkdir()
    training = dataclasses.replace(TRAINING, folder=folder)
    subprocess.run(HostCommand.parse(text).arguments(training, [1]), check=True)
    return model_of(folder).relative_to(folder)


@pytest.mark.parametrize("override", ["", " trainer.callbacks.1.dirpath=there"])
def test_nequip_leaves_its_checkpoint_where_it_is_looked_for(programs, override):
    Path("mine.yaml").write_text(callbacks("elsewhere"))
    text = f"nequip-train mine.yaml{override}"
    assert trained(text, "nequip-train", FAKE_NEQUIP, programs / "it's") == Path("best.ckpt")
    assert not Path("elsewhere").exists()


def test_mace_leaves_its_model_where_it_is_looked_for(programs):
    text = "mace_run_train --model_dir=there --checkpoints_dir=there --name=mine"
    model = trained(text, "mace_run_train", FAKE_MACE, programs / "training")
    assert model == Path("correction.model")
    assert not Path("there").exists()


@pytest.mark.parametrize(
    ("text", "override"),
    [
        (callbacks("elsewhere"), " trainer.callbacks=[]"),
        ("defaults: [base]\n" + callbacks("elsewhere"), ""),
        (callbacks("'${hydra:runtime.output_dir}'", "elsewhere"), ""),
        ("trainer: {callbacks: '${callbacks}'}", ""),
    ],
)
def test_callbacks_that_cannot_be_told_apart_are_left_alone(programs, text, override):
    Path("mine.yaml").write_text(text)
    words = HostCommand.parse(f"nequip-train mine.yaml{override}").arguments(TRAINING, [1])
    assert not [word for word in words if word.startswith("++trainer")]


def test_several_checkpoints_elsewhere_are_refused(programs):
    Path("mine.yaml").write_text(callbacks("here", "there"))
    with pytest.raises(InputError, match=r"2 ModelCheckpoints \(dirpath: here, there\).*best"):
        HostCommand.parse("nequip-train mine.yaml")
    HostCommand.parse("nequip-train mine.yaml trainer.callbacks.2.dirpath=${hydra:run.dir}")


def test_nequip_learns_the_stress_of_all_frames_or_none(programs):
    command = HostCommand.parse("nequip-train -cn mine.yaml")
    energies = "++data.key_mapping={REF_energy: total_energy, REF_forces: forces"
    assert energies + "}" in command.arguments(TRAINING, [1, 8])
    whole = dataclasses.replace(TRAINING, stress=True)
    assert energies + ", REF_stress: stress}" in command.arguments(whole, [1, 8])


def test_other_commands_say_where_files_go(programs):
    command = HostCommand.parse("mace_run_train {train} -v{valid} -s{seed} {folder}/{name} {x}")
    assert command.arguments(TRAINING, [1])[1:] == [
        f"{programs}/a b/train.xyz",
        f"-v{programs}/a b/valid.xyz",
        "-s7",
        f"{programs}/a b/training/correction",
        "{x}",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mace_run_train {train} {folder}", "where {seed} go"),
        ("mace_run_train --config no.yaml", "there is no file no.yaml"),
        ("mace_run_train --config='no", "No closing quotation"),
        ("nequip_train mine.yaml", "where {train} {seed} {folder} go"),
    ],
)
def test_commands_that_cannot_work_are_refused(programs, text, words):
    with pytest.raises(InputError, match="--train="):
        HostCommand.parse(text)
    with pytest.raises(InputError) as error:
        HostCommand.parse(text)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("mace_run_train", False),  # its default is 10
        ("mace_run_train --batch_size=9", True),
        ("mace_run_train --batch_size 12", False),
        ("mace_run_train --config mine.yaml", False),
        ("mace_run_train --config=mine.yaml --batch_size=3", True),
        ("mace_run_train --batch_size=12 --lbfgs", True),
        ("nequip-train batch_size=12", True),
    ],
)
def test_a_batch_of_mace_that_is_never_full_is_refused(programs, text, allowed):
    Path("mine.yaml").write_text("batch_size: 12\n")
    command = HostCommand.parse(text)
    if allowed:
        command.require_batches(9)
    else:
        with pytest.raises(InputError, match=r"--train: its batch_size=1[02] .* at most 9"):
            command.require_batches(9)


def test_the_command_is_known_by_the_content_of_its_files(programs):
    Path("mine.yaml").write_text("lr: 1\n")
    first = HostCommand.parse("mace_run_train --config=mine.yaml").identity
    Path("mine.yaml").write_text("lr: 2\n")
    assert HostCommand.parse("mace_run_train --config=mine.yaml").identity != first


@pytest.mark.parametrize(
    ("left", "model"),
    [
        (["correction.model", "correction_compiled.model"], "correction.model"),
        (["correction.model", "correction_stagetwo.model"], "correction_stagetwo.model"),
        (["best.ckpt", "last.ckpt"], "best.ckpt"),
        (["epoch3.ckpt", "last.ckpt"], "epoch3.ckpt"),
        (["x.nequip.zip"], "x.nequip.zip"),
    ],
)
def test_the_model_that_a_training_left(tmp_path, left, model):
    for name in left:
        (tmp_path / name).touch()
    assert model_of(tmp_path).name == model


def test_no_model_and_two_models_are_refused(tmp_path):
    with pytest.raises(
        RunError, match=r"left no model; looked for was one called .*best\.ckpt, or .*\.ckpt; let"
    ):
        model_of(tmp_path)
    for name in ("a.model", "b.model"):
        (tmp_path / name).touch()
    with pytest.raises(RunError, match=r"left a\.model, b\.model; looked for"):
        model_of(tmp_path)


def test_a_failing_training_shows_its_end_and_keeps_what_is_finished(refused):
    Path("train.py").write_text(
        "for step in range(40): print('step', step)\nraise SystemExit('no memory left')\n"
    )
    command = f"{sys.executable} train.py {{train}} {{seed}} {{folder}}"
    error = refused(*CHEAP, "--models", 2, "--train", command, exit_code=1)
    assert "no memory left" in error and "step 39" in error and "step 10\n" not in error
    assert "correction_0/training.log" in error
    assert Path("weak.stages/correction_1/train.xyz").exists()
    assert not Path("weak.stages/correction_0/model.json").exists()


def test_finished_trainings_are_not_repeated(refused):
    """The first training succeeds once; the second fails, also when the command is repeated."""
    Path("train.py").write_text(
        "import pathlib, sys\n"
        "seed, folder = sys.argv[2:]\n"
        "open('calls', 'a').write(seed)\n"
        "if seed == '1': raise SystemExit('failed')\n"
        "pathlib.Path(folder, 'correction.model').touch()\n"
    )
    command = f"{sys.executable} train.py {{train}} {{seed}} {{folder}}"
    for _ in range(2):
        refused(*CHEAP, "--models", 2, "--train", command, exit_code=1)
    assert Path("calls").read_text() == "011"
    Path("other.py").write_text(Path("train.py").read_text() + "\n")
    error = refused(*CHEAP, "--models", 2, "--train", command.replace("train.py", "other.py"))
    assert "was made with other settings" in error
