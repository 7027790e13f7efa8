"""The part "labels": errors on the labelled frames, softening, and the time of an evaluation."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...comparison import ComparedError
from ...part import Estimated, Given, Part, PartFigure, Piece
from ...quantities import Quantity
from ...wording import Remark
from . import say

if TYPE_CHECKING:
    from ...resampling import Estimate, Ratio
    from .analyse import Predicted

_WITHOUT_MEAN = "energy_rmse_without_mean"


class LabelErrors(Part["Predicted"]):
    """Energies, forces, stresses and dipoles against the labels of the frames."""

    name = "labels"
    about = "errors on the labelled frames"
    heading = "Labelled frames"
    stage = "labelled frames"
    quantities = (
        Quantity("energy_rmse", "Energy RMSE", "meV/atom", 0.0, without_constant=_WITHOUT_MEAN),
        Quantity(_WITHOUT_MEAN, "Energy RMSE without the mean error", "meV/atom", 0.0),
        Quantity("energy_mae", "Energy MAE", "meV/atom", 0.0, without_constant=_WITHOUT_MEAN),
        Quantity("energy_mean_error", "Energy mean error", "meV/atom", 0.0),
        Quantity("force_rmse", "Force RMSE", "meV/Å", 0.0),
        Quantity("force_mae", "Force MAE", "meV/Å", 0.0),
        Quantity("force_slope", "Force slope (< 1: too soft)", "", 1.0, 4),
        Quantity("stress_rmse", "Stress RMSE", "meV/Å³", 0.0),
        Quantity("stress_mae", "Stress MAE", "meV/Å³", 0.0),
        Quantity("dipole_rmse", "Dipole RMSE", "me·Å", 0.0),
        Quantity("dipole_mae", "Dipole MAE", "me·Å", 0.0),
        Quantity("evaluation_time", "Time per evaluation (median)", "ms", None),
    )

    def pieces(self, given: Given) -> Iterable[Piece]:
        """One: all frames."""
        from .measure import predictions

        work = functools.partial(predictions, frames=given.frames)
        yield Piece("labels", {"data": given.frames.digest}, len(given.frames.frames), work)

    def analyse(self, piece: str, content: dict[str, Any], index: dict[str, Any]) -> Predicted:
        """Labels and predictions side by side."""
        from .analyse import compare

        return compare(index["data"], content, index["settings"]["fit_energy_offset"])

    def ratios(
        self, results: Sequence[Predicted], first: Sequence[Predicted] | None
    ) -> dict[str, Ratio]:
        """Errors and the force slope over all frames."""
        from .analyse import overall

        return overall(results[0])

    def values(self, results: Sequence[Predicted]) -> dict[str, Estimate]:
        """The median time."""
        from .analyse import evaluation_time

        return {"evaluation_time": evaluation_time(results[0])}

    def scales(self, results: Sequence[Predicted]) -> dict[str, float]:
        """Of energies (meV/atom) and forces (meV/Å)."""
        from .analyse import scales

        return scales(results[0])

    def details(self, results: Sequence[Predicted], estimated: Estimated) -> dict[str, Any]:
        """By kind of frame, by element, and by the size of the force."""
        from .analyse import details

        return details(results[0], estimated) if results else {}

    def figures(
        self, results: Mapping[str, Sequence[Predicted]], summary: dict[str, Any]
    ) -> Iterator[PartFigure]:
        """Parity, errors by group, force slope."""
        from .draw import figures

        return figures(results, summary)

    def notes(self, results: Mapping[str, Sequence[Predicted]], data: dict[str, Any]) -> list[str]:
        """A line on models that give no dipole for frames that have one."""
        if all(dipole is None for dipole in data["dipole"]):
            return []
        names = [
            name
            for name, several in results.items()
            if several and all(error is None for error in several[0].dipole_error)
        ]
        said = f"dipole is not measured for {', '.join(names)}: no answer has one"
        return [said] if names else []

    def compared(self, summary: dict[str, Any], model: str) -> Sequence[ComparedError]:
        """Energies, without a constant if there is one, and what else has labels."""
        return (say.energy_error(summary, model), say.FORCE, say.STRESS, say.DIPOLE)

    def remarks(self, summary: dict[str, Any], model: str) -> Iterator[Remark]:
        """On flat energies, softening, and constants."""
        return say.remarks(summary, model)

    def verdict(self, summary: dict[str, Any]) -> str:
        """Errors against the first model's, or relative to the labels."""
        return say.verdict(summary)


PART = LabelErrors()
