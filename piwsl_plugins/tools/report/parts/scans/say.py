"""What is said of scans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...wording import Remark, sentence

#: an energy jump along a scan beyond this is no error of the integration (meV)
JUMP_LIMIT = 10.0


def remarks(model: dict[str, Any]) -> Iterator[Remark]:
    """What stands out of a model."""
    problems = _problems(model)
    if problems:
        more = f" (and {len(problems) - 1} more of this kind)" if len(problems) > 1 else ""
        yield Remark("bad", 82, problems[0] + more)


def verdict(summary: dict[str, Any]) -> str:
    """The sentence over the table."""
    models = {n: m for n, m in summary["models"].items() if m["scans"]}
    rough = [name for name, model in models.items() if _problems(model)]
    if not models:
        return ""
    if rough:
        return sentence([f"energies jump or are not finite along scans of {', '.join(rough)}"])
    return sentence([f"no energy jumps by more than {JUMP_LIMIT:g} meV along a scan"])


def _problems(model: dict[str, Any]) -> list[str]:
    """Scans with energies that are not finite or jump, in words."""
    found = []
    for scan in model["scans"].values():
        if scan["not_finite"]:
            found.append(f"{scan['not_finite']} points of the scan {scan['title']} are not finite")
        if scan["jump"] > JUMP_LIMIT:
            found.append(
                f"along the scan {scan['title']} the energy jumps by {scan['jump']:.3g} meV beyond "
                "what the forces explain"
            )
    return found
