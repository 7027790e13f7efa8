"""The literal ``mace_run_train --loss=piwsl``, started in every way that people start it."""

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from .conftest import assert_same_weights, command_line, run_command, write_files

pytestmark = pytest.mark.slow

RUN_TRAIN = Path(sysconfig.get_path("purelib")) / "mace" / "cli" / "run_train.py"
LAUNCHES = {
    "console script": "mace_run_train",
    "python -m mace": ["-m", "mace.cli.run_train"],
    "python -I": ["-I", "-m", "mace.cli.run_train"],
    "path of the script": [str(RUN_TRAIN)],
    "torchrun": [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=1",
        str(RUN_TRAIN),
    ],
    "explicit route": ["-m", "piwsl_plugins.mace"],
}
STRONG = {"piwsl_pitc_weight": 30.0, "piwsl_pisc_weight": 10.0}


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("data"), "ethanol_gfn2", 4, 2)


@pytest.fixture(scope="module")
def arguments(small_files):
    def make(folder, **options):
        return command_line(folder, small_files, max_num_epochs=1, **options)

    return make


def model(folder):
    return torch.load(folder / "run.model", weights_only=False)


@pytest.fixture(scope="module")
def expected(arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("expected")
    run_command(arguments(folder, loss="piwsl", **STRONG), folder)
    return model(folder)


@pytest.mark.parametrize("launch", [name for name in LAUNCHES if name != "console script"])
def test_every_way_of_starting_trains_the_same_model(launch, arguments, expected, tmp_path):
    environment = {"PIWSL_PLUGINS_DISABLE": "1"} if launch == "explicit route" else {}
    given = arguments(tmp_path, loss="piwsl", **STRONG)
    run_command(given, tmp_path, program=LAUNCHES[launch], environment=environment)
    assert_same_weights(model(tmp_path), expected)


def test_yaml_config(arguments, expected, tmp_path):
    pairs = (argument[2:].split("=") for argument in arguments(tmp_path, loss="piwsl", **STRONG))
    config = tmp_path / "config.yaml"
    config.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in pairs))
    run_command([f"--config={config}"], tmp_path)
    assert_same_weights(model(tmp_path), expected)


def test_the_installed_hook_leaves_other_losses_alone_to_the_last_bit(arguments, tmp_path):
    """Stock MACE and MACE with this package: same weights, same results file, same log."""
    texts = []
    for name, environment in (("stock", {"PIWSL_PLUGINS_DISABLE": "1"}), ("hooked", {})):
        folder = tmp_path / name
        folder.mkdir()
        run_command(arguments(Path("."), loss="huber"), folder, environment=environment)
        results = (folder / "results" / "run_run-1_train.txt").read_text().splitlines()
        entries = [json.loads(line) for line in results]
        for entry in entries:
            entry.pop("time")
        text = (folder / "logs" / "run_run-1_debug.log").read_text().replace(str(folder), "")
        without_addresses = re.sub("0x[0-9a-f]+", "", text)
        log = [line.split(maxsplit=2)[-1] for line in without_addresses.splitlines()]
        texts.append((entries, log))
    assert texts[0][0] == texts[1][0]
    for stock, hooked in zip(texts[0][1], texts[1][1], strict=True):
        assert hooked == stock
    assert_same_weights(model(tmp_path / "stock"), model(tmp_path / "hooked"))


def test_switched_off_the_loss_does_not_exist(arguments, tmp_path):
    done = run_command(
        arguments(tmp_path, loss="piwsl"),
        tmp_path,
        environment={"PIWSL_PLUGINS_DISABLE": "1"},
        check=False,
    )
    assert done.returncode == 2
    assert "invalid choice: 'piwsl'" in done.stderr


def test_help(tmp_path):
    text = run_command(["--help"], tmp_path).stdout
    assert "PIWSL (with --loss=piwsl)" in text
    assert "--piwsl_pitc_weight" in text


def test_an_error_is_one_line_and_nothing_is_written(arguments, tmp_path):
    given = arguments(tmp_path, loss="piwsl", piwsl_heads="other")
    done = run_command(given, tmp_path, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("mace_run_train: error: --piwsl_heads=other")
    assert not list(tmp_path.iterdir())


def test_an_error_of_all_ranks_is_said_once(arguments, tmp_path):
    given = [*arguments(tmp_path, loss="piwsl", piwsl_heads="other"), "--distributed"]
    program = [*LAUNCHES["torchrun"][:-2], "--nproc_per_node=2", str(RUN_TRAIN)]
    given = [*given, "--launcher=torchrun"]
    done = run_command(given, tmp_path, program=program, environment={"ANY": "1"}, check=False)
    assert done.returncode != 0
    assert done.stderr.count("mace_run_train: error: --piwsl_heads=other: there is no head") == 1


def test_mace_imported_before_the_hook_is_hooked_into_too():
    code = (
        "import mace.cli.run_train as r, mace.tools as t\n"
        "from piwsl_plugins.mace._hooks import activate, installation_problem\n"
        "before = r.get_loss_fn\n"
        "activate()\n"
        "assert r.get_loss_fn is not before and r.get_loss_fn.piwsl_original is before\n"
        "assert t.check_args.piwsl_original and t.build_default_arg_parser.piwsl_original\n"
        "assert installation_problem() is None\n"
        "activate()\n"
        "assert not hasattr(r.get_loss_fn.piwsl_original, 'piwsl_original')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PIWSL_PLUGINS_DISABLE": "1", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_hook_that_fails_warns_and_leaves_mace_working(tmp_path):
    code = (
        "import piwsl_plugins.mace._hooks as h\n"
        "h.patch = lambda module: 1 / 0\n"
        "from mace.tools import build_default_arg_parser\n"
        "print(build_default_arg_parser().parse_args(['--name=x', '--loss=huber']).loss)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "huber"
    assert "piwsl_plugins could not hook into mace.tools.arg_parser" in done.stderr
    assert "MACE works as without it" in done.stderr
