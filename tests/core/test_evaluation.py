"""Which points are evaluated, and how, for every term and vertex."""

import pytest
import torch

from piwsl_plugins.core.evaluation import (
    Evaluated,
    against_target,
    points_with_forces,
    residuals,
)
from piwsl_plugins.core.settings import Settings

INDEX = torch.tensor([0, 0, 1, 1, 1])
generator = torch.Generator().manual_seed(0)
POSITIONS, DELTA, WAYPOINT = (
    torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(3)
)
STIFFNESS = torch.rand(5, 3, generator=generator, dtype=torch.float64)


def energies(positions):
    per_atom = 0.5 * (STIFFNESS * positions.square()).sum(dim=-1)
    return torch.zeros(2, dtype=torch.float64).index_add(0, INDEX, per_atom)


def half_curvature(field):
    return energies(field)


class Springs:
    """Independent springs, E = ½ Σ k x²; records what is asked of it."""

    def __init__(self):
        self.points = {
            "origin": 0.0,
            "displaced": DELTA,
            "mirrored": -DELTA,
            "waypoint": WAYPOINT,
        }
        self.asked = []

    def with_forces(self, point):
        self.asked.append((point, "forces"))
        positions = POSITIONS + self.points[point]
        return Evaluated(energies(positions), -STIFFNESS * positions)

    def energy(self, point):
        self.asked.append((point, "energy"))
        return energies(POSITIONS + self.points[point])


EXPECTED = {
    "displaced": half_curvature(DELTA - WAYPOINT),
    "extrapolated": half_curvature(DELTA - WAYPOINT) - half_curvature(DELTA),
    "waypoint": half_curvature(DELTA - WAYPOINT),
    "origin": half_curvature(WAYPOINT),
}


def found(anchor=None, **options):
    springs = Springs()
    settings = Settings.create(options)
    return residuals(settings, springs, DELTA, WAYPOINT, INDEX, anchor), set(springs.asked)


def test_pitc_alone_needs_one_energy_beside_the_original():
    result, asked = found(pitc_weight=1.0, pisc_weight=0.0)
    torch.testing.assert_close(result["pitc"], half_curvature(DELTA).unsqueeze(0))
    assert set(result) == {"pitc"}
    assert asked == {("origin", "forces"), ("displaced", "energy")}


@pytest.mark.parametrize("vertex", EXPECTED)
def test_pisc_vertices(vertex):
    result, _ = found(pitc_weight=0.0, pisc_weight=1.0, pisc_vertex=vertex)
    assert set(result) == {"pisc"}
    torch.testing.assert_close(result["pisc"], EXPECTED[vertex].unsqueeze(0))


def test_all_vertices_are_the_four_in_one():
    result, _ = found(pisc_weight=1.0, pisc_vertex="all")
    torch.testing.assert_close(result["pisc"], torch.stack(list(EXPECTED.values())))


@pytest.mark.parametrize(
    ("vertex", "expected"),
    [
        ("displaced", {("waypoint", "forces"), ("displaced", "energy")}),
        ("extrapolated", {("waypoint", "forces")}),
        ("waypoint", {("displaced", "forces"), ("waypoint", "energy")}),
        ("origin", {("waypoint", "forces")}),
    ],
)
def test_forces_are_asked_for_only_where_the_equation_needs_them(vertex, expected):
    options = {"pitc_weight": 0.0, "pisc_weight": 1.0, "pisc_vertex": vertex}
    _, asked = found(**options)
    assert asked - {("origin", "forces"), ("origin", "energy")} == expected
    assert (("origin", "forces") in asked) == Settings.create(options).needs_forces()
    with_forces = {point for point, kind in expected if kind == "forces"}
    assert set(points_with_forces(Settings.create(options))) == with_forces


def test_without_pisc_no_further_forces():
    assert points_with_forces(Settings(pisc_weight=0.0, pisc_vertex="all")) == ()


def test_the_anchor_replaces_the_models_own_expansion():
    labels = Evaluated(torch.tensor([3.0, -1.0], dtype=torch.float64), torch.ones_like(POSITIONS))
    result, _ = found(anchor=labels, pitc_weight=1.0)
    work = torch.stack([DELTA[:2].sum(), DELTA[2:].sum()])
    expected = energies(POSITIONS + DELTA) - (labels.energy - work)
    torch.testing.assert_close(result["pitc"][0], expected)


def test_the_symmetric_form_is_the_same_without_forces():
    result, asked = found(pitc_weight=1.0, pitc_form="symmetric")
    torch.testing.assert_close(result["pitc"], half_curvature(DELTA).unsqueeze(0))
    assert asked == {("origin", "energy"), ("displaced", "energy"), ("mirrored", "energy")}


def targeted(**options):
    settings = Settings.create(options)
    raw = {"pitc": half_curvature(DELTA).unsqueeze(0), "pisc": EXPECTED["displaced"].unsqueeze(0)}
    frozen = {term: 0.25 * value for term, value in raw.items()}
    known = torch.tensor([0.5, 100.0], dtype=torch.float64)
    reference = frozen if settings.needs_reference() else None
    return raw, against_target(settings, raw, DELTA, INDEX, known, reference)


def test_targets():
    raw, zero = targeted()
    assert zero["pitc"] is raw["pitc"]
    raw, curvature = targeted(pitc_target="curvature")
    torch.testing.assert_close(curvature["pitc"], raw["pitc"] - torch.tensor([[0.5, 100.0]]))
    raw, reference = targeted(pitc_target="reference")
    for term in ("pitc", "pisc"):
        torch.testing.assert_close(reference[term], 0.75 * raw[term])


@pytest.mark.parametrize("bound", [0.2, 5.0])
def test_bounds_count_only_where_they_are_violated(bound):
    squares = torch.zeros(2, dtype=torch.float64).index_add(0, INDEX, DELTA.square().sum(dim=-1))
    raw, ceiling = targeted(pitc_target="ceiling", curvature_bound=bound)
    raw, floor = targeted(pitc_target="floor", curvature_bound=bound)
    excess = raw["pitc"] - 0.5 * bound * squares
    torch.testing.assert_close(ceiling["pitc"] - floor["pitc"], excess)
    assert torch.all((ceiling["pitc"] == 0.0) | (floor["pitc"] == 0.0))
    # springs of at most 1: a bound of 5 is never exceeded, and 0.2 is by all of them on average
    assert bool((ceiling["pitc"] > 0.0).all()) == (bound == 0.2)
    assert bool((floor["pitc"] > 0.0).all()) == (bound == 5.0)


def test_with_a_reference_its_residual_is_the_bound():
    raw, ceiling = targeted(pitc_target="ceiling", reference_model="some.model")
    torch.testing.assert_close(ceiling["pitc"], 0.75 * raw["pitc"])
    raw, floor = targeted(pitc_target="floor", reference_model="some.model")
    assert torch.count_nonzero(floor["pitc"]) == 0
