"""The parts of the report, in the order of reading: a module each, with its ``PART``."""

from __future__ import annotations

import importlib
from typing import Any

from ..part import Part
from ..quantities import Quantity

MODULES = (
    "label_errors",
    "consistency_residuals",
    "scans",
    "dynamics_runs",
    "frequency_errors",
    "phonon_errors",
)

PARTS: tuple[Part[Any], ...] = tuple(
    importlib.import_module(f".{name}", __name__).PART for name in MODULES
)


def choices() -> dict[str, str]:
    """What ``--parts`` may hold, in order, and what each is."""
    found: dict[str, list[str]] = {}
    for part in PARTS:
        found.setdefault(part.choice, []).append(part.about)
    return {name: ", ".join(about) for name, about in found.items()}


def quantities() -> dict[str, Quantity]:
    """The rows of all tables by key, in order.

    Raises:
        ValueError: if two rows have the same key, of which one would take the place of the other.
    """
    found: dict[str, Quantity] = {}
    for part in PARTS:
        for quantity in part.quantities:
            if quantity.key in found:
                raise ValueError(
                    f"part '{part.name}': another row has the key '{quantity.key}'; give it another"
                )
            found[quantity.key] = quantity
    return found
