"""Ways of fine-tuning side by side: from GFN1-xTB to PBE, with and without Hessians.

    python benchmarks/fine_tuning.py --data ../shared/data --out RESULTS_DIR \
        --cheap-python PYTHON [--methods naive LoRA …] [--frames 10 1 50] [--seeds 0 1 2 3 4]

A foundation model in small, a MACE of 32 channels, is pretrained on GFN1-xTB energies and forces
of ethanol, acetylacetone and aspirin (``_fine_tuning_data.py``), and fine-tuned to PBE energies
and forces of ethanol frames, in the same number of steps whatever the method. With Hessians,
those frames have them that are among the leading 12 of the file: all of 1 and 10, 12 of 50. All
have the E0s right (``E0s=estimated``).

Learning rates are chosen at seed 0 by the force error of 20 validation frames, going along a
ladder while the error falls; of those within 2 % of the lowest error, the smallest is taken. Other
seeds take the rate of seed 0, pseudolabels that of replay, and replay of one frame that of ten.
Written is ``fine_tuning.csv``, a row per run: errors on PBE ethanol, of the Hessians and
frequencies of five frames; on GFN1-xTB acetylacetone and aspirin, as in the pretraining, of the
new head and, where there is replay, of the old one; on PBE acetylacetone, which nothing was
trained on. Energies are without the mean of the error of each molecule. Finished runs are kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _accuracy_cells import ENERGIES_AND_FORCES, FINETUNED, MODEL, OPTIMISER, schedule
from _accuracy_data import Labelled, Sources, labelled
from _accuracy_hessian import hessian_errors
from _accuracy_test import load, predict
from _accuracy_training import initialise_worker, train
from _errors import errors, errors_on
from _fine_tuning_data import (
    HESSIANS,
    LEADING,
    MOLECULES,
    NEW,
    TESTED,
    old,
    prepare,
    pretraining,
    split,
    write,
)

#: an element more than the data has, as in any foundation model: MACE 0.3.16 copies the E0s of a
#: model that has exactly the elements of the data
PRETRAINED: dict[str, Any] = {
    **MODEL,
    "num_channels": 32,
    "atomic_numbers": "[1, 6, 7, 8]",
    "E0s": "{1: -11.89796015, 6: -48.56339352, 7: 0.0, 8: -119.90801191}",
    **ENERGIES_AND_FORCES,
    "energy_weight": 10,
    "lr": 0.02,
}
PRETRAINING_STEPS, PRETRAINING_BATCH = 2000, 6
STEPS, BATCH, VALID_BATCH = 300, 5, 20
#: beside these, of a batch of replay
REPLAYED_PER_BATCH = 5
#: MACE repeats new structures until there are about so many times those that are replayed
RATIO = 0.8
REPLAY = {
    "multiheads_finetuning": True,
    "force_mh_ft_lr": True,
    "real_pt_data_ratio_threshold": RATIO,
}
METHODS: dict[str, dict[str, Any]] = {
    "naive": {},
    "naive ×2": {},
    "LoRA": {"lora": True, "lora_rank": 4, "lora_alpha": 1.0},
    "freezing": {"freeze": 5},
    "replay": REPLAY,
    "pseudolabels": {**REPLAY, "pseudolabel_replay": True},
}
REPLAYING = ("replay", "pseudolabels")
#: multiples of the steps
TIMES = {"naive ×2": 2}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
#: where the ladder is begun
FIRST = {"LoRA": 0.01}
#: the smallest rate is taken whose validation error is at most so many times the lowest: it
#: forgets least, and 20 frames do not tell them apart
AS_GOOD = 1.02
#: of the model that is fine-tuned, in the table
BEFORE = "pretrained"
#: the head of a multihead model that has the old method
OLD_HEAD = "pt_head"


def run_training(
    arguments: dict[str, Any], folder: Path, seen: int, steps: int, batch: int
) -> dict[str, float]:
    """MACE's trainer on ``train.xyz`` and ``valid.xyz`` of a folder; steps and CPU time.

    Args:
        arguments: MACE's.
        folder: with the files.
        seen: structures in an epoch.
        steps: of the optimiser, about.
        batch: structures in a batch; MACE drops a last one that is not full.
    """
    files = {"train_file": folder / "train.xyz", "valid_file": folder / "valid.xyz"}
    shape = {"batch_size": batch, "valid_batch_size": VALID_BATCH}
    shape |= schedule(round(steps / (seen // batch)))
    base = {"loss": "piwsl", "piwsl_pitc_weight": 0}
    return train({**OPTIMISER, **base, **arguments, **shape, **files}, folder)[1]


def foundation(sources: Sources, folder: Path) -> Path:
    """The pretrained model."""
    if not (folder / "model.model").exists():
        training, valid = pretraining(sources)
        write(folder, {"train": training, "valid": valid})
        arguments = PRETRAINED | {"seed": 0}
        run_training(arguments, folder, len(training), PRETRAINING_STEPS, PRETRAINING_BATCH)
    return folder / "model.model"


def fine_tune(
    sources: Sources,
    folder: Path,
    pretrained: Path,
    method: str,
    hessians: bool,
    frames: int,
    rate: float,
    seed: int,
) -> dict[str, float]:
    """Train; gives steps and CPU time."""
    parts = split(sources, frames, seed)
    write(folder, {"train": parts.train, "valid": parts.valid})
    arguments: dict[str, Any] = {**ENERGIES_AND_FORCES, **FINETUNED, "E0s": "estimated"}
    arguments |= {"foundation_model": pretrained, "lr": rate, "seed": seed} | METHODS[method]
    if hessians:
        arguments["piwsl_hessian_file"] = sources.hessian_file(NEW)
    seen, batch = frames, min(BATCH, frames)
    if method in REPLAYING:
        files = {"pt_train": parts.replayed, "pt_valid": parts.replayed_valid}
        write(folder, files)
        arguments |= {f"{name}_file": folder / f"{name}.xyz" for name in files}
        replayed = len(parts.replayed)
        # as mace-torch 0.3.16 repeats them
        if frames / replayed < RATIO:
            seen *= 1 + int(RATIO / (frames / replayed))
        seen, batch = seen + replayed, BATCH + REPLAYED_PER_BATCH
    return run_training(arguments, folder, seen, STEPS * TIMES.get(method, 1), batch)


def errors_of(model: Any, data: Labelled, head: str = "Default") -> dict[str, float]:
    """Of energies and forces of the first frames of a molecule."""
    frames, forces = data.frames[:TESTED], data.forces[:TESTED]
    return errors(frames, *predict(model, frames, head), data.energies[:TESTED], forces)


def forgotten(model: Any, sources: Sources, head: str) -> dict[str, float]:
    """Errors on the molecules of the pretraining that are not fine-tuned to, of its method."""
    found = [errors_of(model, old(sources, name, "test"), head) for name in MOLECULES[1:]]
    return {
        name: float(np.sqrt(np.mean([each[name] ** 2 for each in found])))
        for name in ("E_centred", "F_rmse")
    }


def test(model: Any, sources: Sources, seed: int) -> dict[str, float]:
    """The numbers of a row."""
    new = errors_of(model, labelled(sources, NEW, "test", "reference"))
    row = {name: new[name] for name in ("E_centred", "F_rmse", "slope")}
    file = sources.hessian_file(NEW)
    assert file is not None
    frames = labelled(sources, NEW, "train", "reference").frames
    row |= hessian_errors(
        lambda molecules: predict(model, molecules)[1],
        frames,
        range(LEADING, HESSIANS),
        file,
        HESSIANS,
    )
    heads = {"old": "Default"} | ({"old_head": OLD_HEAD} if OLD_HEAD in model.heads else {})
    for name, head in heads.items():
        lost = forgotten(model, sources, head)
        row |= {f"{name}_E": lost["E_centred"], f"{name}_F": lost["F_rmse"]}
    elsewhere = errors_of(model, labelled(sources, MOLECULES[1], "test", "reference"))
    valid = split(sources, 1, seed).valid
    found = errors_on(valid, *predict(model, valid))
    return row | {"elsewhere_F": elsewhere["F_rmse"], "valid_F": found["F_rmse"]}


class Table:
    """Finished runs, in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows = pd.read_csv(file).to_dict("records") if file.exists() else []

    def find(self, **facts: Any) -> list[dict[str, Any]]:
        """Rows with these facts."""
        return [row for row in self.rows if all(row[name] == v for name, v in facts.items())]

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        print(row, flush=True)
        self.rows.append(row)
        pd.DataFrame(self.rows).to_csv(self.file, index=False, float_format="%.5g")


class Runs:
    """What is trained and tested, each once."""

    def __init__(self, sources: Sources, out: Path) -> None:
        self.sources, self.out = sources, out
        self.table = Table(out / "fine_tuning.csv")
        self.pretrained = foundation(sources, out / "foundation")
        before = {"method": BEFORE, "hessians": False, "frames": 0, "rate": 0.0, "seed": 0}
        if not self.table.find(**before):
            self.table.add(before | test(load(self.pretrained), sources, 0))

    def run(self, method: str, hessians: bool, frames: int, rate: float, seed: int) -> float:
        """Unless it is in the table; gives the validation error."""
        facts = {"method": method, "hessians": hessians, "frames": frames}
        facts |= {"rate": rate, "seed": seed}
        if not self.table.find(**facts):
            name = "-".join(map(str, facts.values()))
            cost = fine_tune(self.sources, self.out / name, self.pretrained, **facts)
            model = load(self.out / name / "model.model")
            self.table.add(facts | test(model, self.sources, seed) | cost)
        return self.table.find(**facts)[0]["valid_F"]

    def rate(self, method: str, hessians: bool, frames: int) -> float:
        """That of seed 0."""
        method, frames = self.chosen_at(method, frames)
        found = self.table.find(method=method, hessians=hessians, frames=frames, seed=0)
        lowest = min(row["valid_F"] for row in found)
        return float(min(r["rate"] for r in found if r["valid_F"] <= AS_GOOD * lowest))

    @staticmethod
    def chosen_at(method: str, frames: int) -> tuple[str, int]:
        """Method and number of frames whose rate is taken.

        Replay repeats a single frame as often as ten of them together.
        """
        if method in TIMES:
            return "naive", frames
        if method not in REPLAYING:
            return method, frames
        return "replay", max(frames, 10)

    def choose(self, method: str, hessians: bool, frames: int) -> None:
        """Along the ladder of rates at seed 0, while the validation error falls."""
        if self.chosen_at(method, frames) != (method, frames):
            return
        first = self.rate(method, False, frames) if hessians else FIRST.get(method, 0.003)
        number = RATES.index(first)
        found = {number: self.run(method, hessians, frames, first, 0)}
        for step in (1, -1):
            while True:
                best = min(found, key=found.__getitem__)
                if best + step in found or not 0 <= best + step < len(RATES):
                    break
                rate = RATES[best + step]
                found[best + step] = self.run(method, hessians, frames, rate, 0)


def main() -> None:
    """Run what is not in the table yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with the data files")
    add("--out", type=Path, required=True, help="folder for runs and results")
    add("--cheap-python", default=sys.executable, help="a Python that has tblite")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--frames", type=int, nargs="+", default=[10, 1, 50])
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    out = options.out.resolve()
    sources = Sources(options.data.resolve(), None, out / "cheap", options.cheap_python)
    prepare(sources)
    initialise_worker()
    runs = Runs(sources, out)
    for seed in options.seeds:
        for frames in options.frames:
            for method in options.methods:
                for hessians in (False, True):
                    if seed == 0:
                        runs.choose(method, hessians, frames)
                    runs.run(method, hessians, frames, runs.rate(method, hessians, frames), seed)
    chosen = [
        row
        for row in runs.table.rows
        if row["method"] in METHODS
        and row["rate"] == runs.rate(row["method"], row["hessians"], row["frames"])
    ]
    means = pd.DataFrame(chosen).groupby(["frames", "hessians", "method"]).agg(["mean", "std"])
    print(means.round(3).to_string())


if __name__ == "__main__":
    main()
