"""The notebook of a loop of one's own does what it says, on any machine."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "docs" / "own_loop.ipynb"


def test_the_notebook_runs_and_hessians_lower_the_error_of_forces(monkeypatch, capsys):
    """Cell by cell, in its own folder; what it shows is of a run like this one."""
    monkeypatch.chdir(NOTEBOOK.parent)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["with_hessians"] < 0.85 * names["alone"]
    told = capsys.readouterr().out
    assert "5 of 20 labels are used" in told
    shown = "".join(
        line for cell in cells for out in cell.get("outputs", ()) for line in out["text"]
    )
    assert "5 of 20 labels are used" in shown and "/home" not in shown and "/work" not in shown
    alone, with_hessians = (float(line.split()[-1]) for line in shown.splitlines()[-2:])
    assert with_hessians < 0.85 * alone
