"""What a part of the report is: its options, what it measures, its numbers, figures and words.

Modules of parts are imported for ``--help``: ASE, SciPy, torch and Matplotlib wait in methods.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ..options import CheckedSettings
from .comparison import ComparedError
from .quantities import Quantity
from .wording import Remark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .frame_set import FrameSet
    from .resampling import Estimate, Ratio
    from .settings import ReportSettings

#: what one piece of a part gave, as the part's analysis makes of it
Result = TypeVar("Result")
Options = TypeVar("Options", bound="PartOptions")
#: estimates of ratios, as ``summary.json`` holds them
Estimated = Callable[[Mapping[str, "Ratio"]], dict[str, dict[str, float]]]


@dataclasses.dataclass(frozen=True)
class PartOptions(CheckedSettings):
    """Base of a part's own options, a frozen dataclass of them."""


@dataclasses.dataclass(frozen=True)
class FileOption:
    """An option that gives a part files of its own.

    Attributes:
        name: of the option, without dashes.
        help: for ``--help``.
        wanted: the file and the option in words, to ask for it.
        several: whether it takes several files.
        named: whether it is given as ``NAME=FILE``, once for each file.
    """

    name: str
    help: str
    wanted: str = ""
    several: bool = False
    named: bool = False

    @property
    def flag(self) -> str:
        """As it is written."""
        return f"--{self.name}"


@dataclasses.dataclass(frozen=True)
class Given:
    """What a report is made from, as far as a part needs it.

    Attributes:
        frames: the labelled frames.
        settings: those that all parts share.
        own: options of the parts, by their class.
        files: name ("" without) and path of what :attr:`Part.file` was given.
    """

    frames: FrameSet
    settings: ReportSettings
    own: Mapping[type[PartOptions], PartOptions]
    files: Sequence[tuple[str, Path]] = ()

    def options(self, kind: type[Options]) -> Options:
        """A part's own options."""
        options = self.own[kind]
        assert isinstance(options, kind)
        return options


@dataclasses.dataclass(frozen=True)
class Piece:
    """What is measured at once, and kept in one file for each model.

    Attributes:
        name: of the file.
        inputs: all that the result depends on but for the model; a change measures it again.
        steps: its length, of which the work tells how many are done.
        work: called with ``model`` and ``advance``; gives what the file holds.
        numbers: atomic numbers of structures that are not among the frames.
    """

    name: str
    inputs: dict[str, Any]
    steps: float
    work: Callable[..., dict[str, Any]]
    numbers: Sequence[int] = ()


@dataclasses.dataclass(frozen=True)
class PartFigure:
    """A figure: its title, the name of its files, the picture, and what it shows, in words."""

    title: str
    name: str
    picture: Figure
    caption: str


class Part(Generic[Result]):
    """One subject of the report. Only :meth:`pieces` and :meth:`analyse` must be written.

    Attributes:
        name: stable name, also that of its pieces; what ``--parts`` takes, unless ``chosen_as``.
        about: what it is, in words.
        heading: of its table.
        quantities: the rows of its table.
        chosen_as: the name in ``--parts``, if it is not that of the part.
        options: class of its own options.
        option_group: heading in ``--help`` under which they stand.
        quick: their values with ``--quick``.
        file: the option that gives it files, and without which it is left out.
        optional_file: whether it does without.
        when_quick: whether ``--quick`` makes it.
        stage: what the progress bar says.
        resampled: what intervals are from resampling of, if it is not frames.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    heading: ClassVar[str]
    quantities: ClassVar[tuple[Quantity, ...]] = ()
    chosen_as: ClassVar[str] = ""
    options: ClassVar[type[PartOptions] | None] = None
    option_group: ClassVar[str] = "what is measured"
    quick: ClassVar[Mapping[str, Any]] = {}
    file: ClassVar[FileOption | None] = None
    optional_file: ClassVar[bool] = False
    when_quick: ClassVar[bool] = True
    stage: ClassVar[str] = ""
    resampled: ClassVar[str] = ""

    @property
    def choice(self) -> str:
        """What ``--parts`` calls it."""
        return self.chosen_as or self.name

    @property
    def needs_file(self) -> bool:
        """Whether there is nothing to measure without a file."""
        return self.file is not None and not self.optional_file

    # measure

    def require(self) -> None:
        """Refuse an environment that lacks what the part needs.

        Raises:
            InputError: with the remedy.
        """

    def pieces(self, given: Given) -> Iterable[Piece]:
        """What is measured for each model.

        Raises:
            InputError: for files that cannot be used.
        """
        raise NotImplementedError

    def holds(self, piece: str) -> bool:
        """Whether a piece on disk is one of this part."""
        return piece == self.name or piece.startswith(f"{self.name}-")

    # analyse

    def analyse(self, piece: str, content: dict[str, Any], index: dict[str, Any]) -> Result:
        """What a piece on disk says.

        Args:
            piece: its name.
            content: what its work gave, arrays as lists.
            index: of the report: ``data`` with the labels, and ``settings``.
        """
        raise NotImplementedError

    def ratios(self, results: Sequence[Result], first: Sequence[Result] | None) -> dict[str, Ratio]:
        """Quantities with an interval from resampling, which models are compared by.

        Args:
            results: of one model, at least one.
            first: those of the first model; None if this is the first.
        """
        return {}

    def values(self, results: Sequence[Result]) -> dict[str, Estimate]:
        """Quantities that are no ratio of sums."""
        return {}

    def scales(self, results: Sequence[Result]) -> dict[str, float]:
        """Sizes of the labels, which tell whether an error is large."""
        return {}

    def details(self, results: Sequence[Result], estimated: Estimated) -> dict[str, Any]:
        """What ``summary.json`` holds of a model beside the quantities; results may be none."""
        return {}

    # draw

    def figures(
        self, results: Mapping[str, Sequence[Result]], summary: dict[str, Any]
    ) -> Iterator[PartFigure]:
        """The figures for which there is something to show.

        Args:
            results: of every model, none for one without, and at least one in all.
            summary: the content of ``summary.json``.
        """
        return iter(())

    # say

    def notes(self, results: Mapping[str, Sequence[Result]], data: dict[str, Any]) -> list[str]:
        """Lines on what could not be measured; ``data`` is that of the report's index."""
        return []

    def compared(self, summary: dict[str, Any], model: str) -> Sequence[ComparedError]:
        """The errors that a model is better or worse by than the first."""
        return ()

    def remarks(self, summary: dict[str, Any], model: str) -> Iterable[Remark]:
        """What stands out of a model."""
        return ()

    def verdict(self, summary: dict[str, Any]) -> str:
        """The sentence over the table, "" for none."""
        return ""
