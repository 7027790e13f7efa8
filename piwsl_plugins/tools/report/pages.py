"""``summary.md`` and ``report.html``: the same tables, for a terminal and for a browser."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from ..storage import write_text
from . import parts
from .figures import SavedFigure
from .quantities import Quantity, best
from .resampling import Estimate

#: size of the figures in the HTML, the same for all, so that their letters are
PIXELS_PER_INCH = 86


@dataclasses.dataclass(frozen=True)
class TableCell:
    """One number of the table, in words, and whether it is the best of its row."""

    text: str
    interval: str
    best: bool


@dataclasses.dataclass(frozen=True)
class TableRow:
    """One quantity: a cell for each model, and for each but the first its difference."""

    label: str
    unit: str
    cells: list[TableCell]
    differences: list[TableCell]


def sections(summary: dict[str, Any]) -> list[tuple[str, list[TableRow]]]:
    """The rows of the summary table under their headings; quantities nobody has are left out."""
    found: dict[str, list[TableRow]] = {}
    for part in parts.PARTS:
        for quantity in part.quantities:
            row = _row(quantity, summary["models"], summary["baseline"])
            if row is not None:
                found.setdefault(part.heading, []).append(row)
    return list(found.items())


def write_markdown(summary: dict[str, Any], folder: Path) -> Path:
    """Write ``summary.md``."""
    path = folder / "summary.md"
    write_text(path, _render("summary.md.j2", summary))
    return path


def write_html(summary: dict[str, Any], figures: Sequence[SavedFigure], folder: Path) -> Path:
    """Write ``report.html``, with the figures inside it."""
    pictures = [
        {
            "title": figure.title,
            "caption": figure.caption,
            "width": round(PIXELS_PER_INCH * figure.width),
            "data": base64.b64encode(figure.path.read_bytes()).decode(),
        }
        for figure in figures
    ]
    path = folder / "report.html"
    write_text(path, _render("report.html.j2", summary, figures=pictures))
    return path


def _render(template: str, summary: dict[str, Any], **more: Any) -> str:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    models = list(summary["models"])
    return environment.get_template(template).render(
        summary=summary,
        sections=sections(summary),
        resampled="; ".join(f"{p.name}: {p.resampled}" for p in parts.PARTS if p.resampled),
        models=models,
        columns=[*models, *(f"{name} − {summary['baseline']}" for name in models[1:])],
        **more,
    )


def _row(quantity: Quantity, models: dict[str, Any], baseline: str) -> TableRow | None:
    values = _values(quantity.key, models)
    if not values:
        return None
    winners = best(quantity, values)
    if quantity.without_constant:
        winners &= _best_of(quantity.without_constant, models) or winners
    cells, differences = [], []
    for name, model in models.items():
        cells.append(_cell(values.get(name), quantity.digits, name in winners))
        if name != baseline:
            change = model["differences"].get(quantity.key)
            estimate = None if change is None else Estimate(**change)
            differences.append(_cell(estimate, 2, False, sign="+"))
    return TableRow(quantity.label, quantity.unit, cells, differences)


def _values(key: str, models: dict[str, Any]) -> dict[str, Estimate]:
    return {n: Estimate(**m["values"][key]) for n, m in models.items() if key in m["values"]}


def _best_of(key: str, models: dict[str, Any]) -> set[str]:
    return best(parts.quantities()[key], _values(key, models))


def _cell(found: Estimate | None, digits: int, is_best: bool, sign: str = "") -> TableCell:
    if found is None or not math.isfinite(found.value):
        return TableCell("–", "", False)
    interval = ""
    if math.isfinite(found.low) and math.isfinite(found.high):
        interval = f"[{_number(found.low, digits, sign)}, {_number(found.high, digits, sign)}]"
    return TableCell(_number(found.value, digits, sign), interval, is_best)


def _number(value: float, digits: int, sign: str = "") -> str:
    """With ``digits`` significant digits, without exponent where that is readable."""
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:{sign}.{decimals}f}".replace("-", "−")
    return f"{value:{sign}.{max(digits - 1, 0)}e}".replace("-", "−")
