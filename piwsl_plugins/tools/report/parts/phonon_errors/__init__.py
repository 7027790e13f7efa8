"""The part "vibrations" of crystals: phonons of models over those of phonopy's files."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...comparison import ComparedError
from ...part import Estimated, FileOption, Given, Part, PartFigure, Piece
from ...quantities import Quantity
from ...wording import Remark
from . import say

if TYPE_CHECKING:
    from ...resampling import Estimate, Ratio
    from .analyse import CrystalModes


class PhononErrors(Part["CrystalModes"]):
    """Frequencies over the Brillouin zone, and stability."""

    name = "phonons"
    about = "phonons against phonopy's"
    heading = "Phonons"
    resampled = "crystals, or regions of the Brillouin zone if there are fewer than three"
    chosen_as = "vibrations"
    file = FileOption(
        "phonons",
        "crystals: phonopy folders, phonopy_params.yaml or the like with forces or force "
        "constants in it or beside it, or Hessian labels of supercells; adds band structures and "
        "densities of states to the vibrations",
        "phonopy's files of crystals with --phonons",
        several=True,
    )
    quantities = (
        Quantity("phonon_mae", "Phonon frequency MAE over the zone", "THz", 0.0),
        Quantity("phonon_rmse", "Phonon frequency RMSE over the zone", "THz", 0.0),
        Quantity("phonon_slope", "Phonon frequency slope (< 1: too soft)", "", 1.0, 4),
        Quantity("phonon_highest_mae", "Highest phonon frequency, MAE", "THz", 0.0),
        Quantity("stability_right", "Crystals rightly stable or unstable", "", 1.0, 2),
    )

    def pieces(self, given: Given) -> Iterable[Piece]:
        """One for each crystal."""
        from .measure import spectra
        from .reference import read_crystals

        for crystal in read_crystals([path for _, path in given.files]):
            yield Piece(
                crystal.name,
                {"crystal": crystal.digest},
                1 + len(crystal.displaced),
                functools.partial(spectra, crystal=crystal),
                numbers=crystal.supercell.numbers,
            )

    def analyse(self, piece: str, content: dict[str, Any], index: dict[str, Any]) -> CrystalModes:
        """Both spectra."""
        from .analyse import modes_of

        return modes_of(content)

    def ratios(
        self, results: Sequence[CrystalModes], first: Sequence[CrystalModes] | None
    ) -> dict[str, Ratio]:
        """Errors over all crystals, or over regions of the zone of few."""
        from .analyse import ratios

        return ratios(results)

    def values(self, results: Sequence[CrystalModes]) -> dict[str, Estimate]:
        """How many crystals are rightly stable or unstable."""
        from .analyse import stability_right

        return {"stability_right": stability_right(results)}

    def scales(self, results: Sequence[CrystalModes]) -> dict[str, float]:
        """Of frequencies (THz)."""
        from .analyse import scale

        return {"phonon": scale(results)}

    def details(self, results: Sequence[CrystalModes], estimated: Estimated) -> dict[str, Any]:
        """Numbers of each crystal."""
        return {"phonons": [modes.overview() for modes in results]} if results else {}

    def figures(
        self, results: Mapping[str, Sequence[CrystalModes]], summary: dict[str, Any]
    ) -> Iterator[PartFigure]:
        """Bands and density of states of each crystal."""
        from .draw import figures

        return figures(results)

    def compared(self, summary: dict[str, Any], model: str) -> Sequence[ComparedError]:
        """Phonon frequencies."""
        return (say.PHONON,)

    def remarks(self, summary: dict[str, Any], model: str) -> Iterator[Remark]:
        """On softening and stability."""
        return say.remarks(summary["models"][model])

    def verdict(self, summary: dict[str, Any]) -> str:
        """Errors of phonon frequencies."""
        return say.verdict(summary)


PART = PhononErrors()
