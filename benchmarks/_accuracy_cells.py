"""Where variants compete in ``accuracy.py``: regimes and their cells; data only.

A *cell* is a data set, a kind of labels and a number of training frames. Energies in eV, lengths
in Å.
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
#: frames whose Hessian a model is tested on, if there are so many beside the training frames
HESSIAN_TEST_FRAMES = 10

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
FINETUNED: Arguments = {
    "foundation_filter_elements": True,
    "multiheads_finetuning": False,
    "E0s": "foundation",
}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Files in the data folder, or the repository's, and the atomic energies given to MACE.

    Attributes:
        train: name of the file, without its ending.
        test: likewise.
        e0s: MACE's ``--E0s``.
        cheap: the cheap method.
        hessians: file with Hessians of the reference method for frames of ``train``; by default
            ``--hessians`` has a file, of whatever method.
        reference: the reference method, where it is cheap enough to label displaced copies.
        many: number of frames that a model is pretrained on.
    """

    train: str
    test: str
    e0s: str
    cheap: str = "GFN2-xTB"
    hessians: str | None = None
    reference: str | None = None
    many: int = 900


_ETHANOL_PBE = Dataset(
    "ethanol_pbe_train",
    "ethanol_pbe_test",
    "{1: -13.568422383, 6: -1025.277095178, 8: -2035.570980959}",
)
DATASETS = {
    "acac_pbe": Dataset(
        "acac_pbe_train_300K",
        "acac_pbe_test_300K",
        "{1: -13.568422178, 6: -1026.853899612, 8: -2037.796869413}",
        many=400,
    ),
    "ethanol_pbe": _ETHANOL_PBE,
    "ethanol_pbe_hessians": dataclasses.replace(
        _ETHANOL_PBE, cheap="GFN1-xTB", hessians="ethanol_pbe_hessians"
    ),
    "ethanol_gfn2": Dataset(
        "ethanol_gfn2_train",
        "ethanol_gfn2_test",
        "average",
        cheap="GFN1-xTB",
        reference="GFN2-xTB",
        many=250,
    ),
    # two minima and a transition state first (_accuracy_stationary.py)
    "ethanol_stationary": Dataset("ethanol_stationary_train", "ethanol_gfn2_test", "average"),
    "acac_gfn2": Dataset("acac_gfn2_train", "acac_gfn2_test", "average"),
    "aspirin_gfn2": Dataset("aspirin_gfn2_train", "aspirin_gfn2_test", "average"),
    "ethanol_b3lyp": Dataset("ethanol_b3lyp_train", "ethanol_b3lyp_test", "average"),
    "tio2": Dataset("tio2_train", "tio2_test", "{8: -439.733580, 22: -1615.121188}"),
    "si_pbe": Dataset("si_pbe_train", "si_pbe_test", "average", cheap="Kumagai", many=150),
    "tio2_sevenn": Dataset("tio2_sevenn_train", "tio2_sevenn_test", "average"),
}
#: what makes data files that are not in the data folder, and needs a Python of its own
MADE_BY = {
    "acac_gfn2": "_reaction_data.py",
    "aspirin_gfn2": "_survival_data.py",
    "tio2_sevenn": "_solids_data.py",
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
            Hessians); None for all.
        level: where labels are from: "reference", "cheap", "delta" (reference minus cheap),
            or "cheap_forces" (reference energies, cheap forces).
        pretrained: what the model that fine-tuning starts from was trained on: None, "pbe" or
            "cheap" energies and forces, the latter also "cheap, longer", for twice the steps, or
            "cheap, Hessians", with Hessians of the cheap method.
        new: this many times ``frames`` more training frames, beyond the leading ones.
        copies: this many displaced copies of each training frame as more training frames.
        probes: this many probes of each frame as its label, in place of the whole Hessian.
        hessians: whether Hessians of the trained model are tested.
        always: so many first frames of the file are in every training set, beside ``frames``.
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
    new: int = 0
    copies: int = 0
    probes: int = 0
    hessians: bool = False
    always: int = 0

    @property
    def name(self) -> str:
        """How ``--cells`` selects it."""
        return f"{self.regime}/{self.dataset}/{self.labels}/{self.frames}"

    @property
    def n_training(self) -> int:
        """Number of structures in the training file."""
        return self.always + self.frames * (1 + self.new + self.copies)

    @property
    def batch_size(self) -> int:
        """Structures per batch."""
        return min(BATCH_SIZE, self.n_training)

    @property
    def hessian_weight(self) -> float:
        """The default weight of Hessian labels (docs/options.md)."""
        return self.arguments["forces_weight"] or 100 * self.arguments["energy_weight"]


def _cells() -> tuple[Cell, ...]:
    finetune = {**ENERGIES, "energy_weight": 1, "lr": 0.003}
    crystal = {"r_max": 4.0}
    both = (("E+F", ENERGIES_AND_FORCES), ("E", ENERGIES))
    gentle = {**finetune, "lr": 0.001}
    cells = [
        Cell("1-finetune", "ethanol_b3lyp", "E", n, 1000, finetune, leading=250, pretrained="pbe")
        for n in (10, 50, 200)
    ]
    cells += [Cell("1-finetune", "ethanol_gfn2", "E", 50, 300, gentle, pretrained="cheap")]
    cells += [Cell("2-scratch", "tio2", "E", n, 600, {**ENERGIES, **crystal}) for n in (100, 400)]
    for name, steps, more in (("acac_pbe", 600, {}), ("si_pbe", 300, crystal)):
        arguments = {**ENERGIES_AND_FORCES, **more}
        cells += [Cell("3-forces", name, "E+F", n, steps, arguments) for n in (20, 50)]
    for labels, arguments in both:
        cells += [
            Cell("5-curvature", name, labels, n, steps, arguments, leading=150)
            for name, steps in (("ethanol_pbe", 1000), ("acac_pbe", 600))
            for n in (10, 30, 100)
        ]
        arguments = {**arguments, **crystal}
        cells += [Cell("5-curvature", "si_pbe", labels, n, 300, arguments) for n in (20, 50)]
    # 20 frames of PBE need seven more Hessians of DFT (_accuracy_pyscf.py)
    for name, leading, leading_of_20 in (
        ("ethanol_pbe_hessians", 17, 24),
        ("ethanol_gfn2", 150, 150),
    ):
        cells += [
            Cell("6-hessians", name, labels, n, 1600, arguments, leading, hessians=True)
            for labels, arguments in both
            for n in (5, 10)
        ]
        slow = Cell(
            "6-hessians-finetune", name, "E+F", 1, 400, {**ENERGIES_AND_FORCES, "lr": 0.003}
        )
        slow = dataclasses.replace(slow, leading=leading, pretrained="cheap", hessians=True)
        cells += [dataclasses.replace(slow, frames=n) for n in (1, 5, 10)]
        twenty = Cell("6-hessians", name, "E+F", 20, 1600, ENERGIES_AND_FORCES, leading_of_20)
        cells += [dataclasses.replace(twenty, hessians=True)]
    for n in (0, 10):
        cells += [
            Cell(
                "6-hessians-stationary",
                "ethanol_stationary",
                "E+F",
                n,
                1600,
                ENERGIES_AND_FORCES,
                leading=143,
                hessians=True,
                always=3,
            )
        ]
    # small cells with Hessians, tested on larger ones of all phases
    solid = {**ENERGIES_AND_FORCES, **crystal}
    cells += [Cell("6-hessians-solids", "tio2_sevenn", "E+F", 10, 800, solid, leading=24)]
    # the published terms where the paper claims gains: energies alone, few frames, fine-tuning
    paper = [cell for cell in cells if cell.regime == "1-finetune" and cell.frames < 200]
    paper += [Cell("2-scratch", "tio2", "E", 100, 600, {**ENERGIES, **crystal})]
    paper += [
        Cell("", name, labels, n, steps, arguments)
        for name, labels, n, steps, arguments in (
            ("ethanol_pbe", "E", 30, 1500, ENERGIES),
            ("ethanol_pbe", "E", 100, 1500, ENERGIES),
            ("ethanol_pbe", "E+F", 5, 800, ENERGIES_AND_FORCES),
            ("ethanol_pbe", "E+F", 50, 800, ENERGIES_AND_FORCES),
            ("acac_pbe", "E+F", 10, 600, ENERGIES_AND_FORCES),
            ("tio2", "E+F", 20, 400, {**ENERGIES_AND_FORCES, **crystal}),
        )
    ]
    cells += [dataclasses.replace(cell, regime="7-paper") for cell in paper]
    cells += [
        Cell("8-dynamics", "aspirin_gfn2", "E+F", n, 800, ENERGIES_AND_FORCES, leading=150)
        for n in (10, 30, 100)
    ]
    return tuple(cells)


CELLS = _cells()


def schedule(epochs: int) -> dict[str, Any]:
    """MACE's arguments of a training of so many epochs, validated ten times, on a CPU."""
    return {
        "max_num_epochs": epochs,
        "eval_interval": max(1, epochs // 10),
        "patience": epochs,
        "scheduler": "ExponentialLR",
        "lr_scheduler_gamma": FINAL_LR ** (1 / (epochs - 1)),
        "device": "cpu",
    }


def pretraining(cell: Cell) -> Cell | None:
    """The cell whose baseline is the model that a cell's fine-tuning starts from.

    The foundation is never trained on the structures it is tested on.
    """
    if cell.pretrained is None:
        return None
    dataset, level = cell.dataset, "cheap"
    if cell.pretrained == "pbe":
        dataset, level = "ethanol_pbe", "reference"
    frames, steps = DATASETS[dataset].many, 3000 if "longer" in cell.pretrained else 1500
    return Cell("pretraining", dataset, "E+F", frames, steps, ENERGIES_AND_FORCES, level=level)
