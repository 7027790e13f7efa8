"""The force slope, and what the guard makes of it."""

import math

import numpy as np
import pytest
import torch

from piwsl_plugins.options.settings import Settings
from piwsl_plugins.terms.softening import Forces, ForceSlope, ForceSums, SofteningGuard, remedy

generator = torch.Generator().manual_seed(0)
LABELS = torch.randn(20, 3, generator=generator)
FORCES = 0.7 * LABELS + 0.1 * torch.randn(20, 3, generator=generator)


def test_the_slope_is_the_regression_on_labelled_structures():
    sums = ForceSums()
    sums.add(FORCES[:5], LABELS[:5])
    sums.add(FORCES[5:12], LABELS[5:12])
    sums.add(FORCES[12:])
    found = sums.take()
    x, y = LABELS[:12].double().flatten().numpy(), FORCES[:12].double().flatten().numpy()
    expected, *_ = np.linalg.lstsq(x[:, None], y, rcond=None)
    assert found.slope == pytest.approx(expected[0], rel=1e-12)
    assert found.rms == pytest.approx(FORCES.double().square().mean().sqrt().item(), rel=1e-12)
    assert found.rms_label == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-12)
    assert found.error == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(x), rel=1e-12)
    assert all(math.isnan(value) for value in vars(sums.take()).values())


def test_without_labels_forces_are_compared_with_those_at_the_start():
    guard = SofteningGuard()
    assert guard.slope(Forces(math.nan)) is None
    assert guard.slope(Forces(2.0)) == ForceSlope(1.0, labelled=False)
    assert guard.slope(Forces(1.5)).value == 0.75
    assert guard.slope(Forces(1.5, 1.0, 0.9, 0.2)) == ForceSlope(0.9, True, 0.2)


def test_labels_of_stationary_points_have_no_slope():
    """Forces there become smaller as the model becomes better."""
    guard = SofteningGuard(pretrained=True)
    for predicted in (1.0, 0.5, 0.1):
        sums = ForceSums()
        sums.add(predicted * FORCES, 0.01 * LABELS)
        assert guard.slope(sums.take()) is None


def judged(*slopes, pretrained=False, labelled=True):
    """Which epochs bring a warning, for models whose only error is that forces are too small."""
    guard = SofteningGuard(pretrained)
    found = [guard.judge(ForceSlope(slope, labelled, abs(1.0 - slope))) for slope in slopes]
    return [index for index, message in enumerate(found) if message is not None], found


def test_a_warning_comes_once():
    when, messages = judged(0.95, 0.9, 0.85, 0.8)
    assert when == [2]
    assert "0.850" in messages[2] and "below 0.9" in messages[2]


def test_a_model_from_scratch_is_judged_once_its_slope_has_been_right():
    assert judged(-0.01, -0.02, 0.3, 0.01, 0.8, 0.6, 0.95, 0.8)[0] == [7]


def test_a_slope_by_chance_is_no_right_one():
    """Of a random model with large forces: steep enough, and yet wrong everywhere."""
    guard = SofteningGuard()
    assert guard.judge(ForceSlope(1.1, True, 3.0)) is None
    assert guard.judge(ForceSlope(0.3, True, 0.8)) is None


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_model_that_starts_soft_is_judged_by_its_start(pretrained):
    when, messages = judged(0.8, 0.75, 0.73, 0.7, pretrained=pretrained)
    assert when == [3]
    assert "below 0.72" in messages[3]


def test_without_labels_only_a_pretrained_model_is_known_to_have_been_right():
    slopes = (1.0, 0.95, 0.85, 0.5)
    assert judged(*slopes, labelled=False)[0] == []
    assert judged(*slopes, pretrained=True, labelled=False)[0] == [2]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "a smaller pitc_weight or max_displacement, or Hessian labels (hessian_file)"),
        (
            {"pitc_weight": 0.0, "pisc_weight": 1.0},
            "a smaller pisc_weight or max_displacement, or Hessian labels (hessian_file)",
        ),
        (
            {"pitc_weight": 1.0, "hessian_file": "labels.npz", "hessian_weight": 1.0},
            "a smaller pitc_weight or max_displacement",
        ),
        ({"hessian_file": "labels.npz", "hessian_weight": 1.0}, "a smaller hessian_weight"),
        (
            {"pitc_weight": 0.0, "pool_file": "pool.xyz"},
            "a smaller pool_weight, or Hessian labels (hessian_file)",
        ),
    ],
)
def test_the_remedy_names_options_that_are_in_force(given, expected):
    assert remedy(Settings.create(given), str) == f"{expected}; see docs/method.md"
