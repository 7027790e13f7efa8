"""The documentation says what the code does."""

import re
from pathlib import Path

from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.tools.option_table import markdown_table

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


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


def test_links_between_documents_lead_somewhere():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
