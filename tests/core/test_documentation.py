"""The documentation says what the code does."""

import re
from pathlib import Path

from piwsl_plugins.core.option_table import markdown_table
from piwsl_plugins.core.settings import options

ROOT = Path(__file__).parents[2]


def test_the_option_table_is_the_generated_one():
    assert markdown_table() in (ROOT / "docs" / "options.md").read_text(), (
        "run: python -m piwsl_plugins.core.option_table, and put the table into docs/options.md"
    )


def test_documented_options_exist():
    known = set(options())
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("configs/mace/*")]:
        for swa, name in re.findall(r"(?<![\w.])(swa_)?piwsl_([a-z_]+\b)", path.read_text()):
            name = name.rstrip("_")
            if name not in ("plugins", "softening", ""):
                assert f"{swa}{name}" in known, f"{path.name}: {swa}piwsl_{name}"


def test_links_between_documents_lead_somewhere():
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
