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
from _command import piwsl
from _weak_labels_files import GROUNDS, MORE, Files, model, write
from _weak_labels_test import Predict, cheap_labels, mean_of

from piwsl_plugins.frames.element_energies import ElementEnergies, compositions

#: steps, in multiples of those of the labels alone
PRETRAINING, FINE_TUNING = 1.0, 0.25
#: of a model that is trained on the pool too, and of long trainings
POOL_STEPS, LONG = 2.0, 4.0
#: of the labelled frames, and of the pool beside them
BATCH, POOL_BATCH = 2, 8
RATES = (0.001, 0.003)
#: how often the labelled frames stand in the file of a head of their own, beside the pool's
REPEATED = 20
#: a larger model, which is distilled, too
LARGE = {"num_channels": 32, "max_L": 1, "max_ell": 3, "correlation": 3, "lr": 0.01}
LARGE_RATE = 0.001
#: arguments that a pretrained model brings
ARCHITECTURE = ("num_channels", "max_L", "max_ell", "correlation", "num_interactions")


class Runs:
    """The trainings of one seed, by name; each gives a model and its CPU time (s)."""

    def __init__(self, options: argparse.Namespace, seed: int, files: Files) -> None:
        self.options, self.seed, self.files = options, seed, files
        self.dataset, self.ground = DATASETS[options.dataset], GROUNDS[options.dataset]
        self.n, self.forces = options.frames, options.labels == "E+F"
        self.cheap = options.cheap, options.cheap_python, files.folder

    def every(self) -> dict[str, Callable[[], tuple[Predict, float]]]:
        """The rows."""
        rows = {
            "labels": self.labels,
            "labels, equal cost": self.labels_for_longer,
            "labels, long": functools.partial(self.labels, steps=LONG),
            "weak": self.weak,
            "cheap method": lambda: self.corrections(0),
            "corrections, cheap method": self.corrections,
            **{f"pretrained, lr {r:g}": functools.partial(self.pretrained, r) for r in RATES},
            "pretrained, lr 0.003, equal cost": lambda: self.at_equal_cost(
                functools.partial(self.pretrained, RATES[1]), PRETRAINING
            ),
            "weak, begun from the pretrained, lr 0.003": self.weak_from_pretrained,
            "weak, long": functools.partial(self.weak, steps=LONG),
            "pretrained, lr 0.003, long": lambda: self.at_equal_cost(
                functools.partial(self.pretrained, RATES[1]), PRETRAINING, LONG
            ),
        }
        if not self.forces:
            return rows | {"labels and cheap forces": self.cheap_forces}
        rows |= {
            "ensemble": self.ensemble,
            "two heads": self.two_heads,
            "two heads, equal cost": lambda: self.at_equal_cost(self.two_heads, POOL_STEPS),
            **{f"replay, lr {r:g}": functools.partial(self.replay, r) for r in RATES},
            "replay of pseudolabels, lr 0.003": functools.partial(self.replay, 0.003, True),
            "large": functools.partial(self.labels, name="large", more=LARGE),
            "large, weak": functools.partial(self.weak, name="large_weak", more=LARGE),
            "large, fine-tuned": self.large,
            "distilled": self.distilled,
        }
        if self.dataset.hessians:
            hessians = self.options.data / f"{self.dataset.hessians}.xyz"
            more = {"piwsl_hessian_file": hessians}
            rows["Hessians"] = functools.partial(self.labels, name="hessians", more=more)
            rows["weak, Hessians"] = functools.partial(
                self.weak, name="weak_and_hessians", more=more
            )
            return rows
        more_frames = {f"labels, {n} x the frames": functools.partial(self.labels, n) for n in MORE}
        return rows | more_frames

    def labels(
        self,
        times: int = 1,
        steps: float = 1.0,
        name: str = "labels",
        more: dict[str, Any] | None = None,
    ) -> tuple[Predict, float]:
        """The labels alone."""
        file = self.files.train if times == 1 else self.files.more[times]
        arguments = model(self.options, steps, times * self.n, labels=self.options.labels) | (
            more or {}
        )
        return self._trained(f"{name}_{times}_{steps:.4g}", file, arguments)

    def labels_for_longer(self) -> tuple[Predict, float]:
        """As many steps as fit into the cost of the weak labels."""
        longer = max(1.0, self.weak()[1] / self.labels()[1])
        return self.labels(steps=longer)

    def at_equal_cost(
        self, run: Callable[..., tuple[Predict, float]], steps: float, of: float = POOL_STEPS
    ) -> tuple[Predict, float]:
        """A run with as many steps as fit into the cost of weak labels and so many steps."""
        runs = run(), self.weak(steps=of)
        spent, available = (seconds - self.files.pool_s for _, seconds in runs)
        return run(steps=steps * max(1.0, available / spent))

    def cheap_forces(self) -> tuple[Predict, float]:
        """The labels' energies with forces of the cheap method (arXiv 2505.01590)."""
        file = self.files.folder / "cheap_forces.xyz"
        frames = ase.io.read(self.files.train, ":")
        for atoms, forces in zip(frames, cheap_labels(frames, *self.cheap)[1]):
            atoms.arrays["REF_forces"] = forces
        write(file, frames)
        return self._trained("cheap_forces", file, model(self.options, 1, self.n))

    def weak(
        self,
        steps: float = POOL_STEPS,
        name: str = "weak",
        more: dict[str, Any] | None = None,
    ) -> tuple[Predict, float]:
        """An ordinary model on the labels and the weak labels of the pool."""
        predict, seconds = self._with_pool(name, self.files.weak, more or {}, steps)
        return predict, seconds + self.files.weak_s

    def corrections(self, n: int | None = None) -> tuple[Predict, float]:
        """The cheap method at run time, with so many corrections (all), on the labels' scale."""
        stages = self.files.folder / "weak.stages"
        found = sorted(stages.glob("correction_*/training/correction.model"))[:n]
        models = [load(path) for path in found]

        def predict_sum(frames: list[ase.Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
            labelled = ase.io.read(self.files.train, ":")
            every = [*labelled, *frames]
            energies, forces = cheap_labels(every, *self.cheap)
            added, forces_added = mean_of(models, every)
            rest = energies + added
            wanted = [atoms.info["REF_energy"] for atoms in labelled] - rest[: len(labelled)]
            numbers = [atoms.numbers for atoms in every]
            counts = compositions(numbers, np.unique(np.concatenate(numbers)))
            total = rest + ElementEnergies(counts[: len(labelled)], wanted)(counts)
            moved = [f + more for f, more in zip(forces, forces_added)]
            return total[len(labelled) :], moved[len(labelled) :]

        return predict_sum, self.files.weak_s if models else 0.0

    def ensemble(self) -> tuple[Predict, float]:
        """Models of the labels alone label the pool."""
        members = [
            self._train_model(f"ensemble_{k}", self.files.train, k)
            for k in range(self.ground.models)
        ]
        file = self.files.folder / "ensemble.xyz"
        if not file.exists():
            pool = ase.io.read(self.files.pool, ":")
            energies, forces = mean_of([load(path) for path, _ in members], pool)
            for atoms, energy, force in zip(pool, energies, forces):
                atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, force
            write(file, pool)
        predict, seconds = self._with_pool("ensemble", file, {})
        return predict, self.files.pool_s + seconds + sum(seconds for _, seconds in members)

    def two_heads(self, steps: float = POOL_STEPS) -> tuple[Predict, float]:
        """One model with a head for each method."""
        many, cheap = self.files.folder / "repeated.xyz", self.files.cheap
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
        structures = self.ground.pool + REPEATED * self.n
        arguments = model(self.options, steps, structures, batch) | {"heads": str(heads)}
        for name in ("train_file", "valid_file", "E0s"):
            arguments[name] = None
        predict, seconds = self._trained(f"two_heads_{steps:.4g}", many, arguments)
        return predict, self.files.pool_s + seconds

    def pretrained(self, rate: float, steps: float = PRETRAINING) -> tuple[Predict, float]:
        """Pretrained on the cheap labels of the pool, then fine-tuned on the labels."""
        arguments = model(self.options, FINE_TUNING, self.n, labels=self.options.labels)
        arguments |= {"energy_weight": 1, "lr": rate}
        path, seconds = self._fine_tuned(f"fine_tuned_{rate:g}", arguments, steps)
        return functools.partial(predict, load(path)), seconds

    def replay(self, rate: float, pseudolabels: bool = False) -> tuple[Predict, float]:
        """Likewise, with MACE's multihead replay of the pool."""
        pool = self.ground.pool
        batch, seen = BATCH + POOL_BATCH, pool * (1 + BATCH / POOL_BATCH)
        arguments = model(self.options, FINE_TUNING, seen, batch) | {
            "lr": rate,
            "multiheads_finetuning": True,
            "force_mh_ft_lr": True,
            "pt_train_file": self.files.cheap,
            "num_samples_pt": pool,
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
        predict, seconds = self._with_pool("distilled", file, {})
        return predict, first + labels + seconds

    def _large(self) -> tuple[Path, float]:
        arguments = model(self.options, FINE_TUNING, self.n) | {"lr": LARGE_RATE}
        return self._fine_tuned("large_fine_tuned", arguments, size=LARGE)

    def _fine_tuned(
        self,
        name: str,
        arguments: dict[str, Any],
        steps: float = PRETRAINING,
        size: dict[str, Any] | None = None,
    ) -> tuple[Path, float]:
        foundation, first_s = self._pretrained(steps, size)
        arguments = {**FINETUNED, **arguments, **_begun_from(foundation)}
        path, seconds = self._train(f"{name}_{steps:.4g}", self.files.train, arguments)
        return path, self.files.pool_s + first_s + seconds

    def _pretrained(self, steps: float, size: dict[str, Any] | None = None) -> tuple[Path, float]:
        """A model of the pool's cheap labels, which are on the scale of the others."""
        cheap, pool = self.files.cheap, self.ground.pool
        arguments = model(self.options, steps, pool, BATCH + POOL_BATCH) | {"E0s": "average"}
        name = f"{'large_' if size else ''}pretraining_{steps:.4g}"
        return self._train(name, cheap, arguments | (size or {}), valid=cheap)

    def weak_from_pretrained(self, rate: float = RATES[1]) -> tuple[Predict, float]:
        """Weak labels and the labels, in a model that was pretrained on the cheap ones."""
        foundation, first_s = self._pretrained(PRETRAINING)
        more = {**FINETUNED, "lr": rate, **_begun_from(foundation)}
        predict, seconds = self._with_pool(f"weak_begun_{rate:g}", self.files.weak, more, 1.0)
        return predict, self.files.weak_s + first_s + seconds

    def _with_pool(
        self, name: str, pool: Path, more: dict[str, Any], steps: float = POOL_STEPS
    ) -> tuple[Predict, float]:
        arguments = model(self.options, steps, self.n, BATCH) | {
            "piwsl_pool_file": pool,
            "piwsl_pool_per_batch": POOL_BATCH,
        }
        return self._trained(f"{name}_{steps:.4g}", self.files.train, arguments | more)

    def _train_model(self, name: str, file: Path, member: int) -> tuple[Path, float]:
        return self._train(
            name, file, model(self.options, 1, self.n) | {"seed": 1000 * self.seed + member}
        )

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


def _begun_from(foundation: Path) -> dict[str, Any]:
    """MACE's arguments of a model that is there already."""
    arguments = {"foundation_model": foundation, **dict.fromkeys(ARCHITECTURE)}
    model = load(foundation)
    if len(model.atomic_numbers) == 1:  # MACE 0.3.16 does not find the E0s of one element
        energies = model.atomic_energies_fn.atomic_energies.flatten().tolist()
        arguments["E0s"] = str(dict(zip(model.atomic_numbers.tolist(), energies)))
    return arguments
