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
from .analysis.quantities import BY_KEY, QUANTITIES, WITH_CONSTANT, Quantity, best
from .analysis.statistics import Estimate
from .figures.draw import Drawn

#: what each figure shows, under it in the HTML
CAPTIONS = {
    "parity": "Each point is a frame (energy) or a force component. On the line: exact.",
    "errors": "Bars are 95 % intervals from resampling frames.",
    "force_slope": "Regression of predicted on labelled forces through the origin. Below 1 the "
    "potential is too soft: barriers and frequencies come out too low.",
    "consistency": "How far the energy at r + δ is from its first-order expansion. For forces that "
    "are the gradient of the energy it is the curvature, and grows as ε². A smaller residual is "
    "not a better model: too small means too flat.",
    "curvature": "Second difference of the energy along the same random displacements.",
    "dynamics": "Thin lines are single runs. A run ends when a bond breaks, atoms collapse, the "
    "temperature runs away or a number is not finite.",
    "vibrations": "Modes of the Hessian-labelled structures, matched by rank; negative: imaginary. "
    "Off equilibrium they are local normal modes. Middle: each point is a mode, lines are medians; "
    "below zero the model is too soft. The largest 1 % of errors lie beyond the middle panel, and "
    "in the outermost bins of the right one.",
    "scans": "Smooth lines without jumps are wanted; the force is the component along the scan and "
    "should be minus the slope of the energy.",
    "phonons": "All at the reference's geometry, from the same displaced supercells; negative: "
    "imaginary. Bands below the reference's are too soft. A crystal with imaginary frequencies is "
    "unstable.",
}
#: size of the figures in the HTML, the same for all, so that their letters are
PIXELS_PER_INCH = 86


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number of the table, in words, and whether it is the best of its row."""

    text: str
    interval: str
    best: bool


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantity: a cell for each model, and for each but the first its difference."""

    label: str
    unit: str
    cells: list[Cell]
    differences: list[Cell]


def sections(summary: dict[str, Any]) -> list[tuple[str, list[Row]]]:
    """The rows of the summary table under their headings; quantities nobody has are left out."""
    found: dict[str, list[Row]] = {}
    for quantity in QUANTITIES:
        row = _row(quantity, summary["models"], summary["baseline"])
        if row is not None:
            found.setdefault(quantity.section, []).append(row)
    return list(found.items())


def write_markdown(summary: dict[str, Any], folder: Path) -> Path:
    """Write ``summary.md``."""
    path = folder / "summary.md"
    write_text(path, _render("summary.md.j2", summary))
    return path


def write_html(summary: dict[str, Any], figures: Sequence[Drawn], folder: Path) -> Path:
    """Write ``report.html``, with the figures inside it."""
    pictures = [
        {
            "title": figure.title,
            # of several with one subject, figures are numbered
            "caption": CAPTIONS[figure.path.stem.rstrip("0123456789").rstrip("_")],
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
        models=models,
        columns=[*models, *(f"{name} − {summary['baseline']}" for name in models[1:])],
        **more,
    )


def _row(quantity: Quantity, models: dict[str, Any], baseline: str) -> Row | None:
    values = _values(quantity.key, models)
    if not values:
        return None
    winners = best(quantity, values)
    if quantity.key in WITH_CONSTANT:
        winners &= _best_of(WITH_CONSTANT[quantity.key], models) or winners
    cells, differences = [], []
    for name, model in models.items():
        cells.append(_cell(values.get(name), quantity.digits, name in winners))
        if name != baseline:
            change = model["differences"].get(quantity.key)
            estimate = None if change is None else Estimate(**change)
            differences.append(_cell(estimate, 2, False, sign="+"))
    return Row(quantity.label, quantity.unit, cells, differences)


def _values(key: str, models: dict[str, Any]) -> dict[str, Estimate]:
    return {n: Estimate(**m["values"][key]) for n, m in models.items() if key in m["values"]}


def _best_of(key: str, models: dict[str, Any]) -> set[str]:
    return best(BY_KEY[key], _values(key, models))


def _cell(found: Estimate | None, digits: int, is_best: bool, sign: str = "") -> Cell:
    if found is None or not math.isfinite(found.value):
        return Cell("–", "", False)
    interval = ""
    if math.isfinite(found.low) and math.isfinite(found.high):
        interval = f"[{_number(found.low, digits, sign)}, {_number(found.high, digits, sign)}]"
    return Cell(_number(found.value, digits, sign), interval, is_best)


def _number(value: float, digits: int, sign: str = "") -> str:
    """With ``digits`` significant digits, without exponent where that is readable."""
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:{sign}.{decimals}f}".replace("-", "−")
    return f"{value:{sign}.{max(digits - 1, 0)}e}".replace("-", "−")
