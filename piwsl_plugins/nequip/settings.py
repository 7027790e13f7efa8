"""The options of the PIWSL loss in NequIP: those of every framework, and its own.

Importing this module costs nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ..options.option import Group, option
from ..options.settings import Settings


@dataclasses.dataclass(frozen=True)
class NequIPOptions(Group):
    """What concerns NequIP's data alone."""

    levels: Mapping[str, Sequence[int]] | None = option(
        None,
        "Which frames carry PIWSL terms and Hessian labels, where the data has several levels of "
        "theory: those whose field has one of these values, such as {dataset: [0]} with "
        "DatasetIndexTransform.",
        derived="every frame; with a Hessian file and several levels it must be given",
        kind=dict,
    )


@dataclasses.dataclass(frozen=True)
class NequIPSettings(Settings):
    """All options of the PIWSL loss."""

    nequip: NequIPOptions = dataclasses.field(default_factory=NequIPOptions)
