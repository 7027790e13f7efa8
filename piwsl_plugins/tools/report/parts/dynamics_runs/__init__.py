"""The part "dynamics": do molecules hold, and is energy conserved, in short molecular dynamics?"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .....options.option import option
from ...part import Estimated, Given, Part, PartFigure, PartOptions, Piece
from ...quantities import Quantity
from ...wording import Remark
from . import say

if TYPE_CHECKING:
    from ...resampling import Estimate, Ratio

_ENSEMBLES = {"nve": "constant energy", "langevin": "constant temperature"}
#: one run, as :func:`.measure.simulate` gives it
_Simulated = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class DynamicsOptions(PartOptions):
    """How long, how hot, from where."""

    ensembles: tuple[str, ...] = option(
        tuple(_ENSEMBLES), "of the dynamics", kind=str, choices=_ENSEMBLES
    )
    temperatures: tuple[float, ...] = option(
        (300.0,), "of the dynamics", unit="K", minimum=0.0, exclusive=True
    )
    md_length: float = option(5.0, "length of a run", unit="ps", minimum=0.0, exclusive=True)
    timestep: float = option(0.5, "time step", unit="fs", minimum=0.0, exclusive=True)
    friction: float = option(
        0.01, "friction of Langevin runs", unit="1/fs", minimum=0.0, exclusive=True
    )
    md_starts: int = option(3, "frames from which runs start", kind=int, minimum=1)
    md_seeds: int = option(2, "velocity seeds for each start", kind=int, minimum=1)
    bond_factor: float = option(
        1.5,
        "a bond is broken beyond this multiple of the sum of covalent radii; 0 switches the check "
        "off (melts, surfaces, reactions)",
        minimum=0.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        tight = 0 < self.bond_factor < 1.3
        self.require("bond_factor", not tight, "0 to switch the check off, or at least 1.3")


class DynamicsRuns(Part[_Simulated]):
    """Energy drift and survival of short runs from test frames."""

    name = "dynamics"
    about = "short molecular dynamics"
    heading = "Dynamics"
    options = DynamicsOptions
    option_group = "dynamics"
    quick: ClassVar[Mapping[str, Any]] = {"md_starts": 2, "md_seeds": 1}
    when_quick = False
    resampled = "runs"
    quantities = (
        Quantity("nve_drift", "NVE energy drift", "meV/atom/ps", 0.0, 2),
        Quantity("nve_fluctuation", "NVE energy fluctuation", "meV/atom", None, 2),
        Quantity("survival_fraction", "Runs that survive", "", 1.0, 2),
        Quantity("survival_time", "Mean survival time", "ps", math.inf),
    )

    def pieces(self, given: Given) -> Iterable[Piece]:
        """One for each run."""
        from .measure import runs, simulate

        frames, options = given.frames, given.options(DynamicsOptions)
        names = ("md_length", "timestep", "friction", "bond_factor")
        inputs = {"data": frames.digest, **{name: getattr(options, name) for name in names}}
        for run in runs(frames, options, given.settings.seed):
            work = functools.partial(simulate, frames=frames, run=run, options=options)
            yield Piece(run.name, inputs, options.md_length, work)

    def analyse(self, piece: str, content: dict[str, Any], index: dict[str, Any]) -> _Simulated:
        """The run as it was recorded."""
        return content

    def ratios(
        self, results: Sequence[_Simulated], first: Sequence[_Simulated] | None
    ) -> dict[str, Ratio]:
        """Means over runs."""
        from .analyse import ratios

        return ratios(results)

    def values(self, results: Sequence[_Simulated]) -> dict[str, Estimate]:
        """How many runs survive."""
        from .analyse import surviving

        return {"survival_fraction": surviving(results)}

    def details(self, results: Sequence[_Simulated], estimated: Estimated) -> dict[str, Any]:
        """What became of each run."""
        from .analyse import overview

        return {"dynamics": [overview(run) for run in results]}

    def figures(
        self, results: Mapping[str, Sequence[_Simulated]], summary: dict[str, Any]
    ) -> Iterator[PartFigure]:
        """Energy, temperature and survival against time."""
        from .draw import figures

        return figures(results, summary["settings"])

    def remarks(self, summary: dict[str, Any], model: str) -> Iterator[Remark]:
        """On runs that fail, or that all survive."""
        return say.remarks(summary["models"][model])

    def verdict(self, summary: dict[str, Any]) -> str:
        """How many runs fail."""
        return say.verdict(summary)


PART = DynamicsRuns()
