"""What a reader sees first: what stands out in the numbers, and a sentence for each table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import comparison, parts
from .wording import Remark, has_flat_energies

#: so many things stand out at most
MOST = 6


def findings(summary: dict[str, Any]) -> list[dict[str, str]]:
    """What matters most: at most :data:`MOST` of ``{"model", "kind", "text"}``, in that order."""
    found = [
        (name, remark)
        for name in summary["models"]
        for several in (
            *(part.remarks(summary, name) for part in parts.PARTS),
            _compared(summary, name),
        )
        for remark in several
    ]
    found.sort(key=lambda item: -item[1].weight)
    return [
        {"model": name, "kind": remark.kind, "text": remark.text} for name, remark in found[:MOST]
    ]


def verdicts(summary: dict[str, Any]) -> dict[str, str]:
    """A sentence by the heading of each table; one without any has none."""
    found = {part.heading: part.verdict(summary) for part in parts.PARTS}
    return {heading: text for heading, text in found.items() if text}


def _compared(summary: dict[str, Any], name: str) -> Iterator[Remark]:
    """Errors beside those of the first model: what is better, what worse, what undetermined."""
    errors = [error for part in parts.PARTS for error in part.compared(summary, name)]
    changes = [c for error in errors if (c := comparison.change(summary, name, error)) is not None]
    first = summary["baseline"]
    for side, kind, weight, words in (
        (comparison.ABOVE, "bad", 75, f"worse than {first}"),
        (comparison.BELOW, "good", 70, f"better than {first}"),
        (comparison.UNDETERMINED, "note", 25, f"against {first}"),
    ):
        members = [change.text for change in changes if change.kind == side]
        if has_flat_energies(summary["models"][name]) and kind == "good":
            kind = "note"
        if members:
            yield Remark(kind, weight, f"{words}: {'; '.join(members)}")
