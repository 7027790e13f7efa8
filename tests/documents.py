"""Examples of the documentation, to be run where their framework is."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def examples(page: str, heading: str) -> list[str]:
    """The blocks of Python below a heading of a page of docs/."""
    text = (DOCS / page).read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found
    return found
