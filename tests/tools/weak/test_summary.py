"""What is said at the end."""

import argparse
from pathlib import Path

from piwsl_plugins.tools.weak.cheap import is_learned
from piwsl_plugins.tools.weak.summary import advise, describe, next_commands

CHEAP = {"energy": 0.0038, "forces": 0.1196}


def test_errors_are_in_the_units_of_the_field():
    held_out, spread = {"energy": 0.002, "forces": 0.05}, {"energy": 0.001, "forces": 0.02}
    lines = describe(10, CHEAP, held_out, 3, spread)
    assert "3.80 meV/atom" in lines[1] and "119.6 meV/Å" in lines[1] and "3 held-out" in lines[1]
    assert "2.00 meV/atom" in lines[2] and "50.0 meV/Å" in lines[2] and "the same" in lines[2]
    assert "1.00 meV/atom" in lines[3] and "20.0 meV/Å" in lines[3]


def test_without_held_out_frames_the_error_is_that_on_the_training_frames():
    lines = describe(10, CHEAP, {}, 0, {})
    assert len(lines) == 2 and "3.80 meV/atom" in lines[1] and "10 training frames" in lines[1]


def test_a_correction_that_helps_gets_no_advice():
    assert advise(CHEAP, {"energy": 0.002, "forces": 0.05}, learned=False) == []


def test_a_correction_that_does_not_help_is_warned_of():
    (line,) = advise(CHEAP, {"energy": 0.002, "forces": 0.13}, learned=False)
    assert line.startswith("WARNING") and "109%" in line and "--models 0" in line


def test_forces_that_are_learned_do_not_hide_energies_that_are_not():
    (line,) = advise(CHEAP, {"energy": 0.005, "forces": 0.05}, learned=False)
    assert line.startswith("WARNING") and "5 instead of 3.8 meV/atom" in line


def test_a_learned_cheap_method_is_better_fine_tuned(tmp_path):
    (line,) = advise(CHEAP, {}, learned=True)
    assert "no better than fine-tuning" in line
    model = tmp_path / "cheap.model"
    model.touch()
    assert is_learned(str(model))
    assert not is_learned("GFN2-xTB") and not is_learned(None)


def test_the_next_commands_can_be_pasted():
    files = {"training": Path("my train.xyz"), "out": Path("weak.xyz")}
    options = argparse.Namespace(**files, offsets=False)
    text = "\n".join(next_commands(options, corrected=True))
    assert "--piwsl_pool_file=weak.xyz --train_file='my train.xyz'" in text
    assert "pool_file: weak.xyz" in text
    text = "\n".join(next_commands(options, corrected=False))
    assert "cat 'my train.xyz' weak.xyz > both.xyz" in text and "pool_file" not in text
