"""Displacements: their distribution, what they depend on, and what they must never move."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from piwsl_plugins.core.displacements import (
    adversarial,
    draw,
    epoch_keys,
    geometry_keys,
    normal,
    unit,
)
from piwsl_plugins.core.settings import Consistency

KINDS = ("uniform", "one_sided", "fixed_length")
EPSILON = 0.07
MANY = 20_000
ONE = np.array([1], dtype=np.uint64)


def settings(kind="uniform"):
    return Consistency(displacement=kind, max_displacement=EPSILON)


def sample(kind):
    return draw(settings(kind), "displaced", ONE, [MANY])


def keys_of(positions, sizes, seed, epoch):
    return epoch_keys(geometry_keys(positions, sizes), seed, epoch)


@pytest.fixture
def structures():
    generator = torch.Generator().manual_seed(5)
    sizes = [4, 9, 2]
    return torch.randn(sum(sizes), 3, generator=generator, dtype=torch.float64), sizes


@pytest.mark.parametrize("kind", ["uniform", "one_sided"])
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_structure_has_the_same_displacement_in_every_batch(kind, structures):
    positions, sizes = structures
    keys = keys_of(positions, sizes, seed=3, epoch=2)
    together = draw(settings(kind), "displaced", keys, sizes).split(sizes)
    for block, size, expected in zip(positions.split(sizes), sizes, together, strict=True):
        key = keys_of(block, [size], seed=3, epoch=2)
        assert torch.equal(draw(settings(kind), "displaced", key, [size]), expected)


def test_seed_epoch_stream_and_structure_each_give_another_displacement(structures):
    positions, sizes = structures

    def drawn(seed=0, epoch=0, stream="displaced", shift=0.0):
        keys = keys_of(positions + shift, sizes, seed, epoch)
        return draw(settings(), stream, keys, sizes)

    first = drawn()
    assert torch.equal(first, drawn())
    others = [drawn(seed=1), drawn(epoch=1), drawn(stream="waypoint"), drawn(shift=1e-3)]
    for other in others:
        assert not torch.isclose(first, other).any()


@pytest.mark.parametrize("sizes", [[1] * MANY, [MANY]])
def test_numbers_are_random_from_structure_to_structure_and_within_one(sizes):
    """Of consecutive keys, which differ in few bits, as well as of consecutive components."""
    keys = np.arange(len(sizes), dtype=np.uint64)
    numbers = unit(keys, "displaced", sizes)
    assert numbers.min() > 0 and numbers.max() < 1
    for component in numbers.T:
        assert kstest(component, "uniform").pvalue > 1e-3
        for lag in (1, 2, 16):
            neighbours = torch.corrcoef(torch.stack([component[lag:], component[:-lag]]))
            assert abs(neighbours[0, 1]) < 5 / MANY**0.5
    assert torch.corrcoef(numbers.T).triu(1).abs().max() < 5 / MANY**0.5
    assert kstest(normal(keys, "hessian", sizes).flatten(), "norm").pvalue > 1e-3
    assert len(numbers.unique()) == numbers.numel()


def test_waypoint_and_displaced_point_are_uncorrelated():
    first, second = (draw(settings(), s, ONE, [MANY]) for s in ("displaced", "waypoint"))
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.02


def test_adversarial_displacement_follows_the_force_error():
    error = torch.tensor([[0.0, 3.0, 4.0], [0.0, 0.0, 0.0], [-1e-3, 0.0, 0.0]])
    error.requires_grad_()
    drawn = adversarial(settings("adversarial"), error)
    expected = EPSILON * torch.tensor([[0.0, 0.6, 0.8], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    torch.testing.assert_close(drawn, expected)
    assert not drawn.requires_grad
