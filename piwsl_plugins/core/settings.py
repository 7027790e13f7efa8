"""Every option of PIWSL, written once: name, default, unit, allowed values, help.

The MACE argument group, the NequIP loss and the option table of the documentation are
generated from :class:`Settings`. Importing this module costs nothing but the standard
library, so that a framework's argument parser may use it before torch is loaded.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any


class SettingsError(ValueError):
    """An option that cannot be used; names the option, its value and the remedy."""

    def __init__(self, name: str, value: object, remedy: str) -> None:
        super().__init__(f"PIWSL option '{name}' = {value!r}: {remedy}")
        self.name = name
        self.value = value
        self.remedy = remedy


@dataclasses.dataclass(frozen=True)
class Option:
    """What a user must know of one option.

    Attributes:
        help: one or two sentences for ``--help`` and the documentation.
        kind: type of a single value: ``float``, ``int``, ``str`` or ``tuple`` (a list of names).
        unit: physical unit, empty if there is none.
        choices: allowed values with their meaning; empty if the value is free.
        minimum: smallest allowed value (``exclusive`` excludes it).
        maximum: largest allowed value.
        exclusive: whether ``minimum`` itself is refused.
        refused: values refused with a reason of their own.
        hosts: the frameworks that have the option.
    """

    help: str
    kind: type = float
    unit: str = ""
    choices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    minimum: float | None = None
    maximum: float | None = None
    exclusive: bool = False
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hosts: tuple[str, ...] = ("mace", "nequip")

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind is tuple:
            return "names separated by commas"
        words = {int: "a whole number", float: "a number"}[self.kind]
        if self.minimum is not None:
            words += f" {'above' if self.exclusive else 'of at least'} {self.minimum:g}"
        if self.maximum is not None:
            words += f", at most {self.maximum:g}"
        return words + (f" {self.unit}" if self.unit else "")

    def parse(self, name: str, value: Any) -> Any:
        """Convert ``value`` (a string of the command line, or a value of a config) and check it.

        Raises:
            SettingsError: if it is of the wrong type or not allowed.
        """
        if isinstance(value, str) and value in self.refused:
            raise SettingsError(name, value, self.refused[value])
        if self.kind is tuple:
            names = value.split(",") if isinstance(value, str) else value
            parsed: Any = tuple(str(item).strip() for item in names)
            valid = all(parsed) and len(parsed) > 0
        elif self.kind is str:
            parsed = value
            valid = value in self.choices
        else:
            try:
                parsed = self.kind(value)
            except (TypeError, ValueError):
                raise SettingsError(name, value, f"allowed is {self.allowed}") from None
            whole = self.kind is not int or float(value) == parsed
            valid = whole and not isinstance(value, bool) and math.isfinite(parsed)
            valid = valid and (self.maximum is None or parsed <= self.maximum)
            if valid and self.minimum is not None:
                valid = parsed > self.minimum if self.exclusive else parsed >= self.minimum
        if not valid:
            raise SettingsError(name, value, f"allowed is {self.allowed}")
        return parsed


def _option(default: Any, help: str, **keywords: Any) -> Any:
    option = Option(help=help, **keywords)
    return dataclasses.field(default=default, metadata={"option": option})


@dataclasses.dataclass(frozen=True)
class Settings:
    """All options of PIWSL; see :func:`options` for their units, limits and help texts.

    ``None`` means "derived": stage-two weights follow the first stage's, ``heads`` means
    every head but the replay head, ``seed`` follows the run's own seed.

    Raises:
        SettingsError: naming the option, the value and the remedy.
    """

    preset: str = _option(
        "safe",
        "Values of all options that are not given. 'safe' is weak enough to do no harm; 'paper' "
        "is the published setting for ANI-1x, meant for models whose forces are not the gradient "
        "of the energy: with MACE and NequIP it can flatten the potential, most of all in "
        "fine-tuning.",
        kind=str,
        choices={"safe": "the defaults", "paper": "arXiv 2408.05215, ANI-1x"},
    )
    base_loss: str = _option(
        "weighted",
        "The supervised MACE loss to which the PIWSL terms are added; it alone is used for "
        "validation, model selection and error tables.",
        kind=str,
        choices={
            name: f"MACE's --loss={name}"
            for name in (
                "weighted",
                "virials",
                "stress",
                "huber",
                "universal",
                "l1l2energyforces",
                "energy_forces_dipole",
            )
        },
        refused={
            "forces_only": "this loss has no energy, but PIWSL compares energies; "
            "use 'weighted' with a small --energy_weight",
            "dipole": "this loss has no energy, but PIWSL compares energies",
            "dipole_polar": "this loss has no energy, but PIWSL compares energies",
            "ef": "MACE itself does not implement this loss; use 'weighted'",
        },
        hosts=("mace",),
    )
    pitc_weight: float = _option(
        0.01,
        "Weight of the Taylor-expansion consistency (PITC); 0 switches it off.",
        minimum=0.0,
    )
    pisc_weight: float = _option(
        0.0,
        "Weight of the spatial consistency (PISC); 0 switches it off and saves about one more "
        "force evaluation per step.",
        minimum=0.0,
    )
    swa_pitc_weight: float | None = _option(
        None,
        "PITC weight in stage two (default: as in stage one).",
        minimum=0.0,
        hosts=("mace",),
    )
    swa_pisc_weight: float | None = _option(
        None,
        "PISC weight in stage two (default: as in stage one).",
        minimum=0.0,
        hosts=("mace",),
    )
    max_displacement: float = _option(
        0.05,
        "Bound of the displacements: per Cartesian component for 'uniform', 'one_sided' and "
        "'gaussian', length per atom for the others.",
        unit="Å",
        minimum=0.0,
        exclusive=True,
        maximum=0.5,
    )
    displacement: str = _option(
        "uniform",
        "How displacements are drawn.",
        kind=str,
        choices={
            "uniform": "each component uniform in [-max, max]",
            "one_sided": "each component uniform in [0, max), as published",
            "fixed_length": "random direction, length max",
            "uniform_length": "random direction, length uniform in [0, max)",
            "gaussian": "each component Gaussian with standard deviation max/2, truncated at max",
            "adversarial": "length max along F - F_ref (structures without energy and force labels "
            "carry no PIWSL terms); the waypoint of PISC is drawn as 'uniform_length'",
        },
    )
    displaced_fraction: float = _option(
        1.0,
        "Fraction of each structure's movable atoms that are displaced (at least one atom); below "
        "1 the residual of a large structure stays comparable with a small one's.",
        minimum=0.0,
        exclusive=True,
        maximum=1.0,
    )
    metric: str = _option(
        "mse",
        "Penalty of a residual.",
        kind=str,
        choices={"mse": "its square", "mae": "its magnitude", "huber": "Huber loss"},
    )
    huber_delta: float = _option(
        0.01,
        "Residual above which the Huber penalty grows linearly (per atom or total, as "
        "'normalization' says).",
        unit="eV",
        minimum=0.0,
        exclusive=True,
    )
    normalization: str = _option(
        "per_atom",
        "Whether residuals are divided by the number of atoms before the penalty.",
        kind=str,
        choices={"per_atom": "divided", "total": "as published"},
    )
    anchor: str = _option(
        "prediction",
        "Where the Taylor expansion of PITC starts.",
        kind=str,
        choices={
            "prediction": "the model's own E(r), F(r), as published",
            "label": "E_ref, F_ref (weak labels, npj Comput. Mater. 6, 54 (2020)); structures "
            "without both labels carry no PIWSL terms",
        },
    )
    pisc_vertex: str = _option(
        "displaced",
        "Where the second path, over the waypoint r+δ', is checked.",
        kind=str,
        choices={
            "displaced": "at r+δ, against the model's energy",
            "extrapolated": "at r+δ, against PITC's extrapolation from r",
            "waypoint": "back at r+δ', coming from r+δ",
            "origin": "back at r, coming from r+δ'",
            "all": "the mean of the four",
        },
    )
    start_epoch: int = _option(
        0, "First epoch with PIWSL terms (epochs count from 0).", kind=int, minimum=0
    )
    ramp_epochs: int = _option(
        0,
        "Number of epochs over which the weights grow linearly before they are whole.",
        kind=int,
        minimum=0,
    )
    interval: int = _option(
        1, "PIWSL terms in every k-th optimiser step only.", kind=int, minimum=1
    )
    heads: tuple[str, ...] | None = _option(
        None,
        "Heads whose structures carry PIWSL terms, separated by commas (default: every head but "
        "the replay head pt_head).",
        kind=tuple,
        hosts=("mace",),
    )
    seed: int | None = _option(
        None, "Seed of the displacements (default: the run's seed).", kind=int, minimum=0
    )

    def __post_init__(self) -> None:
        for name, option in options().items():
            value = getattr(self, name)
            if value is not None or _DEFAULTS[name] is not None:
                object.__setattr__(self, name, option.parse(name, value))
        if self.displacement == "adversarial" and self.pisc_vertex in ("waypoint", "all"):
            raise SettingsError(
                "pisc_vertex",
                self.pisc_vertex,
                "with displacement 'adversarial', r+δ is known only after the model's forces, so "
                "PISC cannot start there; choose 'displaced', 'extrapolated' or 'origin'",
            )

    @classmethod
    def create(cls, given: Mapping[str, Any]) -> Settings:
        """Settings from the options a user gave; the preset fills in the others.

        Raises:
            SettingsError: for an unknown name or a value that is not allowed.
        """
        for name, value in given.items():
            if name not in _DEFAULTS:
                close = difflib.get_close_matches(name, _DEFAULTS, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                raise SettingsError(name, value, f"there is no such option{hint}")
        preset = given.get("preset", cls.preset)
        options()["preset"].parse("preset", preset)
        return cls(**{**PRESETS[preset], **given})

    def stage_two(self) -> Settings:
        """The settings of MACE's stage two: the same with stage two's weights."""
        pitc, pisc = self.swa_pitc_weight, self.swa_pisc_weight
        return dataclasses.replace(
            self,
            pitc_weight=self.pitc_weight if pitc is None else pitc,
            pisc_weight=self.pisc_weight if pisc is None else pisc,
        )

    def needs_labels(self) -> str | None:
        """The option for which force labels are needed, or None."""
        if self.displacement == "adversarial":
            return "displacement"
        return "anchor" if self.anchor == "label" else None


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Settings)}

PRESETS: dict[str, dict[str, Any]] = {
    "safe": {},
    "paper": {
        "pitc_weight": 1.2,
        "pisc_weight": 0.01,
        "max_displacement": 0.05,
        "displacement": "one_sided",
        "normalization": "total",
    },
}


def options(host: str | None = None) -> dict[str, Option]:
    """All options by name, or those that ``host`` ("mace", "nequip") has."""
    return {
        field.name: field.metadata["option"]
        for field in dataclasses.fields(Settings)
        if host is None or host in field.metadata["option"].hosts
    }


def default_text(name: str) -> str:
    """The default of an option, and the preset 'paper' where it differs, in words."""
    default = _DEFAULTS[name]
    text = "derived" if default is None else f"{default}"
    paper = PRESETS["paper"].get(name, default)
    return text if paper == default else f"{text}; preset paper: {paper}"
