"""The commands of docs/student.md, as the configs of a student show them, on the bundled data."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import ase.io
import numpy as np
import pytest

from piwsl_plugins.tools.command import main

ROOT = Path(__file__).parents[1]
#: instead of picoseconds
SHORT = {"pool": ["--equilibration", "1", "--spacing", "1", "--allow_reactions"]}
#: structures of a pool, and those that are chosen
POOL, CHOSEN = 10, 2


def commands(config):
    """Those in the comment of a config, in order, each a program and its arguments."""
    text = (ROOT / config).read_text(encoding="utf-8")
    comment = "".join(re.findall(r"^#(.*\n)", text, re.MULTILINE))
    lines = re.sub(r"\\\n\s*", " ", comment).splitlines()
    programs = ("piwsl", "mkdir", "cat", "mace_run_train", "nequip-train")
    shown = [line for line in lines if line.split() and line.split()[0] in programs]
    return [(first, rest) for first, *rest in (shlex.split(line, comments=True) for line in shown)]


def follow(config, folder, train):
    """Run them in a folder, but for the training of the teacher, with small pools.

    Args:
        config: of the students.
        folder: gets copies of data and configs, and has the teacher.
        train: called with the arguments of each training of a student.
    """
    for name in ("data", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    for program, words in commands(config):
        if program in ("mkdir", "cat"):
            line = [program, *words]
            quoted = " ".join(word if word == ">" else shlex.quote(word) for word in line)
            subprocess.run(quoted, shell=True, check=True, cwd=folder)
        elif program == "piwsl":
            verb, *given = words
            if "--n" in given:
                n = CHOSEN if verb == "select" else POOL
                given[given.index("--n") + 1] = str(n)
            assert main([verb, *given, *SHORT.get(verb, [])]) == 0
        elif "finetune_pretrain" not in " ".join(words):
            train(words)


def check_labels(teacher):
    """Those of both rounds are what the teacher, a calculator of ASE, says."""
    first, chosen, labelled, both = (
        ase.io.read(f"student/{name}.xyz", ":") for name in ("train", "chosen", "labelled", "both")
    )
    assert [len(first), len(labelled), len(both)] == [POOL, CHOSEN, POOL + CHOSEN]
    for own, atoms in zip(chosen, labelled, strict=True):
        assert "REF_energy" not in own.info  # the student's would be taken for the teacher's
        assert np.allclose(own.positions, atoms.positions, atol=1e-7)
    for atoms in both:
        copy = atoms.copy()
        copy.calc = teacher
        assert atoms.info["REF_energy"] == pytest.approx(copy.get_potential_energy(), abs=1e-4)
        assert np.allclose(atoms.arrays["REF_forces"], copy.get_forces(), atol=1e-4)
