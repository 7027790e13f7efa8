"""Checkpoints in the folder of a run: it ends with its own model, or goes on with the same."""

import shutil

import pytest

from .conftest import assert_same_weights, train, write_files
from .test_matching import refused
from .test_trainer import log

OFF = {"piwsl_pitc_weight": 0}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("data"), "ethanol_gfn2", 4, 2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, files):
    """The checkpoint of epoch 3 of a run."""
    folder = tmp_path_factory.mktemp("finished")
    train(folder, files, loss="weighted", max_num_epochs=4, save_all_checkpoints=True)
    return folder / "checkpoints" / "run_run-1_epoch-3.pt"


@pytest.fixture
def earlier(tmp_path, finished):
    """A folder with the checkpoint of epoch 3 of another run of the same name, and this one."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    copied = folder / "checkpoints" / finished.name
    shutil.copy(finished, copied)
    return folder, copied


def test_a_run_ends_with_its_own_model(earlier, files, capfd, tmp_path):
    folder, checkpoint = earlier
    options = {"max_num_epochs": 2, "lr": 1e-5, **OFF}
    message = refused(capfd, folder, files, **options)
    assert message.startswith(f"--name=run --seed=1: {checkpoint} is of a run before this one")
    stage_two = checkpoint.with_name("run_run-1_epoch-3_swa.pt")
    checkpoint.rename(stage_two)
    here = train(folder, files, **options)  # which has no stage two
    assert_same_weights(here, train(tmp_path / "elsewhere", files, **options))
    stages = {"swa": True, "start_swa": 1, "max_num_epochs": 2, **OFF}
    assert str(stage_two) in refused(capfd, folder, files, **stages)


def test_the_checkpoint_of_epoch_0_is_written_anew(earlier, files, tmp_path):
    folder, checkpoint = earlier
    checkpoint.rename(checkpoint.with_name("run_run-1_epoch-0.pt"))
    options = {"max_num_epochs": 1, "lr": 1e-5, **OFF}
    assert_same_weights(
        train(folder, files, **options), train(tmp_path / "elsewhere", files, **options)
    )


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("r_max", 3.5, "--r_max 4.0, not 3.5"),
        ("num_channels", 8, "of shape (12,), not (24,)"),
    ],
)
def test_a_restart_goes_on_with_the_same_model(option, value, words, earlier, files, capfd):
    folder, checkpoint = earlier
    again = {"max_num_epochs": 5, "restart_latest": True, **OFF}
    message = refused(capfd, folder, files, **again, **{option: value})
    assert message.startswith(f"--restart_latest: {checkpoint} is of another model (")
    assert words in message


def test_a_restart_with_the_options_of_the_run(earlier, files):
    folder, _ = earlier
    train(folder, files, max_num_epochs=5, restart_latest=True, **OFF)
    text = log(folder)
    assert "Epoch 4: head" in text and "Epoch 2: head" not in text


def test_a_restart_from_half_a_checkpoint(earlier, files, capfd):
    folder, checkpoint = earlier
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    message = refused(capfd, folder, files, max_num_epochs=5, restart_latest=True, **OFF)
    assert message.startswith(f"--restart_latest: {checkpoint} cannot be read")
