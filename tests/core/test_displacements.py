"""Displacements: their distribution, what they depend on, and what they must never move."""

import pytest
import torch

from piwsl_plugins.core.displacements import adversarial, draw, structure_keys
from piwsl_plugins.core.settings import Settings

KINDS = ("uniform", "one_sided", "fixed_length", "uniform_length", "gaussian")
EPSILON = 0.07
MANY = 20_000


def settings(kind="uniform", **others):
    return Settings(displacement=kind, max_displacement=EPSILON, **others)


def sample(kind):
    return draw(settings(kind), "displaced", [1], [MANY])


@pytest.fixture
def structures():
    generator = torch.Generator().manual_seed(5)
    sizes = [4, 9, 2]
    return torch.randn(sum(sizes), 3, generator=generator, dtype=torch.float64), sizes


@pytest.mark.parametrize("kind", ["uniform", "one_sided", "gaussian"])
def test_components_stay_within_the_maximum(kind):
    drawn = sample(kind)
    assert drawn.abs().max() <= EPSILON
    assert drawn.abs().max() > 0.98 * EPSILON
    assert (drawn.min() >= 0) == (kind == "one_sided")


@pytest.mark.parametrize(
    ("kind", "mean", "variance"),
    [
        ("uniform", 0.0, 1 / 3),
        ("one_sided", 0.5, 1 / 12),
        ("fixed_length", 0.0, 1 / 3),
        ("uniform_length", 0.0, 1 / 9),
        # standard deviation 1/2, truncated at 2 standard deviations
        ("gaussian", 0.0, 0.7737 / 4),
    ],
)
def test_moments_per_component(kind, mean, variance):
    scaled = sample(kind) / EPSILON
    standard_error = (variance / MANY) ** 0.5
    assert torch.all((scaled.mean(dim=0) - mean).abs() < 5 * standard_error)
    assert torch.all((scaled.var(dim=0) / variance - 1).abs() < 5 * (2 / MANY) ** 0.5)


def test_lengths():
    torch.testing.assert_close(
        sample("fixed_length").norm(dim=-1), torch.full((MANY,), EPSILON, dtype=torch.float64)
    )
    lengths = sample("uniform_length").norm(dim=-1) / EPSILON
    quartiles = torch.quantile(lengths, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    expected = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    assert torch.all((quartiles - expected).abs() < 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_structure_has_the_same_displacement_in_every_batch(kind, structures):
    positions, sizes = structures
    keys = structure_keys(positions, sizes, seed=3, epoch=2)
    together = draw(settings(kind), "displaced", keys, sizes).split(sizes)
    for block, size, expected in zip(positions.split(sizes), sizes, together, strict=True):
        key = structure_keys(block, [size], seed=3, epoch=2)
        assert torch.equal(draw(settings(kind), "displaced", key, [size]), expected)


def test_seed_epoch_stream_and_structure_each_give_another_displacement(structures):
    positions, sizes = structures

    def drawn(seed=0, epoch=0, stream="displaced", shift=0.0):
        keys = structure_keys(positions + shift, sizes, seed, epoch)
        return draw(settings(), stream, keys, sizes)

    first = drawn()
    assert torch.equal(first, drawn())
    others = [drawn(seed=1), drawn(epoch=1), drawn(stream="waypoint"), drawn(shift=1e-3)]
    for other in others:
        assert not torch.isclose(first, other).any()


def test_waypoint_and_displaced_point_are_uncorrelated():
    first, second = (draw(settings(), s, [1], [MANY]) for s in ("displaced", "waypoint"))
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.02


def test_fixed_atoms_and_components_are_never_moved(structures):
    positions, sizes = structures
    movable = torch.ones(len(positions), 3, dtype=torch.bool)
    movable[2] = False
    movable[5, 1] = False
    keys = structure_keys(positions, sizes, 0, 0)
    for kind in KINDS:
        drawn = draw(settings(kind), "displaced", keys, sizes, movable)
        assert torch.equal(drawn != 0, movable)
    along = adversarial(settings("adversarial"), torch.ones_like(positions), keys, sizes, movable)
    assert torch.equal(along != 0, movable)


@pytest.mark.parametrize(("fraction", "expected"), [(0.25, [1, 2, 1]), (0.5, [2, 4, 1])])
def test_fraction_of_atoms(structures, fraction, expected):
    positions, sizes = structures
    keys = structure_keys(positions, sizes, 0, 0)
    some = settings(displaced_fraction=fraction)
    drawn = draw(some, "displaced", keys, sizes)
    moved = [int((block != 0).any(dim=-1).sum()) for block in drawn.split(sizes)]
    assert moved == expected
    waypoint = draw(some, "waypoint", keys, sizes)
    assert torch.equal(drawn != 0, waypoint != 0), "both points displace the same atoms"
    other_epoch = draw(some, "displaced", structure_keys(positions, sizes, 0, 1), sizes)
    assert not torch.equal(drawn != 0, other_epoch != 0)


def test_fraction_counts_movable_atoms_only():
    movable = torch.zeros(10, 3, dtype=torch.bool)
    movable[:4] = True
    drawn = draw(settings(displaced_fraction=0.5), "displaced", [7], [10], movable)
    assert int((drawn != 0).any(dim=-1).sum()) == 2
    assert not (drawn[4:] != 0).any()


def test_a_structure_of_fixed_atoms_stays():
    drawn = draw(
        settings(displaced_fraction=0.5), "displaced", [7], [3], torch.zeros(3, 3, dtype=torch.bool)
    )
    assert torch.equal(drawn, torch.zeros(3, 3, dtype=torch.float64))


def test_adversarial_displacement_follows_the_force_error():
    error = torch.tensor([[0.0, 3.0, 4.0], [0.0, 0.0, 0.0], [-1e-3, 0.0, 0.0]])
    error.requires_grad_()
    drawn = adversarial(settings("adversarial"), error, [1], [3])
    expected = EPSILON * torch.tensor([[0.0, 0.6, 0.8], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    torch.testing.assert_close(drawn, expected)
    assert not drawn.requires_grad


def test_no_structures():
    assert draw(settings(), "displaced", [], []).shape == (0, 3)
