"""The residuals that the tests of both adapters compare with are those of their generator."""

import json

import pytest

pytest.importorskip("ase", reason="the structures are read with ASE")
from ..data.make_residual_table import PATH, table


def test_the_stored_table_is_the_generators():
    stored, made = json.loads(PATH.read_text(encoding="utf-8")), table()
    for name in ("energy", "pitc", "pisc"):
        expected = pytest.approx([row.pop(name) for row in made["structures"]], rel=1e-10)
        assert [row.pop(name) for row in stored["structures"]] == expected
    assert stored == made
