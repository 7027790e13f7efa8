"""What ``accuracy.py`` compares in each regime; data only.

A *variant* is a set of MACE arguments on top of the cell's, or a change of the cell itself
(another level of theory of the labels, another pretrained model, more frames).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from _accuracy_cells import DATASETS, Arguments, Cell


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is different from the baseline.

    Attributes:
        name: how ``--variants`` selects it.
        arguments: MACE arguments on top of the cell's.
        changes: attributes of the cell that are replaced.
        hessian: weight of Hessian labels in multiples of the default; None without labels.
        weights: of PITC and PISC, by the option's name, in multiples of the cell's energy weight.
    """

    name: str
    arguments: Arguments = dataclasses.field(default_factory=dict)
    changes: Arguments = dataclasses.field(default_factory=dict)
    hessian: float | None = None
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)


def base(name: str = "base", arguments: Arguments | None = None, **changes: Any) -> Variant:
    """A variant without PIWSL terms."""
    return Variant(name, {"piwsl_pitc_weight": 0, **(arguments or {})}, changes)


def zero(weight: float, form: str = "auto", pisc: float = 0) -> Variant:
    """PITC, with PISC or without."""
    name = f"{'symmetric' if form == 'symmetric' else 'zero'} w={weight:g}"
    options = {"pitc_weight": weight, "consistency_form": form, "pisc_weight": pisc}
    return Variant(
        name + (f" pisc w={pisc:g}" if pisc else ""),
        {f"piwsl_{key}": value for key, value in options.items()},
    )


def published(k: str, pitc: float = 1.2, step: float = 0.05, pisc: float = 0) -> Variant:
    """The published terms: k = 0 or ½, displacements of ``step`` Å for each atom.

    Weights are in multiples of that of the energy, whose errors are per atom as the residuals are;
    published are 1.2 and 0.01.
    """
    name = f"k={k} w={pitc:g} ε={step:g}" + (f" pisc w={pisc:g}" if pisc else "")
    options = {
        "consistency_form": {"0": "first_order", "½": "trapezoid"}[k],
        "displacement": "atom_norm",
        "max_displacement": step,
    }
    weights = {"piwsl_pitc_weight": pitc, "piwsl_pisc_weight": pisc}
    return Variant(name, {f"piwsl_{key}": value for key, value in options.items()}, weights=weights)


def hessian(weight: float = 1, **options: str) -> Variant:
    """Hessian labels at a multiple of the default weight; options without ``hessian_``."""
    words = ["hessian", *([f"w×{weight:g}"] if weight != 1 else []), *options.values()]
    arguments = {f"piwsl_hessian_{key}": value for key, value in options.items()}
    return Variant(" ".join(words), arguments, hessian=weight)


BASE = base()
SAFE = Variant("safe")
#: the ICML setting, k = ½, and with the form of the submitted version
PAPER = Variant("paper", {"piwsl_preset": "paper"})
PAPER_FIRST_ORDER = Variant(
    "paper k=0", {"piwsl_preset": "paper", "piwsl_consistency_form": "first_order"}
)
#: the published terms at the published ratio to the energy, alone and with PISC; weights over four
#: decades and ε from 0.02 to 0.2 Å
PUBLISHED = tuple(
    published(k, *what)
    for k in ("0", "½")
    for what in (
        *((1.2, 0.05, pisc) for pisc in (0, 0.01)),
        *((weight, 0.05) for weight in (0.012, 0.12, 12, 120)),
        *((1.2, step) for step in (0.02, 0.1, 0.2)),
    )
)
#: the published k = ½ along the gradient of the supervised loss
_ALONG = published("½", pisc=0.01)
ALONG_THE_GRADIENT = Variant(
    "k=½ adversarial",
    {**_ALONG.arguments, "piwsl_displacement": "adversarial"},
    weights=_ALONG.weights,
)
#: other uses of cheap labels: pretraining, at two learning rates, and as level of theory
CHEAP_RIVALS = (
    *(
        base(f"pretrained cheap many frames lr={lr:g}", {"lr": lr}, pretrained="cheap")
        for lr in (0.001, 0.003)
    ),
    base("delta", level="delta"),
)
#: for energies alone
CHEAP_FORCES = tuple(
    base(
        f"cheap forces w={weight:g}",
        {"piwsl_base_loss": "weighted", "forces_weight": weight},
        level="cheap_forces",
    )
    for weight in (0.1, 1, 10)
)
HESSIANS = (hessian(), hessian(0.1), hessian(0.3), hessian(3))
#: as many force calls of the reference method: probes, new frames, displaced copies
PROBES = tuple(Variant(f"hessian probes={n}", changes={"probes": n}, hessian=1) for n in (1, 2))
NEW_FRAMES = tuple(base(f"new frames ×{1 + n}", new=n) for n in (1, 2))
COPIES = tuple(base(f"displaced copies ×{1 + n}", copies=n) for n in (1, 2))

#: pretrained for twice the steps, or with Hessians of the cheap method, as HINT is
PRETRAINED = tuple(
    dataclasses.replace(variant, name=f"{variant.name}, pretrained {kind}", changes=changes)
    for kind, changes in (
        ("longer", {"pretrained": "cheap, longer"}),
        ("with Hessians", {"pretrained": "cheap, Hessians"}),
    )
    for variant in (BASE, hessian())
)

#: by regime
VARIANTS: Mapping[str, tuple[Variant, ...]] = {
    "1-finetune": (
        BASE,
        SAFE,
        PAPER,
        PAPER_FIRST_ORDER,
        base("lora", {"lora": True}),
        *(zero(weight) for weight in (1e-3, 1e-2, 1e-1, 1)),
        zero(1e-2, pisc=1e-2),
    ),
    "2-scratch": (
        BASE,
        SAFE,
        PAPER,
        PAPER_FIRST_ORDER,
        zero(10),
        zero(1e2),
        zero(1e3),
        zero(1e2, pisc=1),
    ),
    "3-forces": (
        BASE,
        SAFE,
        PAPER,
        PAPER_FIRST_ORDER,
        zero(1),
        zero(1e2),
        zero(1e2, form="symmetric"),
        zero(1, pisc=1),
    ),
    "5-curvature": (
        BASE,
        SAFE,
        zero(1),
        hessian(),
        hessian(0.1),
        hessian(form="energies"),
        hessian(0.1, form="energies"),
        *CHEAP_RIVALS,
        *CHEAP_FORCES,
    ),
    "6-hessians": (
        BASE,
        *HESSIANS,
        hessian(form="symmetric"),
        hessian(form="energies"),
        hessian(displacement="column"),
        *PROBES,
        *NEW_FRAMES,
        *COPIES,
    ),
    "7-paper": (BASE, SAFE, PAPER, PAPER_FIRST_ORDER, *PUBLISHED, ALONG_THE_GRADIENT),
    "8-dynamics": (
        BASE,
        *(published(k, pisc=pisc) for k in ("0", "½") for pisc in (0, 0.01)),
        hessian(),
    ),
    "6-hessians-stationary": (BASE, hessian(), hessian(0.1)),
    "6-hessians-solids": (
        BASE,
        *(base(f"base lr={lr:g}", {"lr": lr}) for lr in (0.003, 0.01)),
        hessian(),
        hessian(0.1),
        *PROBES,
        *(base(f"new frames ×{1 + n}", new=n) for n in (1, 2, 32)),
    ),
    "6-hessians-finetune": (
        BASE,
        base("base lr=0.001", {"lr": 0.001}),
        base("base lr=0.01", {"lr": 0.01}),
        *HESSIANS,
        *NEW_FRAMES,
        *PRETRAINED,
    ),
}


def variants(cell: Cell) -> tuple[Variant, ...]:
    """The variants tried in a cell."""
    left_out: list[Variant] = []
    if cell.labels != "E":
        left_out += CHEAP_FORCES
    if DATASETS[cell.dataset].reference is None or cell.labels == "E":
        left_out += COPIES
    return tuple(variant for variant in VARIANTS[cell.regime] if variant not in left_out)
