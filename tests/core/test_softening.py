"""The force slope, and what the guard makes of it."""

import math

import numpy as np
import pytest
import torch

from piwsl_plugins.core.softening import ForceSlope, ForceSums, SofteningGuard

generator = torch.Generator().manual_seed(0)
LABELS = torch.randn(20, 3, generator=generator)
FORCES = 0.7 * LABELS + 0.1 * torch.randn(20, 3, generator=generator)


def test_the_slope_is_the_regression_on_labelled_structures():
    sums = ForceSums()
    sums.add(FORCES[:5], LABELS[:5])
    sums.add(FORCES[5:12], LABELS[5:12])
    sums.add(FORCES[12:])
    rms, slope = sums.take()
    x, y = LABELS[:12].double().flatten().numpy(), FORCES[:12].double().flatten().numpy()
    expected, *_ = np.linalg.lstsq(x[:, None], y, rcond=None)
    assert slope == pytest.approx(expected[0], rel=1e-12)
    assert rms == pytest.approx(FORCES.double().square().mean().sqrt().item(), rel=1e-12)
    assert all(math.isnan(value) for value in sums.take())


def test_without_labels_forces_are_compared_with_those_at_the_start():
    guard = SofteningGuard()
    assert guard.slope(math.nan, math.nan) is None
    assert guard.slope(2.0, math.nan) == ForceSlope(1.0, labelled=False)
    assert guard.slope(1.5, math.nan) == ForceSlope(0.75, labelled=False)
    assert guard.slope(1.5, 0.9) == ForceSlope(0.9, labelled=True)


def judged(*slopes):
    guard = SofteningGuard(prefix="--piwsl_")
    return [guard.judge(ForceSlope(slope, labelled=True)) for slope in slopes]


def test_a_warning_comes_once():
    messages = judged(0.95, 0.9, 0.85, 0.8)
    assert [message is not None for message in messages] == [False, False, True, False]
    assert "0.850" in messages[2]
    assert "--piwsl_pitc_weight" in messages[2]


def test_a_model_from_scratch_is_judged_once_its_slope_has_been_right():
    messages = judged(-0.01, -0.02, 0.3, 0.01, 0.8, 0.95, 0.8)
    assert [message is not None for message in messages] == [False] * 6 + [True]


def test_a_pretrained_model_that_starts_soft_is_judged_by_its_start():
    messages = judged(0.8, 0.75, 0.73, 0.7)
    assert [message is not None for message in messages] == [False, False, False, True]
    assert "below 0.72" in messages[3]
