"""What the log says of the terms."""

import math

import pytest
import torch

from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.options.settings import Settings
from piwsl_plugins.terms.term_table import terms_of, weights_of
from piwsl_plugins.terms.training_log import (
    EpochStatistics,
    describe,
    describe_first_step,
    dominance_warning,
)

SETTINGS = Settings.create(
    {"pitc_weight": 0.5, "pisc_weight": 0.1, "hessian_file": "labels.npz"}
).decided(True, 100.0)
TERMS = terms_of(SETTINGS, HessianLabels([]))


def test_means_over_an_epoch():
    statistics = EpochStatistics()
    for base, term, residual in ((2.0, 0.5, [0.03]), (4.0, 1.5, [0.04, 0.0])):
        statistics.add("base", torch.tensor(base))
        statistics.add_term("pitc", torch.tensor(term), torch.tensor(residual))
    statistics.add_term("hessian", torch.tensor(3.0), torch.tensor([2.0, -2.0]))
    statistics.add_term("pisc", torch.tensor(0.0), torch.zeros(0))
    means = statistics.take(reduce=False)
    assert means["base"] == 3.0
    assert means["pitc"] == 1.0
    assert means["pitc_rms"] == pytest.approx(math.sqrt(0.0025 / 3))
    text = describe(means, TERMS)
    assert text == (
        "base_loss=3.0000e+00, pitc=1.0000e+00 (RMS residual 28.87 meV/atom), "
        "pisc=0.0000e+00 (RMS residual of no structure), "
        "hessian=3.0000e+00 (RMS residual 2.000 eV/Å²)"
    )
    assert statistics.take(reduce=False) == {}


def test_steps_without_a_label_are_left_out_of_means():
    statistics = EpochStatistics()
    for value in (1.0, math.nan, 3.0):
        statistics.add("base", torch.tensor(value))
    assert statistics.take(reduce=False) == {"base": 2.0}
    statistics.add("base", torch.tensor(math.nan))
    assert math.isnan(statistics.take(reduce=False)["base"])


def test_the_first_step_shows_residuals_beside_the_energy_error():
    means = {"pitc": 1.0, "pitc_rms": 0.03, "energy_error_rms": 0.5}
    text = "RMS pitc residual 30.00 meV/atom, energy RMSE 500.00 meV/atom"
    assert describe_first_step(means, TERMS) == text


@pytest.mark.parametrize(
    ("means", "remedy"),
    [
        ({"base": 1.0, "pitc": 0.2}, "--piwsl_pitc_weight=0.2"),
        ({"base": 0.0, "pitc": 0.2}, "a smaller --piwsl_pitc_weight"),
        ({"base": 1.0, "pitc": 0.05, "hessian": 5.0, "pisc": 5.0}, None),
        ({"base": 0.0, "pitc": 0.0}, None),
        ({"base": 1.0}, None),
    ],
)
def test_only_a_term_that_flattens_the_potential_is_warned_of(means, remedy):
    warning = dominance_warning(
        means, weights_of(SETTINGS) | {"pitc": 0.4}, TERMS, "--piwsl_{}".format
    )
    assert (warning is None) == (remedy is None)
    assert remedy is None or remedy in warning
