"""Packages that are missing."""

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
