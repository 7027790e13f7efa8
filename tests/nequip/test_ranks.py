"""Errors in a run of several ranks: every rank ends, and the terminal has the error once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .command_line import config, run, write_config

#: a rank of two, which raises what its arguments say, with the hook of ``nequip-train``
RANK = """
import atexit, sys, torch
from piwsl_plugins.errors import SettingsError
from piwsl_plugins.nequip._errors import shortened
from piwsl_plugins.nequip.config import DataError
from piwsl_plugins.nequip.ranks import all_or_none

sys.excepthook = shortened(sys.excepthook)
rank, store, wrong, where = int(sys.argv[1]), *sys.argv[2:5]
error = {
    "data": DataError("frame 3 is bad"),
    "settings": SettingsError("pool_file", "x", "it is bad"),
    "other": ZeroDivisionError("nobody expects it"),
}[wrong]
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{store}", rank=rank, world_size=2
)
atexit.register(torch.distributed.destroy_process_group)  # as Lightning does
with all_or_none():
    if where in ("both", str(rank)):
        raise error
    print("no error")
print("trained")
"""
LINES = {
    "data": "nequip-train: error: frame 3 is bad",
    "settings": "nequip-train: error: PIWSL option 'pool_file' = 'x': it is bad",
    "other": "ZeroDivisionError: nobody expects it",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "where"),
    [("data", "both"), ("data", "0"), ("data", "1"), ("settings", "both"), ("other", "1")],
)
def test_error_of_some_ranks(wrong, where, tmp_path):
    words = [sys.executable, "-c", RANK]
    ranks = [
        subprocess.Popen(
            [*words, str(rank), str(tmp_path / "store"), wrong, where],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [rank.communicate(timeout=120) for rank in ranks]
    assert not any("trained" in out for out, _ in printed)
    told = "".join(err for _, err in printed)
    assert (" (on rank 1)" in printed[0][1]) == (where == "1")
    if wrong == "other":
        assert f"[rank1]: {LINES[wrong]}\n" in printed[1][1]
        return
    assert told.count(LINES[wrong]) == 1
    assert LINES[wrong] in printed[0][1] and printed[1][1].strip() == ""
    assert [rank.returncode for rank in ranks] == [2, 0]  # Lightning kills rank 0 at once else


@pytest.mark.slow
def test_run_of_two_ranks_ends_in_one_line(tmp_path):
    (tmp_path / "pool.xyz").write_text("dear diary\n")
    loss = {"_target_": "piwsl_plugins.nequip.PIWSLLoss", "pool_file": "pool.xyz"}
    made = config(loss=loss)
    strategy = {"_target_": "nequip.train.SimpleDDPStrategy", "process_group_backend": "gloo"}
    made["trainer"].update(devices=2, strategy=strategy)
    write_config(tmp_path, made)
    done = run("nequip-train", "config.yaml", "hydra.run.dir=out", directory=tmp_path, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stdout
    (line,) = [one for one in done.stdout.splitlines() if "ASE cannot read" in one]
    assert line.startswith("nequip-train: error: PIWSL option 'pool_file' = 'pool.xyz'")
