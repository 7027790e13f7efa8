"""Options: what is refused, how it is said, and that each is written once."""

import dataclasses
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.options.option import Group, option
from piwsl_plugins.options.settings import PRESETS, Schedule, Settings, default_text
from piwsl_plugins.terms.schedule import weight_factor
from piwsl_plugins.terms.term_table import weights_of
from piwsl_plugins.terms.training_log import describe_options


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("pitc_weight", -1.0, "at least 0"),
        ("pisc_weight", "much", "a number"),
        ("pitc_weight", float("nan"), "a number"),
        ("pitc_weight", float("inf"), "a number"),
        ("pitc_weight", True, "a number"),
        ("max_displacement", 0.0, "above 0"),
        ("max_displacement", 0.51, "at most 0.5 Å"),
        ("displacement", "random", "one of uniform, atom_norm, structure_norm, adversarial"),
        ("displacement", "fixed_length", "atom_norm now"),
        ("pitc_form", "first_order", "called consistency_form now"),
        ("metric", "mse", "leave it out"),
        ("normalization", "none", "per_atom"),
        ("consistency_form", "half", "first_order, trapezoid, symmetric, auto"),
        ("start_epoch", -1, "at least 0"),
        ("interval", 0, "at least 1"),
        ("interval", 1.5, "a whole number"),
        ("interval", float("inf"), "a whole number"),
        ("preset", "strong", "safe, paper"),
        ("pitc_weight", "auto", "at least 0"),
        ("hessian_form", "vectors", "forces, symmetric, energies"),
        ("hessian_step", 0.2, "at most 0.1 Å"),
        ("hessian_weight", 1.0, "hessian_file"),
        ("pool_file", "", "the path of a file"),
        ("pool_per_batch", 0, "at least 1"),
        ("softening_guard", "stop", "one of warn, off"),
    ],
)
def test_a_wrong_value_is_refused_with_name_value_and_remedy(name, value, words):
    with pytest.raises(SettingsError) as caught:
        Settings.create({name: value})
    text = str(caught.value)
    assert f"'{name}'" in text
    assert repr(value) in text
    assert words in text


def test_structures_of_a_pool_have_no_supervised_loss_to_be_displaced_along():
    given = {"displacement": "adversarial", "max_displacement": 0.03}
    Settings.create(given)
    with pytest.raises(SettingsError, match="leave pool_file out") as caught:
        Settings.create({**given, "pool_file": "pool.xyz"})
    assert (caught.value.name, caught.value.value) == ("displacement", "adversarial")


def test_an_unknown_option_suggests_the_right_one():
    with pytest.raises(SettingsError, match="did you mean 'pitc_weight'"):
        Settings.create({"pitc_wieght": 1.0})


def test_pisc_has_no_form_without_forces():
    with pytest.raises(SettingsError, match=r"consistency_form.*PISC follows the forces"):
        Settings.create({"pisc_weight": 1.0, "consistency_form": "symmetric"})


@pytest.mark.parametrize(
    ("given", "base_uses_forces", "form"),
    [
        ({}, True, "first_order"),
        ({}, False, "symmetric"),
        ({"pisc_weight": 1.0}, False, "first_order"),
        ({"hessian_file": "labels.npz"}, False, "first_order"),
        ({"hessian_file": "labels.npz", "hessian_form": "energies"}, False, "symmetric"),
        ({"consistency_form": "first_order"}, False, "first_order"),
        ({"consistency_form": "symmetric"}, True, "symmetric"),
        ({"preset": "paper"}, False, "trapezoid"),
    ],
)
def test_the_form_that_is_chosen(given, base_uses_forces, form):
    settings = Settings.create(given).decided(base_uses_forces, 1.0)
    assert settings.consistency.consistency_form == form


def test_weights_that_follow_from_others():
    assert weights_of(Settings.create({}).decided(True, 100.0)) == {"pitc": 0.001}
    labels = {"hessian_file": "labels.npz"}
    assert weights_of(Settings.create(labels).decided(True, 100.0)) == {"hessian": 100.0}
    given = {**labels, "hessian_weight": 3.0, "pitc_weight": 0.5, "pisc_weight": 0.1}
    weights = weights_of(Settings.create(given).decided(True, 100.0))
    assert weights == {"pitc": 0.5, "pisc": 0.1, "hessian": 3.0}
    off = Settings.create({**labels, "hessian_weight": 0.0}).decided(True, 100.0)
    assert weights_of(off) == {}


def test_the_paper_preset_is_the_published_setting():
    paper = Settings.create({"preset": "paper"}).consistency
    assert (paper.pitc_weight, paper.pisc_weight) == (1.2, 0.01)
    assert (paper.consistency_form, paper.max_displacement) == ("trapezoid", 0.05)
    assert paper.displacement == "atom_norm"
    assert paper.normalization == "total"


def test_given_options_win_over_the_preset():
    settings = Settings.create({"preset": "paper", "pitc_weight": 0.5})
    assert settings.consistency.pitc_weight == 0.5


def test_the_default_preset_is_safe():
    assert Settings.create({}) == Settings() == Settings.create({"preset": "safe"})
    assert Settings().consistency.pitc_weight < PRESETS["paper"]["pitc_weight"]


def test_strings_of_a_command_line_are_converted():
    settings = Settings.create({"pitc_weight": "0.5", "interval": "3"})
    assert (settings.consistency.pitc_weight, settings.schedule.interval) == (0.5, 3)


def test_options_are_known_by_flat_names():
    settings = Settings.create({"preset": "paper", "pool_file": "pool.xyz"})
    assert Settings.create(settings.values()) == settings
    changed = settings.replace(interval=3, pisc_weight=0.0)
    assert (changed.schedule.interval, changed.consistency.pisc_weight) == (3, 0.0)
    assert changed.pool == settings.pool


def test_a_framework_adds_a_group_of_its_own():
    @dataclasses.dataclass(frozen=True)
    class Own(Group):
        flavour: str = option("plain", "How.", kind=str, choices={"plain": "", "sweet": ""})

    @dataclasses.dataclass(frozen=True)
    class OwnSettings(Settings):
        own: Own = dataclasses.field(default_factory=Own)

    settings = OwnSettings.create({"flavour": "sweet", "interval": 2})
    assert (settings.own.flavour, settings.schedule.interval) == ("sweet", 2)
    with pytest.raises(SettingsError, match="one of plain, sweet"):
        OwnSettings.create({"flavour": "sour"})
    with pytest.raises(SettingsError, match="no such option"):
        Settings.create({"flavour": "sweet"})


def test_every_option_has_help_and_a_default_text():
    for name, described in Settings.options().items():
        assert described.help.endswith((".", ").")), name
        assert default_text(Settings, name)
    assert "1.2" in default_text(Settings, "pitc_weight")


def test_the_log_names_what_differs_from_the_defaults():
    assert describe_options(Settings()) == ["all as by default"]
    settings = Settings.create({"max_displacement": 0.1, "pitc_weight": 0.0})
    assert describe_options(settings) == ["pitc_weight=0.0", "max_displacement=0.1 Å"]


def test_settings_load_neither_torch_nor_a_framework():
    code = "import sys, piwsl_plugins.options.settings; print({'torch','numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_schedule():
    options = Schedule(start_epoch=2, ramp_epochs=3, interval=4)
    ramp = [weight_factor(options, epoch, 0) for epoch in range(8)]
    assert ramp == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    acts = [weight_factor(options, 6, step) > 0 for step in range(6)]
    assert acts == [True, False, False, False, True, False]


def test_names_with_numbers():
    @dataclasses.dataclass(frozen=True)
    class Levels(Group):
        levels: Mapping[str, Sequence[int]] | None = option(None, "…", kind=dict)

    assert Levels({"dataset": [0, 2], "head": 1}).levels == {"dataset": [0, 2], "head": [1]}
    for wrong in ({}, {"dataset": []}, {"dataset": "0"}, {"dataset": [0.5]}, [0], 0, {"a": True}):
        with pytest.raises(SettingsError, match="a mapping of names to lists of whole numbers"):
            Levels(wrong)


@dataclasses.dataclass(frozen=True)
class Flags(Group):
    """Kinds that the options of a training do not have."""

    flag: bool = option(False, "on or off", kind=bool)
    lengths: tuple[float, ...] = option((1.0, 2.0), "some lengths", minimum=0.0, unit="Å")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lengths": ()}, "'lengths' = (): allowed is one or more values"),
        ({"lengths": (1.0, -1.0)}, "'lengths' = -1.0: allowed is a number of at least 0 Å"),
        ({"flag": 1}, "'flag' = 1: allowed is True or False"),
    ],
)
def test_flags_and_several_values_are_checked_one_by_one(given, words):
    with pytest.raises(SettingsError) as error:
        Flags(**given)
    assert str(error.value) == f"PIWSL option {words}"


def test_several_values_are_a_tuple_of_their_kind():
    assert Flags(lengths=["3", 4], flag=True) == Flags(True, (3.0, 4.0))
    assert Flags().lengths == (1.0, 2.0)
