"""Errors before training, the help text, and where the options come from."""

import argparse
import json

import pytest

from piwsl_plugins.mace import _hooks, arguments, process
from piwsl_plugins.mace.arguments import MaceSettings

from .conftest import command_line, frames, isolated_atoms


def parse(*given):
    from mace.tools import build_default_arg_parser

    return build_default_arg_parser().parse_args(["--name=x", *given])


def check(*given):
    from mace.tools import check_args

    return check_args(parse(*given))[0]


def refused(capsys, *given):
    """The one message with which a command line is refused."""
    with pytest.raises(SystemExit) as caught:
        check(*given)
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--swa_piwsl_pitc_weight", "--stage_two_piwsl_pitc_weight"])
def test_stage_two_weight_has_both_of_maces_spellings(capsys, flag):
    assert check("--loss=piwsl", f"{flag}=0.5").swa_piwsl_pitc_weight == 0.5
    assert "at least 0" in refused(capsys, "--loss=piwsl", f"{flag}=-0.5")


@pytest.mark.parametrize(("rank", "waits"), [("0", []), ("1", [process._GRACE])])
def test_other_ranks_leave_it_to_the_first_to_say_what_is_wrong(rank, waits, capsys, monkeypatch):
    """... and say it themselves where the first one goes on."""
    waited = []
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("SLURM_PROCID", "3")  # of the launcher that started the launcher
    monkeypatch.setattr(process.time, "sleep", waited.append)
    assert "there is no head other" in refused(capsys, "--loss=piwsl", "--piwsl_heads=other")
    assert waited == waits


def test_an_option_that_has_another_name_now(capsys):
    message = refused(capsys, "--loss=piwsl", "--piwsl_pitc_form=first_order")
    assert message.splitlines()[-1].endswith(
        "--piwsl_pitc_form=first_order: this option is called consistency_form now, for PITC and "
        "PISC together"
    )
    assert not any("pitc_form" in name for name in vars(check("--loss=piwsl")))


def test_unsupported_mace_version(capsys, monkeypatch):
    monkeypatch.setattr(_hooks.importlib.metadata, "version", lambda name: "0.3.13")
    message = refused(capsys, "--loss=piwsl")
    assert "mace-torch 0.3.13" in message
    assert "mace-torch >= 0.3.16, < 0.4" in message


def test_missing_hook_point(capsys, monkeypatch):
    import sys

    module = sys.modules["mace.tools.train"]
    monkeypatch.setattr(module, "train_one_epoch", module.train_one_epoch.piwsl_original)
    message = refused(capsys, "--loss=piwsl")
    assert "mace.tools.train.train_one_epoch" in message
    assert check("--loss=weighted").loss == "weighted"


def test_other_losses_see_the_arguments_that_plain_mace_has():
    assert not [name for name in vars(check("--loss=weighted")) if "piwsl" in name]


def test_resolved_arguments_are_plain_and_follow_the_base_loss():
    args = check("--loss=piwsl", "--piwsl_base_loss=stress", "--seed=7", "--piwsl_heads=Default")
    assert args.loss == "stress"
    assert args.piwsl_seed == 7
    ours = {name: value for name, value in vars(args).items() if "piwsl" in name}
    assert set(ours) == {"piwsl"} | {arguments.destination(name) for name in MaceSettings.options()}
    assert json.loads(json.dumps(ours)) == ours, "MACE writes its arguments as JSON for wandb"
    assert arguments.settings_of(args).mace.heads == ("Default",)


def test_checking_twice_changes_nothing():
    from mace.tools import check_args

    args = check("--loss=piwsl", "--piwsl_pitc_weight=0.5")
    before = json.loads(json.dumps(vars(args), default=str))
    after = vars(check_args(args)[0])
    assert {name: after[name] for name in before if "piwsl" in name or name == "loss"} == {
        name: before[name] for name in before if "piwsl" in name or name == "loss"
    }


def test_options_from_a_yaml_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "name: x\nloss: piwsl\npiwsl_preset: paper\npiwsl_pisc_weight: 0.5\npiwsl_seed: 3\n"
    )
    from mace.tools import build_default_arg_parser, check_args

    args, _ = check_args(build_default_arg_parser().parse_args([f"--config={path}"]))
    assert (args.piwsl_pitc_weight, args.piwsl_pisc_weight, args.piwsl_seed) == (1.2, 0.5, 3)


@pytest.mark.parametrize("given", ["first,second", "first, second", "[first, second]", "- second"])
def test_heads_in_a_yaml_file(given, tmp_path):
    path = tmp_path / "config.yaml"
    listed = f"\n  {given}" if given.startswith("-") else f" {given}"
    path.write_text('name: x\nloss: piwsl\nheads: \'{"first": {}, "second": {}}\'\n')
    with path.open("a") as file:
        file.write(f"piwsl_heads:{listed}\n")
    args = check(f"--config={path}")
    expected = ["second"] if given == "- second" else ["first", "second"]
    assert args.piwsl_heads == expected


def test_help_shows_every_option_once_with_default_and_unit():
    from mace.tools import build_default_arg_parser

    text = " ".join(build_default_arg_parser().format_help().split())
    assert "PIWSL (with --loss=piwsl)" in text
    for name in MaceSettings.options():
        assert text.count(f" --{arguments.destination(name)} ") >= 1, name
    assert "(default: 0.001, with hessian_file 0; preset paper: 1.2)" in text
    assert "[Å]" in text


def test_group_is_added_to_any_parser_with_a_loss():
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss", choices=["weighted"])
    arguments.add_arguments(parser)
    assert parser.parse_args(["--loss=piwsl"]).loss == "piwsl"


def test_frames_of_the_bundled_data_have_labels():
    """The fixtures of these tests rest on this."""
    assert all("REF_forces" in atoms.arrays for atoms in frames("ethanol_gfn2_train", 5))
    assert {len(atoms) for atoms in isolated_atoms("ethanol_gfn2_train")} == {1}
    assert command_line("here", {}, ema=True)[-1] == "--ema"
