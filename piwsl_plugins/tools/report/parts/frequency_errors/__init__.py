"""The part "vibrations" of Hessian labels: does a model know second derivatives?"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .....options.option import option
from ...comparison import ComparedError
from ...part import Estimated, FileOption, Given, Part, PartFigure, PartOptions, Piece
from ...quantities import Quantity
from ...wording import Remark
from . import say

if TYPE_CHECKING:
    from ...resampling import Estimate, Ratio
    from .analyse import StructureModes


@dataclasses.dataclass(frozen=True)
class FrequencyOptions(PartOptions):
    """Which labels are taken."""

    vibration_structures: int = option(
        0, "evenly spaced structures of --hessians to evaluate, 0 for all", kind=int, minimum=0
    )


class FrequencyErrors(Part["StructureModes"]):
    """Hessians, frequencies and vibrational energies against Hessian labels."""

    name = "vibrations"
    about = "Hessians and frequencies against Hessian labels"
    heading = "Vibrations"
    resampled = "structures"
    options = FrequencyOptions
    quick: ClassVar[Mapping[str, Any]] = {"vibration_structures": 4}
    file = FileOption(
        "hessians",
        "labels of 'piwsl hessian', or frames with REF_hessian (eV/Å²): adds the vibrations",
        "the file of Hessian labels with --hessians (from 'piwsl hessian', or frames with "
        "REF_hessian)",
    )
    quantities = (
        Quantity("hessian_rmse", "Hessian RMSE", "eV/Å²", 0.0),
        Quantity("frequency_mae", "Frequency MAE", "cm⁻¹", 0.0),
        Quantity("frequency_slope", "Frequency slope (< 1: too soft)", "", 1.0, 4),
        Quantity("highest_frequency_mae", "Highest frequency, MAE", "cm⁻¹", 0.0),
        Quantity(
            "imaginary_right", "Structures with the right number of imaginary modes", "", 1.0, 2
        ),
        Quantity("zero_point_mae", "Zero-point energy MAE", "meV", 0.0),
        Quantity("free_energy_mae", "Vibrational free energy MAE, 300 K", "meV", 0.0),
    )

    def pieces(self, given: Given) -> Iterable[Piece]:
        """One for each structure."""
        from .measure import STEP, second_derivatives
        from .reference import read_hessians

        ((_, path),) = given.files
        number = given.options(FrequencyOptions).vibration_structures
        for labelled in read_hessians(path, number):
            yield Piece(
                labelled.name,
                {"hessian": labelled.digest, "step": STEP},
                3 * len(labelled.atoms),
                functools.partial(second_derivatives, labelled=labelled),
                numbers=labelled.atoms.numbers,
            )

    def analyse(self, piece: str, content: dict[str, Any], index: dict[str, Any]) -> StructureModes:
        """The modes of both Hessians."""
        from .analyse import modes_of

        return modes_of(content)

    def ratios(
        self, results: Sequence[StructureModes], first: Sequence[StructureModes] | None
    ) -> dict[str, Ratio]:
        """Errors over all structures."""
        from .analyse import ratios

        return ratios(results)

    def values(self, results: Sequence[StructureModes]) -> dict[str, Estimate]:
        """How many structures have the right number of imaginary modes."""
        from .analyse import imaginary_right

        return {"imaginary_right": imaginary_right(results)}

    def scales(self, results: Sequence[StructureModes]) -> dict[str, float]:
        """Of frequencies (cm⁻¹)."""
        from .analyse import scale

        return {"frequency": scale(results)}

    def details(self, results: Sequence[StructureModes], estimated: Estimated) -> dict[str, Any]:
        """Numbers of each structure."""
        return {"vibrations": [modes.overview() for modes in results]} if results else {}

    def figures(
        self, results: Mapping[str, Sequence[StructureModes]], summary: dict[str, Any]
    ) -> Iterator[PartFigure]:
        """All frequencies and their errors."""
        from .draw import figures

        return figures(results, summary)

    def compared(self, summary: dict[str, Any], model: str) -> Sequence[ComparedError]:
        """Frequencies."""
        return (say.FREQUENCY,)

    def remarks(self, summary: dict[str, Any], model: str) -> Iterator[Remark]:
        """On softening, errors, and imaginary modes."""
        return say.remarks(summary["models"][model])

    def verdict(self, summary: dict[str, Any]) -> str:
        """Errors of frequencies."""
        return say.verdict(summary)


PART = FrequencyErrors()
