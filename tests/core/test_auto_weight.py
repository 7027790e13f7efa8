"""The weight that keeps the PITC gradient at a fraction of the supervised one."""

import pytest
import torch

from piwsl_plugins.core.auto_weight import AutoWeight
from piwsl_plugins.core.settings import Settings


def losses(parameters):
    first, second, _, frozen = parameters
    supervised = (first**2).sum() + 3.0 * (first[0] * second).sum() + frozen.sum()
    return supervised, (second**4).sum() * first[1]


@pytest.fixture
def parameters():
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(n, generator=generator, dtype=torch.float64) for n in (2, 3, 4, 1)]
    return [tensor.requires_grad_(index < 3) for index, tensor in enumerate(tensors)]


def norm(value, parameters):
    """Central differences, parameter by parameter."""
    total = 0.0
    for tensor in parameters[:3]:
        for i in range(len(tensor)):
            with torch.no_grad():
                tensor[i] += 1e-6
                above = losses(parameters)[value].item()
                tensor[i] -= 2e-6
                below = losses(parameters)[value].item()
                tensor[i] += 1e-6
            total += ((above - below) / 2e-6) ** 2
    return total**0.5


def test_the_ratio_of_gradient_norms_is_the_one_asked_for(parameters):
    auto = AutoWeight(Settings(pitc_weight="auto", auto_gradient_ratio=0.3))
    weight = auto.update(0, *losses(parameters), parameters)
    ratio = weight * norm(1, parameters) / norm(0, parameters)
    assert ratio == pytest.approx(0.3, rel=1e-6)
    supervised, term = losses(parameters)
    (supervised + weight * term).backward()  # the graphs are left for the step itself


@pytest.mark.parametrize(
    ("first", "expected"),
    [(0, [0, 1, 2, 4, 8, 10, 20, 30]), (3, [3, 4, 8, 13, 23, 33]), (15, [15, 25, 35])],
)
def test_it_is_adjusted_at_every_interval_and_more_often_at_the_beginning(
    first, expected, parameters
):
    auto = AutoWeight(Settings(pitc_weight="auto", auto_interval=10))
    due = []
    for step in range(first, 40):
        if auto.due(step):
            due.append(step)
            auto.update(step, *losses(parameters), parameters)
            assert not auto.due(step)
    assert due == expected


def test_within_the_first_interval_the_weight_is_only_lowered(parameters):
    auto = AutoWeight(Settings(pitc_weight="auto", auto_interval=10))
    supervised, term = losses(parameters)
    first = auto.update(0, supervised, term, parameters)
    assert auto.update(1, 5.0 * supervised, term, parameters) == first
    assert auto.update(2, 0.25 * supervised, term, parameters) == pytest.approx(0.25 * first)
    assert auto.update(8, supervised, term, parameters) == pytest.approx(0.25 * first)
    assert auto.update(10, 5.0 * supervised, term, parameters) == pytest.approx(5.0 * first)


def test_a_vanishing_gradient_leaves_the_weight_as_it_was(parameters):
    auto = AutoWeight(Settings(pitc_weight="auto"))
    weight = auto.update(0, *losses(parameters), parameters)
    supervised, term = losses(parameters)
    assert auto.update(1, supervised, 0.0 * term, parameters) == weight
    assert auto.update(2, 0.0 * supervised, term, parameters) == weight
