"""A training of ``accuracy.py``: its settings, and what its result depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from typing import Any

from _accuracy_cells import (
    DATASETS,
    FINAL_LR,
    FINETUNED,
    MODEL,
    OPTIMISER,
    VALIDATION_FRAMES,
    Arguments,
    Cell,
    pretraining,
)
from _accuracy_data import Sources, digest
from _accuracy_variants import BASE, Variant, hessian

#: validations per training, besides the first
VALIDATIONS = 10


@dataclasses.dataclass(frozen=True)
class Job:
    """One training: a variant in a cell, with a seed, for ``stretch`` times the cell's steps.

    ``overrides`` are MACE arguments of the command line, on top of all others, but not for
    pretraining.
    """

    cell: Cell
    variant: Variant
    seed: int
    stretch: float = 1.0
    overrides: tuple[tuple[str, str], ...] = ()

    @property
    def effective_cell(self) -> Cell:
        """The cell with the variant's changes."""
        return dataclasses.replace(self.cell, **self.variant.changes)

    @property
    def name(self) -> str:
        """For messages."""
        stretch = f" ×{self.stretch:g}" if self.stretch != 1 else ""
        return f"{self.cell.name}: {self.variant.name}{stretch}, seed {self.seed}"

    @property
    def first(self) -> Job | None:
        """The training that must come before: that of the pretrained model."""
        cell = pretraining(self.effective_cell)
        if cell is None:
            return None
        with_hessians = "Hessians" in str(self.effective_cell.pretrained)
        return Job(cell, hessian() if with_hessians else BASE, self.seed)

    def epochs(self) -> tuple[int, int]:
        """Number of epochs and interval of validation; the last epoch is validated."""
        cell = self.effective_cell
        per_epoch = cell.n_training // cell.batch_size
        epochs = max(2, round(cell.steps * self.stretch / per_epoch))
        interval = max(1, round((epochs - 1) / VALIDATIONS))
        return 1 + interval * max(1, round((epochs - 1) / interval)), interval

    def arguments(self) -> dict[str, Any]:
        """MACE's arguments, but for the paths."""
        cell = self.effective_cell
        epochs, interval = self.epochs()
        merged = {**MODEL, **OPTIMISER, **cell.arguments, **self.variant.arguments}
        if self.variant.hessian not in (None, 1):
            merged["piwsl_hessian_weight"] = self.variant.hessian * cell.hessian_weight
        for name, weight in self.variant.weights.items():
            merged[name] = weight * cell.arguments["energy_weight"]
        merged.update(self.overrides)
        merged.setdefault("lr_scheduler_gamma", FINAL_LR ** (1 / (epochs - 1)))
        if cell.pretrained is not None:
            for name in ("num_channels", "max_L", "max_ell", "correlation", "num_interactions"):
                merged.pop(name, None)
            e0s: Arguments = FINETUNED
        else:
            own = cell.level in ("reference", "cheap_forces")
            e0s = {"E0s": DATASETS[cell.dataset].e0s if own else "average"}
        return {
            "loss": "piwsl",
            "seed": self.seed,
            "batch_size": cell.batch_size,
            "valid_batch_size": VALIDATION_FRAMES,
            "max_num_epochs": epochs,
            "eval_interval": interval,
            "patience": epochs,
            "scheduler": "ExponentialLR",
            "device": "cpu",
            "skip_evaluate_heads": "Default",
            **e0s,
            **merged,
        }

    def digest(self, sources: Sources) -> str:
        """Identifies what the result depends on: settings, frames, content of the files."""
        cell = self.effective_cell
        train, test = DATASETS[cell.dataset].train, DATASETS[cell.dataset].test
        uses_hessians = self.variant.hessian is not None or cell.hessians
        hessians = sources.hessian_file(cell.dataset, cell.level) if uses_hessians else None
        facts = {
            "arguments": self.arguments(),
            "cell": [cell.labels, cell.level, cell.frames, cell.leading, cell.new, cell.copies],
            "files": [digest(sources.frames_file(stem)) for stem in (train, test)],
            "hessians": [hessians and digest(hessians), self.variant.hessian, cell.hessians],
            "valid": VALIDATION_FRAMES,
            "pretrained": self.first and self.first.digest(sources),
            "mace-torch": importlib.metadata.version("mace-torch"),
        }
        facts |= {name: n for name in ("always", "probes") if (n := getattr(cell, name))}
        text = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
