"""Charge and spin under names of the user's own, in every verb that reads structures."""

import ase.build
import pytest
from ase.io import read, write

from piwsl_plugins.tools.command import main

NAMES = ["--charge_key", "Q", "--spin_key", "mult"]
EMT = ["--calculator", "state_calculators:emt", "--charges", "read"]


@pytest.fixture
def ions(tmp_path, monkeypatch):
    """A geometry as a neutral molecule and as a cation, each twice."""
    (tmp_path / "state_calculators.py").write_text(
        "from ase.calculators.emt import EMT\n\n\ndef emt():\n    return EMT()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    frames = []
    for charge, spin in ((0, 1), (1, 2), (0, 1), (1, 2)):
        atoms = ase.build.molecule("CH3OH")
        atoms.info |= {"Q": charge, "mult": spin}
        frames.append(atoms)
    write("ions.xyz", frames)
    return tmp_path


def test_hessian_labels_each_state(ions, capsys):
    assert main(["hessian", "ions.xyz", *EMT, *NAMES, "--out", "named.npz"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 structures") and "2 repeated frames labelled once" in printed
    assert main(["hessian", "ions.xyz", *EMT, "--out", "unnamed.npz"]) == 0
    assert capsys.readouterr().out.startswith("1 structures")


def test_select_tells_the_states_apart(ions, capsys):
    command = ["select", "ions.xyz", "--n", "2", "--out", "chosen.xyz"]
    assert main([*command, *NAMES]) == 0
    assert {atoms.info["Q"] for atoms in read("chosen.xyz", ":")} == {0, 1}
    capsys.readouterr()
    assert main([*command, "--overwrite"]) == 2
    assert "1 structure" in capsys.readouterr().err


def test_a_pool_keeps_the_names(ions):
    command = ["pool", "ions.xyz", *EMT, *NAMES, "--index", "1", "--relax", "--n", "1"]
    dynamics = ["--temperatures", "5", "--equilibration", "0", "--spacing", "1"]
    assert main([*command, *dynamics, "--allow_reactions", "--out", "pool.xyz"]) == 0
    atoms = read("pool.xyz")
    assert (atoms.info["Q"], atoms.info["mult"]) == (1, 2) and "charge" not in atoms.info
