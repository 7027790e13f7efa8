"""The parts of the report do not take each other's names."""

import dataclasses

import pytest

from piwsl_plugins.tools.report.arguments import build_parser
from piwsl_plugins.tools.report.parts import PARTS, choices, quantities
from piwsl_plugins.tools.report.settings import ReportSettings, as_dict, own_options


def test_names_headings_quantities_and_options_are_of_one_part():
    for names in (
        [part.name for part in PARTS],
        [part.heading for part in PARTS],
        [quantity.key for part in PARTS for quantity in part.quantities],
        [field.name for field in dataclasses.fields(ReportSettings)]
        + [f.name for part in PARTS if part.options for f in dataclasses.fields(part.options)],
    ):
        assert len(names) == len(set(names))
    assert len(quantities()) == sum(len(part.quantities) for part in PARTS)


@pytest.mark.parametrize(
    ("piece", "part"),
    [
        ("labels", "labels"),
        ("consistency", "consistency"),
        ("stretch-C2H6O-OH", "scans"),
        ("path-dynamics-1", "scans"),
        ("dynamics-nve-300K-frame0-seed0", "dynamics"),
        ("vibrations-3", "vibrations"),
        ("phonons-0", "phonons"),
    ],
)
def test_a_piece_is_of_one_part(piece, part):
    assert [p.name for p in PARTS if p.holds(piece)] == [part]


def test_quick_settings_and_choices_are_those_of_the_parts():
    options = build_parser().parse_args(["--model", "x=y", "--data", "z", "--out", "o", "--quick"])
    assert options.quick
    quick = as_dict(ReportSettings.create({}, quick=True), own_options(quick=True))
    assert quick["parts"] == ("labels", "consistency", "scans")
    assert (quick["draws"], quick["scan_points"], quick["vibration_structures"]) == (2, 30, 4)
    assert list(choices()) == ["labels", "consistency", "scans", "dynamics", "vibrations"]
    assert own_options({"draws": 7, "seed": 5}, quick=True) != own_options(quick=True)
