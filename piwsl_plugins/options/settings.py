"""Every option of PIWSL that all frameworks have, written once, in groups.

The MACE argument group, the NequIP loss and the option table of the documentation are
generated from :class:`Settings`. A function takes the group that it uses. Importing this
module costs nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from ..errors import SettingsError
from .option import Group, Groups, option

#: the word by which an option's value is found by us
AUTO = "auto"
#: displacements along the gradient of the supervised loss
ADVERSARIAL = "adversarial"
#: PITC's default weight: little enough to do no harm in the forms that are the default
#: (docs/accuracy.md); 'trapezoid' at the published one gains nothing and costs three to nine
#: times a step, and the preset made one of two fine-tuned models worse
SAFE_WEIGHT = 0.001
#: of Hessians, relative to their largest element: beyond, no noise explains it
LARGEST_NOISE = 0.2

PRESETS: dict[str, dict[str, Any]] = {
    "safe": {},
    "paper": {
        "pitc_weight": 1.2,
        "pisc_weight": 0.01,
        "consistency_form": "trapezoid",
        "max_displacement": 0.05,
        "displacement": "atom_norm",
        "normalization": "total",
    },
}
#: options of earlier versions, and what to do
GONE: dict[str, str] = {
    "pitc_form": "this option is called consistency_form now, for PITC and PISC together",
    "pisc_vertex": "this option is gone: PISC is checked at r+δ; leave it out",
    "metric": "this option is gone: the penalty is the square of a residual; leave it out",
    "huber_delta": "this option is gone: the penalty is the square of a residual; leave it out",
}


@dataclasses.dataclass(frozen=True)
class Consistency(Group):
    """PITC and PISC, the published terms (arXiv 2408.05215)."""

    pitc_weight: float | None = option(
        None,
        "Weight of the Taylor-expansion consistency (PITC); 0 switches it off.",
        derived=f"{SAFE_WEIGHT:g}, with hessian_file 0",
        minimum=0.0,
    )
    pisc_weight: float = option(
        0.0,
        "Weight of the spatial consistency (PISC); 0 switches it off and saves about one more "
        "force evaluation per step.",
        minimum=0.0,
    )
    consistency_form: str = option(
        AUTO,
        "Which forces PITC and PISC compare energy differences with; written for PITC.",
        kind=str,
        choices={
            "first_order": "E(r+δ) − [E(r) − <δ, F(r)>], those at the beginning: k = 0, the "
            "paper's submitted form",
            "trapezoid": "E(r+δ) − [E(r) − ½<δ, F(r) + F(r+δ)>], those at both ends: k = ½, the "
            "paper's ICML setting",
            "symmetric": "½[E(r+δ) + E(r−δ)] − E(r), none, and without the third-order term of "
            "'first_order'; PITC alone",
            AUTO: "'symmetric' where nothing else needs forces, else 'first_order'",
        },
    )
    max_displacement: float = option(
        0.05,
        "Size ε of the displacements, as 'displacement' says; some 30 % of the shortest bond at "
        "most.",
        unit="Å",
        minimum=0.0,
        exclusive=True,
        maximum=0.5,
    )
    displacement: str = option(
        "uniform",
        "How displacements are drawn.",
        kind=str,
        choices={
            "uniform": "each component uniform in [−ε, ε]",
            "atom_norm": "ε g/‖g‖ with the norm over each atom, g Gaussian: every atom moves by ε",
            "structure_norm": "the same with the norm over the structure: of N atoms, one moves by "
            "some ε/√N",
            ADVERSARIAL: "as atom_norm, but g is the gradient of the supervised loss by the "
            "positions, for one more evaluation of this loss in each step; δ' of PISC stays "
            "Gaussian",
        },
        refused={
            "fixed_length": "this is called atom_norm now",
            "one_sided": "this is gone, as nothing says that the paper has it; choose uniform "
            "or atom_norm",
        },
    )
    normalization: str = option(
        "per_atom",
        "Whether residuals of PITC and PISC are divided by the number of atoms before they are "
        "squared.",
        kind=str,
        choices={"per_atom": "divided", "total": "not divided"},
    )


@dataclasses.dataclass(frozen=True)
class Hessian(Group):
    """Hessian labels in the form of forces, or of energies (docs/hessian.md)."""

    hessian_file: str | None = option(
        None,
        "Hessian labels: a file of 'piwsl hessian', or one that ASE reads, whose frames carry "
        "REF_hessian in eV/Å²; matched to the training structures by geometry.",
        kind=str,
    )
    hessian_valid_file: str | None = option(
        None,
        "Hessian labels of validation structures, likewise: their error is logged at each "
        "validation, and no model is selected by it.",
        kind=str,
    )
    hessian_weight: float | None = option(
        None,
        "Weight of the Hessian labels, to be compared with the weight of forces: errors of the "
        "Hessian times a displacement of 0.05 Å are errors of forces, and penalised as those are. "
        "0 switches the term off.",
        derived="that of the forces; on energies alone 100 times that of the energy",
        minimum=0.0,
    )
    hessian_form: str = option(
        "forces",
        "What the labels are compared with.",
        kind=str,
        choices={
            "forces": "F(r) − F(r+δ), one more evaluation of the forces",
            "symmetric": "½[F(r−δ) − F(r+δ)], two more",
            "energies": "½[E(r+δ) + E(r−δ)] − E(r), for training without forces",
        },
    )
    hessian_displacement: str = option(
        "gaussian",
        "Direction of δ; labels that are probes are compared along their own.",
        kind=str,
        choices={
            "gaussian": "all components Gaussian",
            "column": "one component of one atom",
        },
    )
    hessian_step: float | None = option(
        None,
        "Size of δ: its root mean square per component for 'gaussian', its length for 'column'. "
        "Errors of the form 'forces' grow with it, of the others with its square.",
        derived="0.002 for the form 'forces', else 0.01",
        unit="Å",
        minimum=0.0,
        exclusive=True,
        maximum=0.1,
    )
    hessian_tolerance: float = option(
        0.05,
        "Largest violation of what all Hessians fulfil, relative to their largest element: they "
        "are symmetric, and moving or turning all atoms together changes no forces. Labels beyond "
        "it are refused; raise it for noise that you know, as of a grid.",
        minimum=0.0,
        exclusive=True,
        maximum=LARGEST_NOISE,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hessian_step is None:
            step = 0.002 if self.hessian_form == "forces" else 0.01
            object.__setattr__(self, "hessian_step", step)


@dataclasses.dataclass(frozen=True)
class Schedule(Group):
    """When the terms act."""

    start_epoch: int = option(
        0, "First epoch with PIWSL terms (epochs count from 0).", kind=int, minimum=0
    )
    ramp_epochs: int = option(
        0,
        "Number of epochs over which the weights grow linearly before they are whole.",
        kind=int,
        minimum=0,
    )
    interval: int = option(1, "PIWSL terms in every k-th optimiser step only.", kind=int, minimum=1)


@dataclasses.dataclass(frozen=True)
class PoolOptions(Group):
    """Structures beside the training set."""

    pool_file: str | None = option(
        None,
        "Structures beside the training set, some of which go with each batch. Those with labels "
        "are supervised, PIWSL terms act on all; statistics, validation and model selection do not "
        "see them.",
        kind=str,
    )
    pool_per_batch: int = option(
        4,
        "Number of structures of 'pool_file' in each batch; all, once, where it has fewer.",
        kind=int,
        minimum=1,
    )
    pool_weight: float = option(
        1.0,
        "Weight of the base loss of the pool's structures, which is added to that of the batch.",
        minimum=0.0,
    )


@dataclasses.dataclass(frozen=True)
class RunOptions(Group):
    """What concerns a whole run."""

    preset: str = option(
        "safe",
        "Values of all options that are not given. 'safe' is weak enough to do no harm; 'paper' "
        "is the ICML setting for ANI-1x (k = ½), whose tables are most of models that predict "
        "forces directly; MACE gains nothing by it, and one of two fine-tuned models got worse.",
        kind=str,
        choices={"safe": "the defaults", "paper": "arXiv 2408.05215, ANI-1x, ICML version"},
    )
    softening_guard: str = option(
        "warn",
        "Whether the log warns when the force slope on validation data of a model that has been "
        "right falls below 0.9: the regression of predicted on reference forces; without force "
        "labels, the RMS force relative to that at the start.",
        kind=str,
        choices={"warn": "a warning", "off": "the slope is not looked at"},
    )
    seed: int | None = option(
        None,
        "Seed of the displacements and of the order of the pool.",
        derived="the run's seed",
        kind=int,
        minimum=0,
    )


SomeSettings = TypeVar("SomeSettings", bound="Settings")


@dataclasses.dataclass(frozen=True)
class Settings(Groups):
    """All options; a framework with options of its own adds a group in a subclass.

    Raises:
        SettingsError: naming the option, the value and the remedy.
    """

    run: RunOptions = dataclasses.field(default_factory=RunOptions)
    consistency: Consistency = dataclasses.field(default_factory=Consistency)
    hessian: Hessian = dataclasses.field(default_factory=Hessian)
    schedule: Schedule = dataclasses.field(default_factory=Schedule)
    pool: PoolOptions = dataclasses.field(default_factory=PoolOptions)

    def __post_init__(self) -> None:
        consistency, hessian = self.consistency, self.hessian
        if consistency.pitc_weight is None:
            weight = SAFE_WEIGHT if hessian.hessian_file is None else 0.0
            filled = dataclasses.replace(consistency, pitc_weight=weight)
            object.__setattr__(self, "consistency", filled)
        if hessian.hessian_file is None and hessian.hessian_weight:
            raise SettingsError(
                "hessian_weight",
                hessian.hessian_weight,
                "there are no Hessian labels; name their file with hessian_file",
            )
        if consistency.consistency_form == "symmetric" and self.has_pisc:
            raise SettingsError(
                "consistency_form",
                "symmetric",
                "PISC follows the forces along its path; choose 'first_order' or 'trapezoid', or "
                "leave pisc_weight out",
            )
        if self.is_adversarial and self.pool.pool_file is not None:
            raise SettingsError(
                "displacement",
                ADVERSARIAL,
                "structures of a pool carry terms and may have no labels, so that there is no "
                "supervised loss along whose gradient they could be displaced; choose atom_norm, "
                "or leave pool_file out",
            )

    @property
    def has_pitc(self) -> bool:
        """Whether PITC has a weight at some time of the training."""
        return bool(self.consistency.pitc_weight)

    @property
    def has_pisc(self) -> bool:
        """Whether PISC has a weight at some time of the training."""
        return self.consistency.pisc_weight > 0

    @property
    def is_adversarial(self) -> bool:
        """Whether PITC or PISC displaces atoms along the gradient of the supervised loss."""
        acts = self.has_pitc or self.has_pisc
        return acts and self.consistency.displacement == ADVERSARIAL

    @classmethod
    def create(cls: type[SomeSettings], given: Mapping[str, Any]) -> SomeSettings:
        """Settings from the options a user gave; the preset fills in the others."""
        for name in GONE.keys() & given.keys():
            raise SettingsError(name, given[name], GONE[name])
        preset = given.get("preset", RunOptions.preset)
        cls.options()["preset"].parse("preset", preset)
        return super().create({**PRESETS[preset], **given})

    def decided(self: SomeSettings, base_uses_forces: bool, forces_weight: float) -> SomeSettings:
        """The settings with what depends on the supervised loss.

        Args:
            base_uses_forces: whether it needs forces.
            forces_weight: weight of its forces; on energies alone, 100 times that of the energy.
        """
        changes: dict[str, Any] = {}
        if self.hessian.hessian_file is not None and self.hessian.hessian_weight is None:
            changes["hessian_weight"] = forces_weight
        if self.consistency.consistency_form == AUTO:
            free = not (
                base_uses_forces
                or self.has_pisc
                or (self.hessian.hessian_file and self.hessian.hessian_form != "energies")
            )
            changes["consistency_form"] = "symmetric" if free else "first_order"
        return self.replace(**changes)


def default_text(settings: type[Settings], name: str) -> str:
    """The default of an option, and the preset 'paper' where it differs, in words."""
    default = settings.defaults()[name]
    derived = settings.options()[name].derived
    text = f"{default}" if default is not None else derived or "none"
    paper = PRESETS["paper"].get(name, default)
    return text if paper == default else f"{text}; preset paper: {paper}"
