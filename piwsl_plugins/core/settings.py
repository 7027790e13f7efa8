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

#: the word by which an option's value is found by us
AUTO = "auto"


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
        kind: type of a single value: ``float``, ``int``, ``str`` (a name of ``choices``, or a path
            if there are none) or ``tuple`` (a list of names).
        unit: physical unit, empty if there is none.
        words: words allowed in place of a number.
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
    words: tuple[str, ...] = ()
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
        if self.kind is str:
            return "the path of a file"
        number = {int: "a whole number", float: "a number"}[self.kind]
        if self.minimum is not None:
            number += f" {'above' if self.exclusive else 'of at least'} {self.minimum:g}"
        if self.maximum is not None:
            number += f", at most {self.maximum:g}"
        return " or ".join([number + (f" {self.unit}" if self.unit else ""), *self.words])

    def parse(self, name: str, value: Any) -> Any:
        """Convert ``value`` (a string of the command line, or a value of a config) and check it.

        Raises:
            SettingsError: if it is of the wrong type or not allowed.
        """
        if isinstance(value, str) and value in self.refused:
            raise SettingsError(name, value, self.refused[value])
        if value in self.words:
            return value
        if self.kind is tuple:
            names = value.split(",") if isinstance(value, str) else value
            parsed: Any = tuple(str(item).strip() for item in names)
            valid = all(parsed) and len(parsed) > 0
        elif self.kind is str:
            parsed = value
            valid = (
                value in self.choices if self.choices else isinstance(value, str) and value != ""
            )
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

    ``None`` means "derived": ``pitc_weight``, ``auto_gradient_ratio`` and ``curvature_bound``
    follow ``pitc_target`` (and are numbers once an instance is made), stage-two weights follow the
    first stage's, ``heads`` means every head but the replay head, ``seed`` follows the run's own
    seed.

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
        }
        | {"energy": "squared errors of the energy per atom alone, for data without forces"},
        refused={
            "forces_only": "this loss has no energy, but PIWSL compares energies; "
            "use 'weighted' with a small --energy_weight",
            "dipole": "this loss has no energy, but PIWSL compares energies",
            "dipole_polar": "this loss has no energy, but PIWSL compares energies",
            "ef": "MACE itself does not implement this loss; use 'weighted'",
        },
        hosts=("mace",),
    )
    pitc_weight: float | str | None = _option(
        None,
        "Weight of the Taylor-expansion consistency (PITC); 0 switches it off; 'auto' keeps its "
        "gradient at 'auto_gradient_ratio' of the supervised one. The default depends on "
        "'pitc_target': zero 0.001, curvature 10000, reference 1, ceiling and floor 100.",
        minimum=0.0,
        words=(AUTO,),
    )
    pisc_weight: float = _option(
        0.0,
        "Weight of the spatial consistency (PISC); 0 switches it off and saves about one more "
        "force evaluation per step.",
        minimum=0.0,
    )
    pitc_target: str = _option(
        "zero",
        "What the PITC residual is compared with; PISC knows 'zero' and 'reference' only.",
        kind=str,
        choices={
            "zero": "0, as published: a penalty on the curvature",
            "curvature": "½δᵀHδ of curvature labels ('curvature_file'); structures without such a "
            "label carry no PIWSL terms",
            "reference": "the same residual of a frozen model ('reference_model')",
            "ceiling": "only what exceeds ½κ|δ|² counts, κ being 'curvature_bound'",
            "floor": "only what falls short of ½κ|δ|² counts, a guard against holes in the "
            "potential, for large displacements",
        },
    )
    pitc_form: str = _option(
        "auto",
        "How PITC measures the curvature.",
        kind=str,
        choices={
            "first_order": "E(r+δ) − [E(r) − <δ, F(r)>], as published",
            "symmetric": "½[E(r+δ) + E(r−δ)] − E(r), without forces and without the third-order "
            "term",
            "auto": "'symmetric' for target 'curvature' and where nothing else needs forces, else "
            "'first_order'",
        },
    )
    curvature_file: str | None = _option(
        None,
        "Curvature labels, for target 'curvature': a file of piwsl-curvature, or one that ASE "
        "reads, whose frames carry REF_hessian in eV/Å²; matched to structures by geometry.",
        kind=str,
    )
    curvature_bound: float | None = _option(
        None,
        "κ of the targets 'ceiling' (default 100) and 'floor' (default 0). With 'reference_model' "
        "its residual is the bound instead.",
        unit="eV/Å²",
    )
    reference_model: str | None = _option(
        None,
        "Frozen model whose residuals are the target 'reference', or the bound of 'ceiling' and "
        "'floor': a MACE model file, or a NequIP package or checkpoint. Default for target "
        "'reference': the model that fine-tuning starts from.",
        kind=str,
    )
    auto_gradient_ratio: float | None = _option(
        None,
        "With pitc_weight 'auto': norm of the weighted PITC gradient relative to that of the "
        "supervised loss. The default depends on 'pitc_target': zero 0.01, the others 0.1.",
        minimum=0.0,
        exclusive=True,
    )
    auto_interval: int = _option(
        200,
        "With pitc_weight 'auto': optimiser steps from one adjustment of the weight to the next; "
        "within the first of these it is lowered, if need be, in steps 1, 2, 4, 8, … too.",
        kind=int,
        minimum=1,
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
    unlabeled_file: str | None = _option(
        None,
        "Structures without labels, in a file that ASE reads, which carry PIWSL terms alone.",
        kind=str,
    )
    unlabeled_per_batch: int = _option(
        1, "Number of structures of 'unlabeled_file' in each batch.", kind=int, minimum=1
    )
    softening_guard: str = _option(
        "warn",
        "What happens when the force slope on validation data (the regression of predicted on "
        "reference forces; without force labels, the RMS force relative to that at the start) "
        "falls below 'softening_threshold'.",
        kind=str,
        choices={
            "off": "the slope is not looked at",
            "warn": "a warning",
            "relax": "a warning, and half the PIWSL weights from then on, each time",
            "stop": "training ends, as if this had been its last epoch",
        },
    )
    softening_threshold: float = _option(
        0.9,
        "Force slope below which the potential counts as softened; for a pretrained model that "
        "starts softer, the fraction of its first slope. A model from scratch is judged once it "
        "has been above.",
        minimum=0.0,
        maximum=1.0,
    )
    seed: int | None = _option(
        None, "Seed of the displacements (default: the run's seed).", kind=int, minimum=0
    )

    def __post_init__(self) -> None:
        for name, option in options().items():
            value = getattr(self, name)
            if value is not None or _DEFAULTS[name] is not None:
                object.__setattr__(self, name, option.parse(name, value))
        for name, default in TARGET_DEFAULTS[self.pitc_target].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        self._check_target()
        self._check_form()

    def _check_target(self) -> None:
        needed_by = {
            "curvature_file": ("curvature",),
            "reference_model": ("reference", "ceiling", "floor"),
            "curvature_bound": ("ceiling", "floor"),
        }
        for name, targets in needed_by.items():
            value = getattr(self, name)
            if value is not None and self.pitc_target not in targets:
                raise SettingsError(
                    name,
                    value,
                    f"nothing uses it with pitc_target '{self.pitc_target}'; choose pitc_target "
                    f"{' or '.join(repr(target) for target in targets)}, or leave it out",
                )
        if self.pisc_weight > 0 and self.pitc_target not in ("zero", "reference"):
            raise SettingsError(
                "pisc_weight",
                self.pisc_weight,
                f"PISC has no target '{self.pitc_target}', only 'zero' and 'reference'; set "
                "pisc_weight to 0",
            )

    def _check_form(self) -> None:
        if self.pitc_form == "symmetric":
            for name, value in (("displacement", "adversarial"), ("anchor", "label")):
                if getattr(self, name) == value:
                    raise SettingsError(
                        name, value, "the symmetric form uses no forces; choose pitc_form 'auto'"
                    )
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

    def uses(self, term: str) -> bool:
        """Whether "pitc" or "pisc" has a weight."""
        weight = self.pitc_weight if term == "pitc" else self.pisc_weight
        return weight == AUTO or (isinstance(weight, float) and weight > 0)

    def with_form(self, base_uses_forces: bool) -> Settings:
        """The settings with ``pitc_form`` decided where it is "auto".

        Args:
            base_uses_forces: whether the supervised loss needs forces.
        """
        if self.pitc_form != AUTO:
            return self
        needs = self.displacement == "adversarial" or self.anchor == "label"
        free = self.pitc_target == "curvature" or not (base_uses_forces or self.uses("pisc"))
        return dataclasses.replace(
            self, pitc_form="symmetric" if free and not needs else "first_order"
        )

    def needs_forces(self) -> bool:
        """Whether a term needs the model's forces at the undisplaced structure."""
        pitc = self.uses("pitc") and self.pitc_form != "symmetric" and self.anchor == "prediction"
        pisc = self.uses("pisc") and self.pisc_vertex in ("extrapolated", "all")
        return pitc or pisc or self.displacement == "adversarial"

    def needs_reference(self) -> bool:
        """Whether a frozen model is to be evaluated too."""
        return self.pitc_target == "reference" or self.reference_model is not None

    def needs_labels(self) -> str | None:
        """The option for which force labels are needed, or None."""
        if self.displacement == "adversarial":
            return "displacement"
        return "anchor" if self.anchor == "label" else None


#: defaults by target: 'zero' bears little weight before it flattens a potential, the others have no
#: such bias; no random displacement of molecules meets the ceiling's bound (docs/method.md)
TARGET_DEFAULTS: dict[str, dict[str, float]] = {
    "zero": {"pitc_weight": 0.001, "auto_gradient_ratio": 0.01},
    "curvature": {"pitc_weight": 1e4, "auto_gradient_ratio": 0.1},
    "reference": {"pitc_weight": 1.0, "auto_gradient_ratio": 0.1},
    "ceiling": {"pitc_weight": 100.0, "auto_gradient_ratio": 0.1, "curvature_bound": 100.0},
    "floor": {"pitc_weight": 100.0, "auto_gradient_ratio": 0.1, "curvature_bound": 0.0},
}

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
