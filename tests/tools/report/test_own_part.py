"""The part that the documentation writes down, as a file and a line in the registry."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from piwsl_plugins.tools.report import parts

from .known_calculators import TILT

ROOT = Path(__file__).parents[3]
#: what a line in ``MODULES`` and the file in ``parts/`` do
REGISTERED = """
import importlib.util, sys
from piwsl_plugins.tools.report import parts
name = parts.__name__ + ".turning"
spec = importlib.util.spec_from_file_location(name, "turning.py")
sys.modules[name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[name])
parts.PARTS += (sys.modules[name].PART,)
from piwsl_plugins.tools.command import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_documented_part(alloy, alloy_file, tmp_path):
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    section = text.partition("## A part of your own")[2]
    code = re.search(r"```python\n(.*?)```", section, flags=re.DOTALL)[1]
    (tmp_path / "turning.py").write_text(code, encoding="utf-8")
    given = [
        "--model",
        "exact=known_calculators:emt",
        "--model",
        "odd=known_calculators:tilted_emt",
    ]
    given += ["--data", str(alloy_file), "--out", "out", "--parts", "turning"]
    path = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-c", REGISTERED, "report", *given],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    exact, odd = (summary["models"][name]["values"]["turning_rms"] for name in ("exact", "odd"))
    assert exact["value"] == pytest.approx(0, abs=1e-6)
    # an energy TILT Σx changes by −TILT Σ(x + y) when x becomes −y
    changes = [-1000 * TILT * np.mean(a.positions[:, 0] + a.positions[:, 1]) for a in alloy]
    rms = np.sqrt(np.mean(np.square(changes)))
    assert odd["value"] == pytest.approx(rms, rel=1e-6)
    assert odd["low"] < rms < odd["high"]
    table = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "## Turning\n" in table and "| Energy change by a turn, RMS | meV/atom |" in table
    assert f"Energies change by at most {rms:.2g} meV/atom." in table


class Copied(parts.PARTS[0].__class__):
    """A part made from another one, whose rows still have the keys of that."""

    name = "copied"


def test_rows_that_would_replace_others_are_refused(monkeypatch):
    monkeypatch.setattr(parts, "PARTS", (*parts.PARTS, Copied()))
    with pytest.raises(ValueError, match="part 'copied': another row has the key"):
        parts.quantities()
