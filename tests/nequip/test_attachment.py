"""What a run of ``nequip-train`` finds replaced: nothing, unless its loss is ours."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys

import pytest
import yaml
from hydra.core.config_store import ConfigStore

from piwsl_plugins.nequip import _attachment
from piwsl_plugins.nequip._command_line import may_be_ours

from .command_line import config, run, write_config

#: stands in for ``nequip-train``: says what it finds after ``import nequip``, and in its main
PROGRAM = """
import json, os, sys
argv, hook = list(sys.argv), sys.excepthook
import nequip
import hydra.conf
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from nequip.data.datamodule import NequIPDataModule

def found():
    return {
        "argv": sys.argv == argv,
        "excepthook": sys.excepthook is hook,
        "config store": not ConfigStore.instance().load("hydra/config.yaml").node.callbacks,
        "data modules": not any(
            hasattr(getattr(NequIPDataModule, name), "__wrapped__")
            for name in ("setup", "get_statistics")
        ),
    }

at_import = found()

@hydra.main(version_base=None, config_path=os.getcwd(), config_name="config")
def main(config):
    OmegaConf.register_new_resolver("later", lambda: 7)
    state = {"import": at_import, "main": found()}
    state["callbacks"] = list(HydraConfig.get().callbacks)
    state["loss"] = config.training_module.loss["_target_"]
    print("STATE", json.dumps(state))

main()
"""
PARTS = ("argv", "excepthook", "config store", "data modules")
STOCK = {"training_module": {"loss": {"_target_": "nequip.train.EnergyForceLoss"}}}
OURS = {"training_module": {"loss": "piwsl"}}
FULL = {"training_module": {"loss": {"_target_": "piwsl_plugins.nequip.PIWSLLoss"}}}
RESOLVER = {"training_module": {"loss": "${piwsl:{pitc_weight: 0.1}}"}}
WITH_DEFAULTS = {"defaults": ["base", "_self_"]}
BASE = "# @package _global_\n"


def state(folder, files, *arguments):
    """What the program finds, with config files by their paths in ``folder``."""
    (folder / "nequip-train.py").write_text(PROGRAM)
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        text = BASE if "/" in path else ""
        (folder / path).write_text(text + yaml.safe_dump(content))
    arguments = ["nequip-train.py", *arguments, "hydra.run.dir=out"]
    printed = run("python", *arguments, directory=folder).stdout
    return json.loads(printed.rpartition("STATE ")[2].splitlines()[0])


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """With NequIP's loss in one file, and in a file that another one names."""
    one = state(tmp_path_factory.mktemp("stock"), {"config.yaml": STOCK})
    folder = tmp_path_factory.mktemp("defaults")
    two = state(folder, {"config.yaml": WITH_DEFAULTS, "base.yaml": STOCK})
    return one, two


@pytest.mark.parametrize("part", PARTS)
def test_with_another_loss_nequip_has_its_own(part, stock):
    one, two = stock
    assert one["loss"] == two["loss"] == "nequip.train.EnergyForceLoss"
    assert one["import"][part] and one["main"][part]
    assert two["main"][part]
    assert one["callbacks"] == two["callbacks"] == []


#: files of a run with our loss, and its arguments
FORMS = {
    "config.yaml": ({"config.yaml": OURS}, ["config.yaml"]),
    "a resolver": ({"config.yaml": RESOLVER}, ["config.yaml"]),
    "an option that is known later": (
        {"config.yaml": {"training_module": {"loss": "${piwsl:{seed: ${later:}}}"}}},
        ["config.yaml"],
    ),
    "the full form": ({"config.yaml": FULL}, ["config.yaml"]),
    "no argument": ({"config.yaml": OURS}, []),
    "-cn": ({"mine.yaml": OURS}, ["-cn", "mine"]),
    "-cp": ({"conf/mine.yaml": OURS}, ["-cp", "{}/conf", "--config-name=mine.yaml"]),
    "an override": ({"stock.yaml": STOCK}, ["stock.yaml", "training_module.loss=piwsl"]),
    "a defaults list": ({"config.yaml": WITH_DEFAULTS, "base.yaml": OURS}, ["config.yaml"]),
    "a config group": ({"config.yaml": STOCK, "to/try.yaml": OURS}, ["+to=try"]),
    "--config-dir": (
        {"config.yaml": STOCK, "other/to/try.yaml": OURS},
        ["--config-dir", "other", "+to=try"],
    ),
    "a search path": (
        {"config.yaml": STOCK, "other/to/try.yaml": OURS},
        ["hydra.searchpath=[file://{}/other]", "+to=try"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_our_loss_is_found_and_expanded_wherever_it_is_named(form, tmp_path):
    files, arguments = FORMS[form]
    (tmp_path / "other").mkdir()
    found = state(tmp_path, files, *(word.format(tmp_path) for word in arguments))
    assert found["loss"] == "piwsl_plugins.nequip.PIWSLLoss"
    expected = dict.fromkeys(PARTS, False)
    if "config.yaml" not in arguments and "stock.yaml" not in arguments:
        expected["argv"] = True
    assert found["main"] == expected


def test_what_others_have_replaced_meanwhile_stays_theirs(tmp_path, monkeypatch):
    """As ``python -m`` names the program after its packages are loaded, and a debugger its hook."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").touch()
    monkeypatch.setattr(sys, "argv", ["-m", "a.yaml", "x=1"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    before = ConfigStore.instance().load("hydra/config.yaml").node
    _attachment.attach()
    assert sys.argv == ["-m", "-cp", str(tmp_path), "-cn", "a.yaml", "x=1"]
    assert ConfigStore.instance().load("hydra/config.yaml").node != before
    sys.argv[0] = "/x/train.py"
    theirs = functools.partial(sys.excepthook)
    sys.excepthook = theirs
    _attachment.detach()
    assert sys.argv == ["/x/train.py", "a.yaml", "x=1"]
    assert sys.excepthook is theirs
    assert ConfigStore.instance().load("hydra/config.yaml").node == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training_module: {loss: {_target_: nequip.train.EnergyForceLoss}}", False),
        ("loss:\n  _target_: nequip.train.EnergyForceLoss\ntrain_loss: x", False),
        ("loss: PIWSL", True),
        ("training_module: {loss: pwisl}", True),
        ("training_module: {loss: '${oc.env:LOSS}'}", True),
        ("defaults:\n- other", True),
        ("hydra:\n  searchpath: [x]", True),
    ],
)
def test_what_the_text_of_a_config_says(text, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.yaml").write_text(text)
    for arguments in (["some.yaml"], ["-cn", "some"], ["-cn=some.yaml", "run=[train]"]):
        assert may_be_ours(arguments) == expected
    assert may_be_ours(["-cn", "some", "x=/home/piwsl"])
    assert may_be_ours(["-cn", "absent"])


@pytest.mark.slow
def test_logs_name_the_version_of_this_package():
    program = (
        "from nequip.utils import get_current_code_versions\n"
        "print(get_current_code_versions(verbose=False))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    versions = eval(done.stdout)
    assert not [name for name in versions if "_extension" in name]
    assert re.match(r"\d+\.\d+", versions["piwsl_plugins"])


@pytest.mark.slow
def test_programs_that_call_main_are_told_which_form_to_write(tmp_path):
    program = (
        "import sys\n"
        "from nequip.scripts.train import main\n"
        "sys.argv = ['mine', '-cp', sys.argv[1], 'hydra.run.dir=out']\n"
        "main()\n"
    )
    (tmp_path / "mine.py").write_text(program)
    write_config(tmp_path, config())
    done = run("python", "mine.py", str(tmp_path), directory=tmp_path, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stdout
    assert done.stdout.splitlines()[-1].endswith("write 'loss: ${piwsl:}' instead")
