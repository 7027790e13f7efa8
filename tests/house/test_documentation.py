"""The documentation says what the code does."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.tools.command import VERBS
from piwsl_plugins.tools.option_table import markdown_table
from piwsl_plugins.tools.report.arguments import merge_parser, training_parser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
CONFIGS = [*ROOT.glob("configs/*/*.yaml")]


def commands(program):
    """What documents and configs show as a command of a program: where, and its arguments."""
    found = []
    for path in [*DOCUMENTS, *CONFIGS]:
        text = path.read_text(encoding="utf-8")
        if path in CONFIGS:
            text = re.sub("^# *", "", text, flags=re.MULTILINE)
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            start = re.match(rf"(?: {{4}}|srun )?{program} ", line)
            if start:
                found.append((path.name, shlex.split(line[start.end() :], comments=True)))
    assert found
    return found


def parser_of(words):
    """The parser of a verb of ``piwsl``, and the arguments left for it."""
    verb, *rest = words
    if verb == "report" and rest[0] in ("merge", "training"):
        return {"merge": merge_parser, "training": training_parser}[rest[0]](), rest[1:]
    return importlib.import_module(f"piwsl_plugins.tools.{verb}.arguments").build_parser(), rest


def test_the_option_table_is_the_generated_one():
    assert markdown_table() in (ROOT / "docs" / "options.md").read_text(encoding="utf-8"), (
        "run: python -m piwsl_plugins.tools.option_table, and put the table into docs/options.md"
    )


def test_documented_options_exist():
    known = set(MaceSettings.options())
    for path in [*DOCUMENTS, *ROOT.glob("configs/mace/*")]:
        text = path.read_text(encoding="utf-8")
        for swa, name in re.findall(r"(?<![\w./])(swa_)?piwsl_([a-z_]+\b)", text):
            name = name.rstrip("_")
            if name not in ("plugins", "softening", ""):
                assert f"{swa}{name}" in known, f"{path.name}: {swa}piwsl_{name}"


def test_documented_commands_of_piwsl_are_understood(capsys):
    for where, words in commands("piwsl"):
        if words[0] not in VERBS:
            continue
        parser, given = parser_of(words)
        options = {word.partition("=")[0] for word in given if word.startswith("--")}
        unknown = options - set(parser._option_string_actions)
        assert not unknown, f"{where}: piwsl {words[0]} … {unknown}"
        if not {"…", "..."} & set(given):  # the whole command
            try:
                parser.parse_args(given)
            except SystemExit:
                pytest.fail(f"{where}: piwsl {shlex.join(words)}: {capsys.readouterr().err}")


def test_documented_commands_of_mace_have_options_that_exist():
    arg_parser = pytest.importorskip("mace.tools.arg_parser")
    known = set(arg_parser.build_default_arg_parser()._option_string_actions)
    known |= {f"--piwsl_{name}" for name in MaceSettings.options()}
    for where, words in commands("mace_run_train"):
        for word in words:
            option = word.partition("=")[0]
            assert option[:2] != "--" or option in known, f"{where}: mace_run_train … {word}"


def test_documented_configs_and_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in [*DOCUMENTS, *CONFIGS]:
        text = path.read_text(encoding="utf-8")
        for config in re.findall(r"configs/\w+/\w+\.yaml", text):
            assert (ROOT / config).is_file(), f"{path.name}: {config}"
        for target in re.findall(r"(?:^ {4}|`)make ([\w-]+)", text, re.MULTILINE):
            assert target in targets, f"{path.name}: make {target}"


def test_links_between_documents_lead_somewhere():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def pages(entry):
    """The files of mkdocs.yml's nav, in its order."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in pages(part)]


def test_every_page_is_in_the_navigation_of_the_site_once():
    nav = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    written = [page for page in nav if not page.startswith("configs/")]
    assert sorted(written) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
