"""Which points are evaluated, and how, for every term and vertex."""

import pytest
import torch

from piwsl_plugins.core.evaluation import Evaluated, points_with_forces, residuals
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
        self.points = {"origin": 0.0, "displaced": DELTA, "waypoint": WAYPOINT}
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
    assert asked - {("origin", "forces")} == expected
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
