"""Displacements: their distribution, what they depend on, and what they must never move."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from piwsl_plugins.frames.structure import Structure
from piwsl_plugins.options.settings import Consistency
from piwsl_plugins.terms.displacements import (
    along,
    bond_warning,
    draw,
    epoch_keys,
    geometry_keys,
    normal,
    unit,
)
from piwsl_plugins.terms.loss_gradient import gradient_by_positions

KINDS = ("uniform", "atom_norm", "structure_norm")
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


def test_components_stay_within_the_maximum():
    drawn = sample("uniform")
    assert drawn.abs().max() <= EPSILON
    assert drawn.abs().max() > 0.98 * EPSILON


@pytest.mark.parametrize(
    ("kind", "variance"),
    [("uniform", 1 / 3), ("atom_norm", 1 / 3), ("structure_norm", 1 / (3 * MANY))],
)
def test_moments_per_component(kind, variance):
    scaled = sample(kind) / EPSILON
    standard_error = (variance / MANY) ** 0.5
    assert torch.all(scaled.mean(dim=0).abs() < 5 * standard_error)
    assert torch.all((scaled.var(dim=0) / variance - 1).abs() < 5 * (2 / MANY) ** 0.5)


def test_norms_over_atoms_and_over_structures(structures):
    positions, sizes = structures
    keys = keys_of(positions, sizes, seed=3, epoch=2)
    atoms, whole = (draw(settings(kind), "displaced", keys, sizes) for kind in KINDS[1:])
    expected = torch.full((sum(sizes),), EPSILON, dtype=torch.float64)
    torch.testing.assert_close(atoms.norm(dim=-1), expected)
    norms = torch.stack([block.norm() for block in whole.split(sizes)])
    torch.testing.assert_close(norms, expected[: len(sizes)])
    # the same directions: g is the same
    cosines = torch.nn.functional.cosine_similarity(atoms, whole)
    torch.testing.assert_close(cosines, torch.ones_like(cosines))


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


def test_along_a_gradient_every_atom_moves_as_far():
    """Whatever its size; one without a gradient stays, and what is no number is not hidden."""
    gradient = torch.tensor([[3.0, 0.0, 4.0], [0.0, -1e-30, 0.0], [0.0] * 3, [1.0, torch.nan, 0.0]])
    found = along(gradient, EPSILON) / EPSILON
    expected = torch.tensor([[0.6, 0.0, 0.8], [0.0, -1.0, 0.0], [0.0, 0.0, 0.0]]).double()
    torch.testing.assert_close(found[:3], expected, rtol=0, atol=1e-7)
    assert found[3].isnan().all()


def test_gradient_of_a_loss_in_the_middle_of_a_step():
    """That of a function that draws random numbers, which are not missed afterwards."""
    stiffness = torch.tensor(3.0, requires_grad=True)
    positions = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    def loss(at):
        return stiffness * (at[0] ** 2).sum() * (1.0 + 0.0 * torch.rand(()))

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with torch.no_grad():
        found = gradient_by_positions(loss, positions)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(found, torch.tensor([[6.0, 12.0, 18.0], [0.0, 0.0, 0.0]]))
    assert stiffness.grad is None and not found.requires_grad and not positions.requires_grad
    for nothing in (lambda at: torch.tensor(1.0), lambda at: 2.0 * stiffness):
        assert torch.equal(gradient_by_positions(nothing, positions), torch.zeros(2, 3))


@pytest.mark.parametrize(("kind", "reach"), [("uniform", 3**0.5), ("atom_norm", 1.0)])
def test_long_displacements_are_warned_of(kind, reach):
    """Above 30 % of the shortest bond, also across a face of the cell; what is advised is not."""
    bond, long = 0.96, 1.4
    chain = Structure.of(
        [1, 8], [[0, 0, 0.1], [0, 0, 3.0 - bond + 0.1]], np.diag([9, 9, 3]), [0, 0, 1]
    )
    structures = [Structure.of([6, 6], [[0, 0, 0], [0, 0, long]]), chain]
    limit = 0.3 * bond / reach

    def warning(epsilon, **weights):
        options = Consistency(displacement=kind, max_displacement=epsilon, **weights)
        return bond_warning(options, structures, "--piwsl_")

    assert warning(0.99 * limit, pitc_weight=1.0) is None
    assert warning(1.5 * limit, pitc_weight=0.0) is None
    for weights in ({"pitc_weight": 1.0}, {"pitc_weight": 0.0, "pisc_weight": 1.0}):
        words = warning(1.5 * limit, **weights)
        assert words.startswith("PIWSL: --piwsl_max_displacement=") and "45 %" in words
        advised = float(words.split("choose ")[1].split()[0])
        assert 0.9 * limit < advised <= limit
        assert warning(advised, **weights) is None
