"""The part "scans": is the surface smooth along bond stretches and paths?"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .....options.option import option
from ...part import Estimated, FileOption, Given, Part, PartFigure, PartOptions, Piece
from ...quantities import Quantity
from ...wording import Remark
from . import say

if TYPE_CHECKING:
    from ...resampling import Estimate
    from .analyse import FollowedScan


@dataclasses.dataclass(frozen=True)
class ScanOptions(PartOptions):
    """Of the bond stretches."""

    stretch: tuple[float, ...] = option(
        (0.75, 2.0),
        "shortest and longest bond of the bond-stretch scans, relative to its length",
        minimum=0.0,
        exclusive=True,
    )
    scan_points: int = option(60, "points of a bond-stretch scan", kind=int, minimum=5)

    def __post_init__(self) -> None:
        super().__post_init__()
        ordered = len(self.stretch) == 2 and self.stretch[0] < self.stretch[1]
        self.require("stretch", ordered, "two factors, the smaller first")


class Scans(Part["FollowedScan"]):
    """Energy and forces along lines."""

    name = "scans"
    about = "bond stretches and paths"
    heading = "Scans"
    options = ScanOptions
    quick: ClassVar[Mapping[str, Any]] = {"scan_points": 30}
    file = FileOption(
        "path",
        "frames along a path (dihedral, proton transfer, ...) to scan; may be repeated",
        named=True,
    )
    optional_file = True
    quantities = (
        Quantity("scan_mismatch", "Mean |F + dE/dx|", "meV/Å", 0.0),
        Quantity("scan_jump", "Largest energy jump", "meV", 0.0),
        Quantity("path_energy_rmse", "Relative energy RMSE on labelled paths", "meV", 0.0),
        Quantity("path_curvature_slope", "Curvature slope on labelled paths", "", 1.0, 4),
    )

    def pieces(self, given: Given) -> Iterable[Piece]:
        """One for each scan."""
        from ...frame_set import read_path
        from .measure import bond_stretches, digest, follow, path_scan

        paths = [path_scan(name, read_path(path, given.settings)) for name, path in given.files]
        for scan in bond_stretches(given.frames, given.options(ScanOptions)) + paths:
            yield Piece(
                scan.name,
                {"scan": digest(scan)},
                len(scan.structures),
                functools.partial(follow, scan=scan),
                numbers=scan.structures[0].numbers,
            )

    def holds(self, piece: str) -> bool:
        """Whether it is a stretch or a path."""
        return piece.startswith(("stretch-", "path-"))

    def analyse(self, piece: str, content: dict[str, Any], index: dict[str, Any]) -> FollowedScan:
        """Energies and forces as arrays."""
        from .analyse import followed

        return followed(piece, content)

    def values(self, results: Sequence[FollowedScan]) -> dict[str, Estimate]:
        """Mean mismatch, largest jump, and errors over all labelled paths."""
        from .analyse import values

        return values(results)

    def details(self, results: Sequence[FollowedScan], estimated: Estimated) -> dict[str, Any]:
        """Numbers of each scan."""
        return {"scans": {scan.name: scan.overview() for scan in results}}

    def figures(
        self, results: Mapping[str, Sequence[FollowedScan]], summary: dict[str, Any]
    ) -> Iterator[PartFigure]:
        """Energy and force along every scan."""
        from .draw import figures

        return figures(results)

    def remarks(self, summary: dict[str, Any], model: str) -> Iterator[Remark]:
        """On energies that jump or are not finite."""
        return say.remarks(summary["models"][model])

    def verdict(self, summary: dict[str, Any]) -> str:
        """Whether energies are smooth."""
        return say.verdict(summary)


PART = Scans()
