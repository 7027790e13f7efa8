"""The trainings of ``weak_labels.py``."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from _accuracy_cells import DATASETS, FINETUNED
from _accuracy_test import load, predict
from _accuracy_training import train
from _weak_labels_files import (
    MODELS,
    MORE,
    POOL,
    STEPS,
    Files,
    beside,
    model,
    piwsl,
    shifted,
    write,
)
from _weak_labels_test import Predict, cheap_labels, mean_of

PRETRAINING, FINE_TUNING = 1600, 400
#: of a model that is trained on the pool too
POOL_STEPS = 3200
#: twice as long
LONG = 6400
#: of the labelled frames, and of the pool beside them
BATCH, POOL_BATCH = 2, 8
RATES = (0.001, 0.003)
#: how often the labelled frames stand in the file of a head of their own, beside the pool's
REPEATED = 20
#: the model that is distilled
LARGE = {"num_channels": 32, "max_L": 1, "max_ell": 3, "correlation": 3, "lr": 0.01}
LARGE_RATE = 0.001
_LARGE_RUN = "large_fine_tuned"


class Runs:
    """The trainings of one seed, by name; each gives a model and its CPU time (s)."""

    def __init__(self, options: argparse.Namespace, seed: int, files: Files) -> None:
        self.options, self.seed, self.files = options, seed, files
        self.dataset = DATASETS[options.dataset]
        self.n = options.frames

    def every(self) -> dict[str, Callable[[], tuple[Predict, float]]]:
        """The rows."""
        rows = {
            "labels": self.labels,
            "labels, equal cost": self.labels_for_longer,
            "weak": self.weak,
            "corrections, cheap method": self.corrections,
            **{f"pretrained, lr {r:g}": functools.partial(self.pretrained, r) for r in RATES},
            "pretrained, lr 0.003, equal cost": lambda: self.at_equal_cost(
                functools.partial(self.pretrained, RATES[1]), PRETRAINING
            ),
            "weak, long": functools.partial(self.weak, steps=LONG),
            "pretrained, lr 0.003, long": lambda: self.at_equal_cost(
                functools.partial(self.pretrained, RATES[1]), PRETRAINING, LONG
            ),
        }
        if self.options.labels == "E":
            return rows | {"labels and cheap forces": self.cheap_forces}
        rows |= {
            "ensemble": self.ensemble,
            "two heads": self.two_heads,
            "two heads, equal cost": lambda: self.at_equal_cost(self.two_heads, POOL_STEPS),
            **{f"replay, lr {r:g}": functools.partial(self.replay, r) for r in RATES},
            "replay of pseudolabels, lr 0.003": functools.partial(self.replay, 0.003, True),
            "large, fine-tuned": self.large,
            "distilled": self.distilled,
        }
        if self.dataset.hessians:
            hessians = self.options.data / f"{self.dataset.hessians}.xyz"
            more = {"piwsl_hessian_file": hessians}
            rows["Hessians"] = functools.partial(self.labels, name="hessians", more=more)
            rows["weak, Hessians"] = functools.partial(self.weak, more=more)
            return rows
        more_frames = {f"labels, {n} x the frames": functools.partial(self.labels, n) for n in MORE}
        return rows | more_frames

    def labels(
        self,
        times: int = 1,
        steps: int = STEPS,
        name: str = "labels",
        more: dict[str, Any] | None = None,
    ) -> tuple[Predict, float]:
        """The labels alone."""
        file = self.files.train if times == 1 else self.files.more[times]
        arguments = model(steps, times * self.n, labels=self.options.labels) | (more or {})
        return self._trained(f"{name}_{times}_{steps}", file, arguments)

    def labels_for_longer(self) -> tuple[Predict, float]:
        """As many steps as fit into the cost of the weak labels."""
        longer = max(1.0, self.weak()[1] / self.labels()[1])
        return self.labels(steps=round(STEPS * longer))

    def at_equal_cost(
        self, run: Callable[..., tuple[Predict, float]], steps: int, of: int = POOL_STEPS
    ) -> tuple[Predict, float]:
        """A run with as many steps as fit into the cost of weak labels and so many steps."""
        runs = run(), self.weak(steps=of)
        spent, available = (seconds - self.files.pool_s for _, seconds in runs)
        return run(steps=round(steps * max(1.0, available / spent)))

    def cheap_forces(self) -> tuple[Predict, float]:
        """The labels' energies with forces of the cheap method (arXiv 2505.01590)."""
        file = self.files.folder / "cheap_forces.xyz"
        frames = ase.io.read(self.files.train, ":")
        for atoms, forces in zip(frames, cheap_labels(frames)[1]):
            atoms.arrays["REF_forces"] = forces
        write(file, frames)
        return self._trained("cheap_forces", file, model(STEPS, self.n))

    def weak(
        self, more: dict[str, Any] | None = None, steps: int = POOL_STEPS
    ) -> tuple[Predict, float]:
        """An ordinary model on the labels and the weak labels of the pool."""
        name = "weak_and_hessians" if more else "weak"
        predict, seconds = self._with_pool(name, self.files.weak, more or {}, steps)
        return predict, seconds + self.files.weak_s

    def corrections(self) -> tuple[Predict, float]:
        """The cheap method at run time, corrected."""
        stages = self.files.folder / "weak.stages"
        found = sorted(stages.glob("correction_*/training/correction.model"))
        models = [load(path) for path in found]

        def predict_sum(frames: list[ase.Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
            energies, forces = cheap_labels(frames)
            added, forces_added = mean_of(models, frames)
            return energies + added, [f + more for f, more in zip(forces, forces_added)]

        return predict_sum, self.files.weak_s

    def ensemble(self) -> tuple[Predict, float]:
        """Models of the labels alone label the pool."""
        members = [self._train_model(f"ensemble_{k}", self.files.train, k) for k in range(MODELS)]
        file = self.files.folder / "ensemble.xyz"
        if not file.exists():
            pool = ase.io.read(self.files.pool, ":")
            energies, forces = mean_of([load(path) for path, _ in members], pool)
            for atoms, energy, force in zip(pool, energies, forces):
                atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, force
            write(file, pool)
        predict, seconds = self._with_pool("ensemble", file, {})
        return predict, self.files.pool_s + seconds + sum(seconds for _, seconds in members)

    def two_heads(self, steps: int = POOL_STEPS) -> tuple[Predict, float]:
        """One model with a head for each method."""
        many, cheap = self.files.folder / "repeated.xyz", self._cheap()
        write(many, REPEATED * ase.io.read(self.files.train, ":"))
        heads = {
            "Default": {
                "train_file": str(many),
                "valid_file": str(self.files.valid),
                "E0s": self.dataset.e0s,
            },
            "cheap": {"train_file": str(cheap), "valid_file": str(cheap), "E0s": "average"},
        }
        batch = BATCH + POOL_BATCH
        arguments = model(steps, POOL + REPEATED * self.n, batch) | {"heads": str(heads)}
        for name in ("train_file", "valid_file", "E0s"):
            arguments[name] = None
        predict, seconds = self._trained(f"two_heads_{steps}", many, arguments)
        return predict, self.files.pool_s + seconds

    def pretrained(self, rate: float, steps: int = PRETRAINING) -> tuple[Predict, float]:
        """Pretrained on the cheap labels of the pool, then fine-tuned on the labels."""
        arguments = model(FINE_TUNING, self.n, labels=self.options.labels)
        arguments |= {"energy_weight": 1, "lr": rate}
        path, seconds = self._fine_tuned(f"fine_tuned_{rate:g}", arguments, steps)
        return functools.partial(predict, load(path)), seconds

    def replay(self, rate: float, pseudolabels: bool = False) -> tuple[Predict, float]:
        """Likewise, with MACE's multihead replay of the pool."""
        batch, seen = BATCH + POOL_BATCH, POOL * (1 + BATCH / POOL_BATCH)
        arguments = model(FINE_TUNING, seen, batch) | {
            "lr": rate,
            "multiheads_finetuning": True,
            "force_mh_ft_lr": True,
            "pt_train_file": self._cheap(),
            "num_samples_pt": POOL,
            "real_pt_data_ratio_threshold": BATCH / POOL_BATCH,
        }
        if pseudolabels:
            arguments["pseudolabel_replay"] = True
        name = "replay_of_pseudolabels" if pseudolabels else "replay"
        path, seconds = self._fine_tuned(f"{name}_{rate:g}", arguments)
        return functools.partial(predict, load(path)), seconds

    def large(self) -> tuple[Predict, float]:
        """A larger model, pretrained and fine-tuned likewise."""
        path, seconds = self._large()
        return functools.partial(predict, load(path)), seconds

    def distilled(self) -> tuple[Predict, float]:
        """A small model of the pool that the fine-tuned large one has labelled."""
        large, first = self._large()
        file = self.files.folder / "distilled.xyz"
        weak = ("weak", self.files.train, self.files.pool, "--calculator", large)
        labels = piwsl(*weak, "--models", 0, "--out", file, "--overwrite")
        # of the large model's scale, whose E0s are those of the cheap method
        files = {"train_file": self.files.train, "valid_file": self.files.valid}
        more: dict[str, Any] = {k: beside(v, _LARGE_RUN) for k, v in files.items()}
        more["E0s"] = "average"
        predict, seconds = self._with_pool("distilled", file, more)
        return predict, first + labels + seconds

    def _large(self) -> tuple[Path, float]:
        arguments = model(FINE_TUNING, self.n) | {"lr": LARGE_RATE}
        return self._fine_tuned(_LARGE_RUN, arguments, size=LARGE)

    def _fine_tuned(
        self,
        name: str,
        arguments: dict[str, Any],
        steps: int = PRETRAINING,
        size: dict[str, Any] | None = None,
    ) -> tuple[Path, float]:
        cheap = self._cheap()
        first = model(steps, POOL, BATCH + POOL_BATCH) | {"E0s": "average"} | (size or {})
        pretraining = f"{'large_' if size else ''}pretraining_{steps}"
        foundation, first_s = self._train(pretraining, cheap, first, valid=cheap)
        arguments = {**FINETUNED, **arguments}
        for word in ("num_channels", "max_L", "max_ell", "correlation", "num_interactions"):
            del arguments[word]
        frames = ase.io.read(self.files.train, ":")
        found = predict(load(foundation), frames)[0]
        shift = float(np.mean([a.info["REF_energy"] for a in frames] - found))
        path, seconds = self._train(
            f"{name}_{steps}",
            shifted(self.files.train, shift, name),
            arguments | {"foundation_model": foundation},
            shifted(self.files.valid, shift, name),
        )
        return path, self.files.pool_s + first_s + seconds

    def _cheap(self) -> Path:
        """The pool with its cheap labels."""
        cheap = self.files.folder / "cheap.xyz"
        if not cheap.exists():
            stages = self.files.folder / "weak.stages" / "cheap.xyz"
            known = {atoms.positions.tobytes() for atoms in ase.io.read(self.files.train, ":")}
            frames = [a for a in ase.io.read(stages, ":") if a.positions.tobytes() not in known]
            write(cheap, frames)
        return cheap

    def _with_pool(
        self, name: str, pool: Path, more: dict[str, Any], steps: int = POOL_STEPS
    ) -> tuple[Predict, float]:
        arguments = model(steps, self.n, BATCH) | {
            "piwsl_pool_file": pool,
            "piwsl_pool_per_batch": POOL_BATCH,
        }
        return self._trained(f"{name}_{steps}", self.files.train, arguments | more)

    def _train_model(self, name: str, file: Path, member: int) -> tuple[Path, float]:
        return self._train(name, file, model(STEPS, self.n) | {"seed": 1000 * self.seed + member})

    def _trained(
        self, name: str, file: Path, arguments: dict[str, Any], valid: Path | None = None
    ) -> tuple[Predict, float]:
        path, seconds = self._train(name, file, arguments, valid)
        return functools.partial(predict, load(path)), seconds

    def _train(
        self, name: str, file: Path, arguments: dict[str, Any], valid: Path | None = None
    ) -> tuple[Path, float]:
        folder = self.files.folder / name
        finished = folder / "cpu_s.txt"
        if not finished.exists():
            folder.mkdir(exist_ok=True)
            defaults = {
                "loss": "piwsl",
                "piwsl_pitc_weight": 0,
                "E0s": self.dataset.e0s,
                "seed": self.seed,
                "train_file": file,
                "valid_file": valid or self.files.valid,
            }
            given = {k: v for k, v in {**defaults, **arguments}.items() if v is not None}
            _, total = train(given, folder)
            finished.write_text(f"{total['cpu_s']:.1f}")
        return folder / "model.model", float(finished.read_text())
