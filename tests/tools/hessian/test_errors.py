"""Packages that are missing, and frames that labels cannot tell apart."""

from ase.io import write

from .conftest import rattled_crystal

EMT = ("--calculator", "known_hessians:emt")


def test_xtb_without_tblite_names_the_remedy(refused, data, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tblite" else find(name)
    )
    assert "pip install tblite" in refused(data, "--calculator", "gfn2-xtb")


def test_frameworks_that_are_missing_name_the_remedy(refused, data, tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mace" else find(name)
    )
    (tmp_path / "some.model").write_text("")
    error = refused(data, "--calculator", tmp_path / "some.model")
    assert 'pip install "piwsl-plugins[mace,tools]"' in error
    beside = ", in an environment of its own (mace and nequip need different versions of e3nn)"
    assert (beside in error) == (find("nequip") is not None)


def test_equal_positions_in_different_cells(refused, tmp_path):
    one = rattled_crystal()
    other = one.copy()
    other.cell[2, 2] *= 1.02
    write(tmp_path / "train.xyz", [one, other], format="extxyz")
    error = refused(tmp_path / "train.xyz", *EMT)
    assert "frame 1" in error and "frame 0" in error and "another cell" in error
