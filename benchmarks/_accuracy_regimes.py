"""What ``accuracy.py`` compares: regimes, their cells, and the variants tried in each; data only.

A *cell* is a data set, a kind of labels and a number of training frames. A *variant* is a set of
MACE arguments on top of the cell's, or a change of the cell itself (another level of theory of
the labels, another pretrained model). Energies in eV, lengths in Å.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

Arguments = Mapping[str, Any]

#: lengths of the baseline, in multiples of a cell's steps, that stand for equal wall time
STRETCHES = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
BATCH_SIZE = 5
VALIDATION_FRAMES = 20
POOL_FRAMES = 100

#: a small MACE: 2 layers, 16 channels of scalars, about 30 ms of CPU time for a step with
#: energies and forces of 5 ethanol molecules
MODEL: Arguments = {
    "model": "ScaleShiftMACE",
    "num_channels": 16,
    "max_L": 0,
    "max_ell": 2,
    "correlation": 2,
    "num_interactions": 2,
    "r_max": 4.5,
}
#: how every run is trained; the learning rate falls exponentially to ``FINAL_LR`` of its start
OPTIMISER: Arguments = {"ema": True, "ema_decay": 0.99, "default_dtype": "float64"}
FINAL_LR = 0.01
#: best of 0.01, 0.03, 0.06 (ethanol, 10 frames, 500 steps: 190, 179 and 192 meV/Å) and of 0.01,
#: 0.03 (30 frames, 1000 steps: 137, 112 meV/Å)
ENERGIES_AND_FORCES: Arguments = {"energy_weight": 1, "forces_weight": 100, "lr": 0.03}
ENERGIES: Arguments = {
    "energy_weight": 100,
    "forces_weight": 0,
    "lr": 0.01,
    "piwsl_base_loss": "energy",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One place in which variants compete.

    Attributes:
        regime: number and name of the regime.
        dataset: name in :data:`DATASETS`.
        labels: "E" or "E+F".
        frames: number of training frames.
        steps: optimiser steps of the baseline.
        arguments: MACE arguments.
        leading: training frames are drawn from so many leading frames of the file (those with
            curvature labels); None for all.
        level: where labels are from: "reference", "cheap", "delta" (reference minus cheap),
            or "cheap_forces" (reference energies, cheap forces).
        pretrained: name in :data:`PRETRAINED` of the model that fine-tuning starts from, or None.
        dynamics: whether the trained model runs molecular dynamics.
    """

    regime: str
    dataset: str
    labels: str
    frames: int
    steps: int
    arguments: Arguments
    leading: int | None = None
    level: str = "reference"
    pretrained: str | None = None
    dynamics: bool = False

    @property
    def name(self) -> str:
        """How ``--cells`` selects it."""
        return f"{self.regime}/{self.dataset}/{self.labels}/{self.frames}"


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is different from the baseline.

    Attributes:
        name: how ``--variants`` selects it.
        arguments: MACE arguments on top of the cell's.
        changes: attributes of the cell that are replaced.
        curvature: whether it needs curvature labels.
        pool: whether it has unlabelled frames: the same for every variant of a seed.
    """

    name: str
    arguments: Arguments = dataclasses.field(default_factory=dict)
    changes: Arguments = dataclasses.field(default_factory=dict)
    curvature: bool = False
    pool: bool = False


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Files in the data folder, and the atomic energies given to MACE."""

    train: str
    test: str
    e0s: str


DATASETS = {
    "acac_pbe": Dataset(
        "acac_pbe_train_300K",
        "acac_pbe_test_300K",
        "{1: -13.568422178, 6: -1026.853899612, 8: -2037.796869413}",
    ),
    "ethanol_pbe": Dataset(
        "ethanol_pbe_train",
        "ethanol_pbe_test",
        "{1: -13.568422383, 6: -1025.277095178, 8: -2035.570980959}",
    ),
    "ethanol_b3lyp": Dataset("ethanol_b3lyp_train", "ethanol_b3lyp_test", "average"),
    "tio2": Dataset("tio2_train", "tio2_test", "{8: -439.733580, 22: -1615.121188}"),
    "si_pbe": Dataset("si_pbe_train", "si_pbe_test", "average"),
}


def piwsl(name: str, **options: Any) -> Variant:
    """A variant by PIWSL options, without their prefix.

    ``level``, ``pretrained`` and ``steps`` change the cell, ``lr`` is MACE's, ``pool`` is a number
    of unlabelled structures per batch.
    """
    changes = {key: options.pop(key) for key in ("level", "pretrained", "steps") if key in options}
    own = {key: options.pop(key) for key in ("lr",) if key in options}
    pool = options.pop("pool", False)
    arguments = own | {f"piwsl_{key}": value for key, value in options.items()}
    if pool:
        arguments["piwsl_unlabeled_per_batch"] = pool
    curvature = options.get("pitc_target") == "curvature"
    return Variant(name, arguments, changes, curvature=curvature, pool=bool(pool))


BASE = piwsl("base", pitc_weight=0)


def number(weight: float | str) -> str:
    """A weight in a name."""
    return weight if isinstance(weight, str) else f"{weight:g}"


def zero(weight: float, displacement: float = 0.05, form: str = "first_order") -> Variant:
    """PITC with the paper's target."""
    return piwsl(
        f"{'symmetric' if form == 'symmetric' else 'zero'} w={number(weight)} ε={displacement:g}",
        pitc_target="zero",
        pitc_form=form,
        pitc_weight=weight,
        max_displacement=displacement,
    )


def curvature(
    weight: float | str, displacement: float = 0.05, form: str = "symmetric", **more: Any
) -> Variant:
    """PITC against curvature labels."""
    extra = "".join(f" {key}={value}" for key, value in more.items())
    return piwsl(
        f"curvature {form} w={number(weight)} ε={displacement:g}{extra}",
        pitc_target="curvature",
        pitc_form=form,
        pitc_weight=weight,
        max_displacement=displacement,
        **more,
    )


def reference(weight: float | str, displacement: float = 0.05, **more: Any) -> Variant:
    """PITC against the model that fine-tuning starts from."""
    extra = "".join(f" {key}={value}" for key, value in more.items())
    return piwsl(
        f"reference w={number(weight)} ε={displacement:g}{extra}",
        pitc_target="reference",
        pitc_weight=weight,
        max_displacement=displacement,
        **more,
    )


SAFE = Variant("safe")
BOUNDED = (
    piwsl("ceiling κ=50", pitc_target="ceiling", curvature_bound=50),
    piwsl("ceiling κ=50 w=1e4", pitc_target="ceiling", curvature_bound=50, pitc_weight=1e4),
    piwsl("ceiling κ=100", pitc_target="ceiling", curvature_bound=100),
    piwsl("ceiling κ=100 w=1e4", pitc_target="ceiling", curvature_bound=100, pitc_weight=1e4),
    piwsl("floor ε=0.3", pitc_target="floor", max_displacement=0.3),
    piwsl("floor κ=2 ε=0.3", pitc_target="floor", curvature_bound=2, max_displacement=0.3),
)
AUTO = tuple(
    piwsl(
        f"auto zero ratio={ratio:g}",
        pitc_target="zero",
        pitc_weight="auto",
        auto_gradient_ratio=ratio,
    )
    for ratio in (0.1, 0.01)
)
#: cheap labels put to other uses than curvature, or to both
CHEAP_RIVALS = (
    piwsl("pretrained cheap same frames", pitc_weight=0, pretrained="cheap_same"),
    piwsl("pretrained cheap many frames", pitc_weight=0, pretrained="cheap_many"),
    piwsl("delta", pitc_weight=0, level="delta"),
    piwsl("delta zero w=1e3", level="delta", pitc_target="zero", pitc_weight=1e3),
    piwsl("delta zero w=1e5", level="delta", pitc_target="zero", pitc_weight=1e5),
    *(
        piwsl(
            f"pretrained cheap many frames lr={lr:g}", pitc_weight=0, pretrained="cheap_many", lr=lr
        )
        for lr in (0.001, 0.003)
    ),
    piwsl(
        "pretrained cheap many frames lr=0.001 long",
        pitc_weight=0,
        pretrained="cheap_many",
        lr=0.001,
        steps=3500,
    ),
    reference(1e3, pretrained="cheap_many"),
    reference(1e4, pretrained="cheap_many"),
    reference(1e5, pretrained="cheap_many"),
    reference(1e3, pretrained="cheap_many", lr=0.001),
    reference(1e4, pretrained="cheap_many", lr=0.001),
    curvature(1e3, pretrained="cheap_many", lr=0.001),
    curvature(1e4, pretrained="cheap_many"),
    curvature(1e4, pretrained="cheap_many", lr=0.003),
    curvature(1e5, pretrained="cheap_many"),
)
CHEAP_FORCES = tuple(
    Variant(
        f"cheap forces w={weight:g}",
        {"piwsl_base_loss": "weighted", "forces_weight": weight, "piwsl_pitc_weight": 0},
        {"level": "cheap_forces"},
    )
    for weight in (0.1, 1, 10)
)
CURVATURE = (
    curvature(1e2),
    curvature(1e3),
    curvature(1e4),
    curvature(1e5),
    curvature(1e4, form="first_order"),
    curvature(1e5, form="first_order"),
    curvature(1e4, displacement=0.1),
    curvature(1e5, displacement=0.02),
    curvature(1e4, pool=2),
    curvature(1e5, pool=2),
    curvature("auto"),
)

#: by regime; those with cheap forces are for energies alone
VARIANTS: Mapping[str, tuple[Variant, ...]] = {
    "1-finetune": (
        BASE,
        SAFE,
        Variant("lora", {"lora": True, "piwsl_pitc_weight": 0}),
        Variant("freeze embedding and interactions", {"freeze": 5, "piwsl_pitc_weight": 0}),
        Variant("freeze all but readouts", {"freeze": 6, "piwsl_pitc_weight": 0}),
        zero(1e-3),
        zero(1e-2),
        zero(1e-2, displacement=0.1),
        zero(1e-1),
        piwsl("zero w=0.01 pisc w=0.01", pitc_target="zero", pitc_weight=0.01, pisc_weight=0.01),
        zero(1e-2, form="symmetric"),
        reference(0.1),
        reference(1),
        reference(10),
        reference(1e3),
        reference(1e4),
        reference(1e5),
        reference(1, displacement=0.1),
        reference("auto"),
        reference(1, pool=2),
        *BOUNDED,
        *AUTO,
        curvature(1e1),
        curvature(1e2),
        curvature(1e3),
        curvature(1e4),
        curvature(1e2, form="first_order"),
        curvature(1e2, pool=2),
    ),
    "2-scratch": (
        BASE,
        SAFE,
        zero(1e2),
        zero(10, form="symmetric"),
        zero(1e2, form="symmetric"),
        zero(1e3, form="symmetric"),
        zero(1e2, displacement=0.1, form="symmetric"),
        piwsl("zero w=100 pisc w=1", pitc_target="zero", pitc_weight=100, pisc_weight=1),
        piwsl("zero w=100 pool=1", pitc_target="zero", pitc_weight=100, pool=1),
        *BOUNDED,
        *AUTO,
    ),
    "3-forces": (
        BASE,
        SAFE,
        zero(1),
        zero(1e2),
        zero(1e2, form="symmetric"),
        piwsl("zero w=1 pisc w=1", pitc_target="zero", pitc_weight=1, pisc_weight=1),
        *BOUNDED,
        AUTO[1],
    ),
    "4-dynamics": (
        BASE,
        SAFE,
        zero(1),
        *BOUNDED,
        piwsl("floor ε=0.3 pool=2", pitc_target="floor", max_displacement=0.3, pool=2),
        curvature(1e4),
        curvature(1e5),
    ),
    "5-curvature": (BASE, SAFE, zero(1), *CURVATURE, *CHEAP_RIVALS, *CHEAP_FORCES),
}


def _cells() -> tuple[Cell, ...]:
    finetune = {**ENERGIES, "energy_weight": 1, "lr": 0.003}
    cells = [
        Cell("1-finetune", "ethanol_b3lyp", "E", n, 1000, finetune, leading=250, pretrained="pbe")
        for n in (10, 50, 200)
    ]
    crystal = {"r_max": 4.0}
    cells += [Cell("2-scratch", "tio2", "E", n, 600, {**ENERGIES, **crystal}) for n in (100, 400)]
    cells += [
        Cell("3-forces", name, "E+F", n, steps, {**ENERGIES_AND_FORCES, **more})
        for name, steps, more in (("acac_pbe", 600, {}), ("si_pbe", 300, crystal))
        for n in (20, 50)
    ]
    cells += [
        Cell("4-dynamics", "acac_pbe", "E+F", n, 800, ENERGIES_AND_FORCES, 150, dynamics=True)
        for n in (10, 20)
    ]
    cells += [
        Cell("5-curvature", name, labels, n, steps, arguments, leading=150)
        for name, steps in (("ethanol_pbe", 1000), ("acac_pbe", 600))
        for labels, arguments in (("E+F", ENERGIES_AND_FORCES), ("E", ENERGIES))
        for n in (10, 30, 100)
    ]
    cells += [
        Cell("5-curvature", "si_pbe", labels, n, 300, {**arguments, **crystal})
        for labels, arguments in (("E+F", ENERGIES_AND_FORCES), ("E", ENERGIES))
        for n in (20, 50)
    ]
    return tuple(cells)


CELLS = _cells()
FINETUNED: Arguments = {
    "foundation_filter_elements": True,
    "multiheads_finetuning": False,
    "E0s": "foundation",
}


def pretraining(cell: Cell) -> Cell | None:
    """The cell whose baseline is the model that a cell's fine-tuning starts from.

    The foundation is never trained on the structures it is tested on.
    """
    common = {"regime": "pretraining", "labels": "E+F", "pretrained": None, "dynamics": False}
    common["arguments"] = ENERGIES_AND_FORCES
    if cell.pretrained is None:
        return None
    if cell.pretrained == "pbe":
        return dataclasses.replace(
            cell, dataset="ethanol_pbe", frames=900, steps=1500, leading=None, **common
        )
    if cell.pretrained == "cheap_same":
        return dataclasses.replace(cell, steps=1000, level="cheap", **common)
    assert cell.pretrained == "cheap_many", cell.pretrained
    frames = {"ethanol_pbe": 900, "acac_pbe": 400, "si_pbe": 150}[cell.dataset]
    return dataclasses.replace(
        cell, frames=frames, steps=1500, level="cheap", leading=None, **common
    )


def variants(cell: Cell) -> tuple[Variant, ...]:
    """The variants tried in a cell."""
    return tuple(
        variant
        for variant in VARIANTS[cell.regime]
        if cell.labels == "E" or variant not in CHEAP_FORCES
    )
