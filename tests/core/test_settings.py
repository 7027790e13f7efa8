"""Options: what is refused, how it is said, and that each is written once."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from piwsl_plugins.core.penalty import penalty
from piwsl_plugins.core.schedule import weight_factor
from piwsl_plugins.core.settings import PRESETS, Settings, SettingsError, default_text, options


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("pitc_weight", -1.0, "at least 0"),
        ("pisc_weight", "much", "a number"),
        ("pitc_weight", float("nan"), "a number"),
        ("max_displacement", 0.0, "above 0"),
        ("max_displacement", 0.51, "at most 0.5 Å"),
        ("displacement", "random", "one of uniform, one_sided"),
        ("displaced_fraction", 1.5, "at most 1"),
        ("metric", "rmse", "one of mse, mae, huber"),
        ("normalization", "none", "per_atom"),
        ("anchor", "labels", "prediction, label"),
        ("pisc_vertex", "somewhere", "extrapolated"),
        ("start_epoch", -1, "at least 0"),
        ("interval", 0, "at least 1"),
        ("interval", 1.5, "a whole number"),
        ("base_loss", "forces_only", "has no energy"),
        ("heads", ",", "names"),
        ("preset", "strong", "safe, paper"),
        ("pitc_weight", "automatic", "at least 0 or auto"),
        ("pitc_target", "hessian", "zero, curvature, reference"),
        ("softening_threshold", 1.5, "at most 1"),
        ("curvature_file", "labels.npz", "pitc_target 'curvature'"),
        ("reference_model", "some.model", "'reference' or 'ceiling' or 'floor'"),
        ("curvature_bound", 20.0, "'ceiling' or 'floor'"),
        ("unlabeled_file", "", "the path of a file"),
    ],
)
def test_a_wrong_value_is_refused_with_name_value_and_remedy(name, value, words):
    with pytest.raises(SettingsError) as caught:
        Settings.create({name: value})
    text = str(caught.value)
    assert f"'{name}'" in text
    assert repr(value) in text
    assert words in text


def test_an_unknown_option_suggests_the_right_one():
    with pytest.raises(SettingsError, match="did you mean 'pitc_weight'"):
        Settings.create({"pitc_wieght": 1.0})


def test_adversarial_displacements_cannot_start_a_path():
    with pytest.raises(SettingsError, match="pisc_vertex"):
        Settings(displacement="adversarial", pisc_vertex="all")


@pytest.mark.parametrize("target", ["curvature", "ceiling", "floor"])
def test_pisc_has_two_targets_only(target):
    with pytest.raises(SettingsError, match="pisc_weight"):
        Settings.create({"pitc_target": target, "pisc_weight": 1.0})
    Settings.create({"pitc_target": "reference", "pisc_weight": 1.0})


@pytest.mark.parametrize("option", [{"displacement": "adversarial"}, {"anchor": "label"}])
def test_the_symmetric_form_has_no_forces(option):
    with pytest.raises(SettingsError, match="uses no forces"):
        Settings.create({"pitc_form": "symmetric", **option})
    assert Settings.create(option).with_form(False).pitc_form == "first_order"


@pytest.mark.parametrize(
    ("given", "base_uses_forces", "form"),
    [
        ({}, True, "first_order"),
        ({}, False, "symmetric"),
        ({"pisc_weight": 1.0}, False, "first_order"),
        ({"pitc_target": "curvature"}, True, "symmetric"),
        ({"pitc_target": "curvature", "pitc_form": "first_order"}, False, "first_order"),
        ({"pitc_target": "reference"}, True, "first_order"),
    ],
)
def test_the_form_that_is_chosen(given, base_uses_forces, form):
    settings = Settings.create(given).with_form(base_uses_forces)
    assert settings.pitc_form == form
    assert settings.needs_forces() == (form == "first_order")


def test_default_weights_and_bounds_follow_the_target():
    assert Settings().pitc_weight == 0.001
    assert Settings(pitc_target="curvature").pitc_weight == 1e4
    assert Settings(pitc_target="ceiling").curvature_bound == 100.0
    assert Settings().curvature_bound is None
    assert Settings().auto_gradient_ratio == 0.01
    assert Settings(pitc_target="curvature").auto_gradient_ratio == 0.1
    assert Settings(auto_gradient_ratio=0.5).auto_gradient_ratio == 0.5
    assert Settings(pitc_weight="auto").uses("pitc")
    assert not Settings(pitc_weight=0).uses("pitc")


def test_settings_can_be_made_again_from_their_values():
    for given in ({}, {"pitc_target": "floor"}, {"pitc_weight": "auto", "preset": "paper"}):
        settings = Settings.create(given)
        assert Settings(**dataclasses.asdict(settings)) == settings


def test_the_paper_preset_is_the_published_setting():
    paper = Settings.create({"preset": "paper"})
    assert (paper.pitc_weight, paper.pisc_weight) == (1.2, 0.01)
    assert (paper.max_displacement, paper.displacement) == (0.05, "one_sided")
    assert paper.normalization == "total"


def test_given_options_win_over_the_preset():
    assert Settings.create({"preset": "paper", "pitc_weight": 0.5}).pitc_weight == 0.5


def test_the_default_preset_is_safe():
    assert Settings.create({}) == Settings() == Settings.create({"preset": "safe"})
    assert Settings().pitc_weight < PRESETS["paper"]["pitc_weight"]


def test_strings_of_a_command_line_are_converted():
    settings = Settings.create({"pitc_weight": "0.5", "interval": "3", "heads": "a, b"})
    assert (settings.pitc_weight, settings.interval, settings.heads) == (0.5, 3, ("a", "b"))


def test_stage_two_weights_default_to_stage_one():
    assert Settings(pitc_weight=0.3).stage_two().pitc_weight == 0.3
    assert Settings(pitc_weight=0.3, swa_pitc_weight=0.0).stage_two().pitc_weight == 0.0
    assert Settings(swa_pisc_weight=0.7).stage_two().pisc_weight == 0.7


def test_every_option_has_help_and_a_default_text():
    for name, option in options().items():
        assert option.help.endswith(".") or option.help.endswith(")."), name
        assert default_text(name)
    assert "1.2" in default_text("pitc_weight")


def test_settings_load_neither_torch_nor_a_framework():
    code = "import sys, piwsl_plugins.core.settings; print({'torch','numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_schedule():
    settings = Settings(start_epoch=2, ramp_epochs=3, interval=4)
    assert [weight_factor(settings, epoch, 0) for epoch in range(8)] == [
        0.0,
        0.0,
        0.25,
        0.5,
        0.75,
        1.0,
        1.0,
        1.0,
    ]
    assert [weight_factor(settings, 6, step) > 0 for step in range(6)] == [
        True,
        False,
        False,
        False,
        True,
        False,
    ]


def test_penalties():
    residual, n_atoms = torch.tensor([[0.2, -4.0]]), torch.tensor([2.0, 4.0])
    squares = penalty(Settings(), residual, n_atoms)
    torch.testing.assert_close(squares, torch.tensor([[0.01, 1.0]]))
    total = Settings(normalization="total", metric="mae")
    torch.testing.assert_close(penalty(total, residual, n_atoms), residual.abs())
    huber = Settings(metric="huber", huber_delta=0.5)
    torch.testing.assert_close(
        penalty(huber, residual, n_atoms), torch.tensor([[0.005, 0.5 * (1.0 - 0.25)]])
    )
