"""The part "consistency": do energies and forces belong together, and how curved is the surface?"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .....errors import InputError
from .....options.option import option
from ...part import Estimated, Given, Part, PartFigure, PartOptions, Piece
from ...quantities import Quantity
from ...wording import Remark
from . import say

if TYPE_CHECKING:
    from ...resampling import Estimate, Ratio
    from .analyse import Residuals


@dataclasses.dataclass(frozen=True)
class ConsistencyOptions(PartOptions):
    """What residuals are measured on."""

    epsilons: tuple[float, ...] = option(
        (0.005, 0.01, 0.02, 0.04, 0.08),
        "largest displacements per component of the consistency part",
        unit="Å",
        minimum=0.0,
        maximum=0.5,
        exclusive=True,
    )
    consistency_frames: int = option(
        20, "frames on which consistency is measured", kind=int, minimum=1
    )
    draws: int = option(4, "displacement fields per frame", kind=int, minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        different = len(self.epsilons) == len(set(self.epsilons))
        self.require("epsilons", different, "different values")


class ConsistencyResiduals(Part["Residuals"]):
    """PITC and PISC residuals, their growth with the displacement, curvature, symmetry."""

    name = "consistency"
    about = "PITC and PISC residuals, curvature, symmetry of the Jacobian"
    heading = "Consistency and curvature"
    options = ConsistencyOptions
    quick: ClassVar[Mapping[str, Any]] = {
        "epsilons": (0.01, 0.02, 0.04, 0.08),
        "consistency_frames": 8,
        "draws": 2,
    }
    quantities = (
        Quantity("pitc_rms", "PITC residual at ε ≈ 0.04 Å, RMS", "meV/atom", None),
        Quantity("pisc_rms", "PISC residual at ε ≈ 0.04 Å, RMS", "meV/atom", None),
        Quantity("pitc_exponent", "PITC exponent in ε", "", None),
        Quantity("pisc_exponent", "PISC exponent in ε", "", None),
        Quantity("curvature_mean", "Mean curvature", "eV/Å²", None),
        Quantity("curvature_ratio", "Curvature relative to the first model", "", None, 4),
        Quantity("jacobian_asymmetry", "Jacobian asymmetry", "", None, 2),
        Quantity("energy_force_mismatch", "Energy–force mismatch", "", None, 2),
    )

    def require(self) -> None:
        """PITC and PISC are written once, in `piwsl_plugins.terms`, for torch.

        Raises:
            InputError: if torch is not installed.
        """
        if importlib.util.find_spec("torch") is None:
            raise InputError(
                "the consistency part needs torch, which this environment does not have; install "
                "it, or choose the others with --parts labels scans dynamics"
            )

    def pieces(self, given: Given) -> Iterable[Piece]:
        """One: all frames that are taken, all displacements."""
        from .measure import residuals

        frames, options = given.frames, given.options(ConsistencyOptions)
        seed = given.settings.seed
        yield Piece(
            "consistency",
            {"data": frames.digest, **dataclasses.asdict(options), "seed": seed},
            min(options.consistency_frames, len(frames.frames)),
            functools.partial(residuals, frames=frames, options=options, seed=seed),
        )

    def analyse(self, piece: str, content: dict[str, Any], index: dict[str, Any]) -> Residuals:
        """Residuals as arrays, per atom."""
        from .analyse import residuals_of

        return residuals_of(content)

    def ratios(
        self, results: Sequence[Residuals], first: Sequence[Residuals] | None
    ) -> dict[str, Ratio]:
        """At the ε nearest to 0.04 Å, and the curvature beside the first model's."""
        from .analyse import curvature_ratio, ratios

        ratio = curvature_ratio(results[0], first[0]) if first else None
        return ratios(results[0]) | ({} if ratio is None else {"curvature_ratio": ratio})

    def values(self, results: Sequence[Residuals]) -> dict[str, Estimate]:
        """How residuals grow with ε."""
        from .analyse import exponent

        (found,) = results
        return {
            "pitc_exponent": exponent(found.epsilon, found.pitc),
            "pisc_exponent": exponent(found.epsilon, found.pisc),
        }

    def details(self, results: Sequence[Residuals], estimated: Estimated) -> dict[str, Any]:
        """Residuals at each ε."""
        from .analyse import by_epsilon

        return {"consistency": by_epsilon(results[0], estimated)} if results else {}

    def figures(
        self, results: Mapping[str, Sequence[Residuals]], summary: dict[str, Any]
    ) -> Iterator[PartFigure]:
        """Residuals against ε, and curvature against the first model's."""
        from .draw import figures

        return figures(results, summary)

    def remarks(self, summary: dict[str, Any], model: str) -> Iterator[Remark]:
        """On forces that are not the gradient of the energy, and rough energies."""
        return say.remarks(summary["models"][model])

    def verdict(self, summary: dict[str, Any]) -> str:
        """Whether forces are the gradient of the energy."""
        return say.verdict(summary)


PART = ConsistencyResiduals()
