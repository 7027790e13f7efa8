import numpy as np
import pytest

from piwsl_plugins.tools.report.resampling import Ratio, difference, estimate


def coverage(truth, ratio_of, repeats=250, n_frames=40):
    inside = 0
    for seed in range(repeats):
        found = estimate(ratio_of(np.random.default_rng(seed), n_frames), 500, seed)
        inside += found.low <= truth <= found.high
    return inside / repeats


def test_intervals_of_an_rmse_cover_the_truth():
    def ratio(rng, n_frames):
        # components of one frame share its scale: frames, not components, are independent
        scale = np.exp(0.3 * rng.standard_normal((n_frames, 1)))
        errors = 0.1 * scale * rng.standard_normal((n_frames, 27))
        return Ratio.over((errors**2).sum(axis=1), 27, root=True)

    # √E[scale²] = exp(0.3²)
    assert 0.88 <= coverage(0.1 * np.exp(0.3**2), ratio) <= 0.99


def test_intervals_of_a_slope_cover_the_truth():
    def ratio(rng, n_frames):
        forces = rng.standard_normal((n_frames, 27))
        predicted = 0.95 * forces + 0.1 * rng.standard_normal((n_frames, 27))
        return Ratio.over((forces * predicted).sum(axis=1), (forces**2).sum(axis=1))

    assert 0.90 <= coverage(0.95, ratio) <= 0.99


def test_pairing_removes_the_scatter_that_two_models_share():
    rng = np.random.default_rng(0)
    shared = np.exp(rng.standard_normal(60))
    old = Ratio.over(shared, 1)
    new = Ratio.over(shared + 0.01 + 0.001 * rng.standard_normal(60), 1)
    found = difference(new, old, 1000, 0)
    assert found.value == pytest.approx(0.01, abs=5e-4)
    assert found.low > 0.009 and found.high < 0.011
    alone = estimate(old, 1000, 0)
    assert alone.high - alone.low > 0.2


def test_no_interval_without_spread_or_with_too_few_frames():
    same = estimate(Ratio.over([2.0] * 10, 1), 200, 0)
    assert (same.value, same.low, same.high) == (2.0, 2.0, 2.0)
    few = estimate(Ratio.over([1.0, 3.0], 1), 200, 0)
    assert few.value == 2.0 and np.isnan(few.low) and np.isnan(few.high)


def test_a_ratio_weighs_frames_by_their_size():
    assert Ratio.over([4.0, 0.0], [1, 3], root=True).value == 1.0
