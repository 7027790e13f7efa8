"""What is said of phonons."""

from __future__ import annotations

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

#: a crystal with a frequency below this, anywhere in the Brillouin zone, is unstable (THz);
#: nearer to 0 is what interpolation does to acoustic modes
UNSTABLE = -0.1

PHONON = ComparedError("phonon_mae", "phonon frequency MAE", "THz")


def remarks(model: dict[str, Any]) -> Iterator[Remark]:
    """What stands out of a model."""
    slope = model["values"].get("phonon_slope")
    accurate = relative_error(model, "phonon_mae", "phonon") < ACCURATE_FREQUENCIES
    accurate = accurate and not has_flat_energies(model)
    yield from slope_remarks(
        slope, "phonon frequency slope", "phonons", accurate, FREQUENCY_TOLERANCE
    )
    for text in _wrong_stability(model):
        yield Remark("bad", 90, text)


def verdict(summary: dict[str, Any]) -> str:
    """The sentence over the table."""
    if len(summary["models"]) > 1:
        return sentence([against_the_first(summary, PHONON)])
    return sentence([share_of_labels(summary, "phonon_mae", "phonon", "phonon frequencies")])


def _wrong_stability(model: dict[str, Any]) -> list[str]:
    """Crystals that are unstable or stable unlike their reference, in words."""
    return [
        (
            f"{crystal['formula']} is "
            f"{'unstable' if crystal['lowest'] < UNSTABLE else 'stable'}, unlike "
            f"the reference: the lowest frequency is {crystal['lowest']:.2f} THz instead of "
            f"{crystal['lowest_reference']:.2f} THz"
        ).replace("-", "−")
        for crystal in model.get("phonons", [])
        if (crystal["lowest"] < UNSTABLE) != (crystal["lowest_reference"] < UNSTABLE)
    ]
