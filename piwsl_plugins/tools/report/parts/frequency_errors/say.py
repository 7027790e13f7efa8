"""What is said of frequencies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...comparison import ComparedError
from ...wording import (
    ACCURATE_FREQUENCIES,
    FREQUENCY_TOLERANCE,
    Remark,
    against_the_first,
    has_flat_energies,
    relative_error,
    sentence,
    share_of_labels,
    slope_remarks,
)

FREQUENCY = ComparedError("frequency_mae", "frequency MAE", "cm⁻¹")


def remarks(model: dict[str, Any]) -> Iterator[Remark]:
    """What stands out of a model."""
    values = model["values"]
    if "frequency_slope" not in values:
        return
    share = relative_error(model, "frequency_mae", "frequency")
    accurate = share < ACCURATE_FREQUENCIES and not has_flat_energies(model)
    slope = values["frequency_slope"]
    yield from slope_remarks(slope, "frequency slope", "frequencies", accurate, FREQUENCY_TOLERANCE)
    if share >= ACCURATE_FREQUENCIES and math.isfinite(share):
        yield Remark(
            "note",
            40,
            f"frequencies are {values['frequency_mae']['value']:.3g} cm⁻¹ wrong on average, "
            f"{100 * share:.2g} % of their mean",
        )
    structures = model["vibrations"]
    wrong = [s for s in structures if s["n_imaginary"] != s["n_imaginary_reference"]]
    if wrong:
        first = wrong[0]
        yield Remark(
            "bad",
            62,
            f"{len(wrong)} of {len(structures)} structures have another number of imaginary modes "
            f"than their label, such as label {first['label']} ({first['formula']}): "
            f"{first['n_imaginary']} instead of {first['n_imaginary_reference']}",
        )


def verdict(summary: dict[str, Any]) -> str:
    """The sentence over the table."""
    if len(summary["models"]) > 1:
        return sentence([against_the_first(summary, FREQUENCY)])
    return sentence([share_of_labels(summary, "frequency_mae", "frequency", "frequencies")])
