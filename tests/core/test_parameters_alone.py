"""Forces cut off from the positions keep their parameter gradients."""

from __future__ import annotations

import pytest
import torch

from piwsl_plugins.core.parameters_alone import of_parameters_alone


def energy_and_forces(weight, positions):
    energy = (weight * positions**3).sin().sum()
    (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
    return energy, -gradient


def value(energy, forces):
    return energy**2 + (forces * torch.arange(6.0).view(2, 3)).sum() ** 2


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    weight, frozen, positions = torch.rand(3, 2, 3, generator=generator, dtype=torch.float64)
    return weight.requires_grad_(), frozen, positions.requires_grad_()


def test_same_parameter_gradients_and_none_for_positions(tensors):
    weight, frozen, positions = tensors
    full = value(*energy_and_forces(weight, positions))
    (expected,) = torch.autograd.grad(full, weight)
    unused = torch.ones(3, requires_grad=True)
    outputs = energy_and_forces(weight, positions)
    cut = of_parameters_alone(outputs, [weight, frozen, unused])
    assert torch.equal(cut[1], outputs[1])
    value(*cut).backward()
    assert torch.equal(weight.grad, expected)
    assert positions.grad is None and frozen.grad is None and unused.grad is None


def test_graph_is_kept_as_the_outer_backward_pass_keeps_its_own(tensors):
    weight, _, positions = tensors
    found = value(*of_parameters_alone(energy_and_forces(weight, positions), [weight]))
    found.backward(retain_graph=True)
    first = weight.grad.clone()
    found.backward()
    assert torch.equal(weight.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        found.backward()


def test_second_derivatives_are_refused(tensors):
    weight, _, positions = tensors
    found = value(*of_parameters_alone(energy_and_forces(weight, positions), [weight]))
    (gradient,) = torch.autograd.grad(found, weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
