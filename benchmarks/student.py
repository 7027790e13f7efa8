"""A fast student of a foundation model: a small MACE of rutile, with SevenNet-0 as the teacher.

    python benchmarks/student.py --out RESULTS_DIR --teacher-python PYTHON [--seeds 0 1 2]
        [--dynamics 30 '30, second round chosen' …] [--length 50]

The commands are those of docs/student.md; those of the teacher run with a Python that has sevenn.
12 atoms, a pool by the teacher's dynamics at 300, 700 and 1100 K with its labels, of which 30
frames are trained on (by seed) and 6 validate. Beside 10 or 30 frames: probes of them; or 30
structures of dynamics with the student of 30 at 700, 1100 and 1500 K, chosen or drawn; or as many
of the teacher's own dynamics at these temperatures. All trainings take as long: those with probes
have half the steps, as these take twice the time. Test frames are of other trajectories of the
teacher, at 700 and 1500 K.

``student.csv`` has one row per model: errors at 700 K and 1500 K (E without its mean, meV/atom; F,
meV/Å), and on structures of the first student's dynamics that were not trained on ("student");
the teacher's calls for labels and for dynamics; and of NVE dynamics from ``--replicas`` frames of
1500 K how long they hold, the change of the total energy, and the force error at their ends, which
the teacher labels. ``speed.csv`` has the CPU time of a step. Finished pieces are kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pandas as pd
import torch
from _accuracy_cells import ENERGIES_AND_FORCES, MODEL, OPTIMISER, schedule
from _accuracy_test import load, predict
from _accuracy_training import initialise_worker, train
from _command import ENVIRONMENT, piwsl
from _errors import errors_on
from _labelled_frames import write
from _survival_dynamics import Dynamics, survival
from ase.spacegroup import crystal

TEACHER = "sevenn.calculator:SevenNetCalculator"
STUDENT = {
    **MODEL,
    **OPTIMISER,
    **ENERGIES_AND_FORCES,
    "r_max": 4.0,
    "default_dtype": "float32",
    "E0s": "average",
    "loss": "piwsl",
    "piwsl_pitc_weight": 0,
}
#: of a training without probes
STEPS, BATCH = 2400, 2
#: of the frames of the teacher's pool, those that validate
VALIDATION = 6
#: of all dynamics: the options of ``piwsl pool``
DYNAMICS = [
    *("--timestep", "2", "--friction", "0.02"),
    *("--equilibration", "300", "--spacing", "40"),
]
#: the teacher's pools: temperatures in K, structures, and steps of the dynamics
POOLS = {
    "teacher": ([300, 700, 1100], 36, 12, 0),
    "test": ([700, 1500], 30, 15, 2),
    "more": ([700, 1100, 1500], 30, 10, 1),
}
#: structures of the student's dynamics, and those of a trajectory
SECOND, SECOND_PER_RUN, SECOND_TEMPERATURES = 120, 20, [700, 1100, 1500]
#: of them, those that the teacher labels
CHOSEN = 30
HOT = 1500


@dataclasses.dataclass(frozen=True)
class Run:
    """What a student is trained on.

    Attributes:
        frames: of the teacher's pool.
        probes: of each frame, also of the second round.
        second: how structures of the first student's dynamics are chosen.
        more: whether there are frames of more dynamics of the teacher.
    """

    frames: int
    probes: int = 0
    second: str | None = None
    more: bool = False

    @property
    def steps(self) -> int:
        """Of the training."""
        return STEPS // 2 if self.probes else STEPS

    @property
    def label_calls(self) -> int:
        """The teacher's force calls for labels; F(r) of a probe is that of its frame."""
        more = CHOSEN if self.second or self.more else 0
        return (self.frames + more) * (1 + self.probes)

    @property
    def dynamics_calls(self) -> int:
        """Those of its dynamics."""
        return steps_of("teacher") + (steps_of("more") if self.more else 0)


RUNS = {
    "10, two probes": Run(10, probes=2),
    "30": Run(30),
    "30, one probe": Run(30, probes=1),
    "30, second round chosen": Run(30, second="d_optimal"),
    "30, second round random": Run(30, second="random"),
    "30, more of the teacher": Run(30, more=True),
    "30, second round chosen, one probe": Run(30, probes=1, second="d_optimal"),
}


def steps_of(pool: str) -> int:
    """Steps of the dynamics of a pool of the teacher."""
    _, n, per_run, _ = POOLS[pool]
    return n // per_run * (150 + 20 * per_run)


@dataclasses.dataclass(frozen=True)
class Study:
    """Where files are, and which Python has the teacher."""

    out: Path
    teacher: str

    @property
    def start(self) -> Path:
        """Two cells of rutile, 4.7 × 4.7 × 5.9 Å."""
        return self.out / "data" / "start.xyz"

    def pool(self, name: str) -> Path:
        """A pool of the teacher's dynamics, with its labels."""
        file = self.out / "data" / f"{name}.xyz"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not self.start.exists():
            lengths = [4.65, 4.65, 2.97, 90, 90, 90]
            places = [(0, 0, 0), (0.305, 0.305, 0)]
            unit = crystal(["Ti", "O"], places, spacegroup=136, cellpar=lengths)
            write(self.start, [unit * (1, 1, 2)])
        if not file.exists():
            temperatures, n, per_run, seed = POOLS[name]
            words = ["--temperatures", *temperatures, "--n", n, "--per_run", per_run, "--labels"]
            words += ["--calculator", TEACHER, *DYNAMICS, "--seed", seed, "--out", file]
            piwsl("pool", self.start, *words, python=self.teacher)
        return file

    def test_frames(self, temperature: int) -> list[ase.Atoms]:
        """Those of a temperature."""
        frames = ase.io.read(self.pool("test"), ":")
        return [atoms for atoms in frames if atoms.info["pool_temperature"] == temperature]

    def labelled(self, file: Path) -> list[ase.Atoms]:
        """Structures of a file with the teacher's labels."""
        found = file.with_suffix(".labelled.xyz")
        if not found.exists():
            words = ["--calculator", TEACHER, "--models", 0, "--out", found]
            piwsl("weak", self.pool("teacher"), file, *words, python=self.teacher)
        return ase.io.read(found, ":")

    def folder(self, name: str, seed: int) -> Path:
        """Of a training."""
        return self.out / f"{name.replace(' ', '_').replace(',', '')}-{seed}"

    def second_round(self, method: str, seed: int) -> list[ase.Atoms]:
        """Structures of dynamics with the student of the first round, labelled."""
        first = self.folder("30", seed)
        pool, chosen = first / "second.xyz", first / f"{method}.xyz"
        model = first / "model.model"
        if not pool.exists():
            words = ["--calculator", model, "--temperatures", *SECOND_TEMPERATURES, *DYNAMICS]
            words += ["--n", SECOND, "--per_run", SECOND_PER_RUN, "--seed", seed, "--out", pool]
            piwsl("pool", self.start, *words)
        if not chosen.exists():
            words = ["--method", method, "--n", CHOSEN, "--out", chosen]
            words += ["--given", first / "train.xyz", "--model", model, "--seed", seed]
            piwsl("select", pool, *words)
        return self.labelled(chosen)

    def train(self, name: str, seed: int) -> dict[str, float]:
        """Train a student; gives steps and CPU time."""
        run, folder = RUNS[name], self.folder(name, seed)
        folder.mkdir(parents=True, exist_ok=True)
        frames = ase.io.read(self.pool("teacher"), ":")
        order = np.random.default_rng([seed, 4]).permutation(len(frames))
        write(folder / "valid.xyz", [frames[n] for n in order[:VALIDATION]])
        training = [frames[n] for n in order[VALIDATION:][: run.frames]]
        arguments = {**STUDENT, "seed": seed}
        if run.second:
            training += self.second_round(run.second, seed)
        if run.more:
            training += ase.io.read(self.pool("more"), ":")
        write(folder / "train.xyz", training)
        if run.probes:
            labels = folder / "labels.npz"
            if not labels.exists():
                words = ["--max_hessian_atoms", 0, "--probes", run.probes, "--out", labels]
                words += ["--calculator", TEACHER]
                piwsl("hessian", folder / "train.xyz", *words, python=self.teacher)
            arguments["piwsl_hessian_file"] = labels
        arguments |= {"train_file": folder / "train.xyz", "valid_file": folder / "valid.xyz"}
        shape = schedule(round(run.steps * BATCH / len(training)))
        return train(
            {**arguments, **shape, "batch_size": BATCH, "valid_batch_size": VALIDATION}, folder
        )[1]

    def errors(self, file: Path, frames: list[ase.Atoms]) -> dict[str, float]:
        """Of a model on labelled frames."""
        return errors_on(frames, *predict(load(file), frames))

    def trained(self, name: str, seed: int) -> dict[str, Any]:
        """The errors of a student, which is trained if it is not there."""
        folder = self.folder(name, seed)
        result = folder / "errors.json"
        if not result.exists():
            cost = self.train(name, seed)
            row: dict[str, Any] = {"train_cpu_s": cost["cpu_s"], "steps": cost["steps"]}
            for temperature in POOLS["test"][0]:
                found = self.errors(folder / "model.model", self.test_frames(temperature))
                for measure in ("E_centred", "F_rmse", "slope"):
                    row[f"{measure}_{temperature}"] = found[measure]
            result.write_text(json.dumps(row))
        return json.loads(result.read_text())

    def where_the_first_goes(self, name: str, seed: int) -> dict[str, float]:
        """Errors on structures of the first student's dynamics that a student has not seen."""
        folder = self.folder(name, seed)
        seen = np.array([atoms.positions for atoms in ase.io.read(folder / "train.xyz", ":")])
        frames = [
            atoms
            for atoms in self.second_round("random", seed)
            if np.abs(seen - atoms.positions).max((1, 2)).min() > 1e-4
        ]
        if not frames:
            return {}
        found = self.errors(folder / "model.model", frames)
        return {f"{n}_student": found[n] for n in ("E_centred", "F_rmse", "slope")}

    def simulated(self, name: str, seed: int, length: float, replicas: int) -> dict[str, Any]:
        """The dynamics of a student, which are kept if they are as long; with 0, those kept."""
        folder = self.folder(name, seed)
        result = folder / "dynamics.json"
        kept = json.loads(result.read_text()) if result.exists() else {}
        if not replicas or (kept.get("replicas") == replicas and kept["length_ps"] >= length):
            return kept
        starts = self.test_frames(HOT)
        starts = starts[:: len(starts) // replicas][:replicas]
        settings = Dynamics(HOT, length, timestep=2.0)
        begin = time.process_time()
        model = folder / "model.model"
        found = survival(load(model), starts, settings, seed)
        row: dict[str, Any] = {
            "length_ps": length,
            "replicas": replicas,
            "failed": int(np.isnan(found.change).sum()),
            "survival_ps": found.times.mean(),
            "dynamics_cpu_s": time.process_time() - begin,
        }
        if found.last:
            change = np.abs(found.change[~np.isnan(found.change)])
            row["drift_meV_atom"] = 1e3 * change.mean() / len(starts[0])
            last = folder / f"last_{length:g}_{replicas}.xyz"
            write(last, found.last)
            row["F_rmse_end"] = self.errors(model, self.labelled(last))["F_rmse"]
        result.write_text(json.dumps(row))
        return row

    def speed(self) -> None:
        """CPU time of a force call of teacher and student, into ``speed.csv``."""
        table = self.out / "speed.csv"
        if table.exists():
            return
        large = self.out / "data" / "large.xyz"
        write(large, [ase.io.read(self.start) * (2, 2, 2)])
        script = Path(__file__).with_name("_student_speed.py")
        student = self.folder("30", 0) / "model.model"
        rows = []
        for name, python, calculator in (
            ("teacher", self.teacher, TEACHER),
            ("student", sys.executable, student),
        ):
            command = [python, script, calculator, self.start, large]
            said = subprocess.run(
                list(map(str, command)), check=True, env=ENVIRONMENT, capture_output=True, text=True
            )
            for line in said.stdout.splitlines():
                atoms, milliseconds = line.split()[-2:]
                rows.append({"model": name, "atoms": atoms, "ms": float(milliseconds)})
        pd.DataFrame(rows).to_csv(table, index=False, float_format="%.4g")

    def write_table(self, rows: dict[tuple[str, int], dict[str, Any]]) -> pd.DataFrame:
        """All rows, into ``student.csv``."""
        table = [
            {"run": name, "seed": seed}
            | {"label_calls": RUNS[name].label_calls, "dynamics_calls": RUNS[name].dynamics_calls}
            | row
            for (name, seed), row in rows.items()
        ]
        found = pd.DataFrame(table)
        found.to_csv(self.out / "student.csv", index=False, float_format="%.5g")
        return found


def main() -> None:
    """Do what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher-python", default=sys.executable)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN")
    parser.add_argument(
        "--dynamics",
        nargs="*",
        choices=RUNS,
        default=list(RUNS),
        metavar="RUN",
        help="those of which dynamics are run",
    )
    parser.add_argument("--length", type=float, default=50, help="of the dynamics, in ps")
    parser.add_argument("--replicas", type=int, default=4)
    options = parser.parse_args()
    study = Study(options.out.resolve(), options.teacher_python)
    initialise_worker()
    torch.set_num_threads(1)
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for seed in options.seeds:
        for name in options.runs:
            rows[name, seed] = study.trained(name, seed)
            print(name, seed, rows[name, seed], flush=True)
            study.write_table(rows)
    for name, seed in rows:
        replicas = options.replicas if name in options.dynamics else 0
        rows[name, seed] |= study.simulated(name, seed, options.length, replicas)
        rows[name, seed] |= study.where_the_first_goes(name, seed)
        print(name, seed, rows[name, seed], flush=True)
        study.write_table(rows)
    study.speed()
    means = study.write_table(rows).groupby("run", sort=False).agg(["mean", "std"])
    print(means.drop(columns="seed", level=0).round(3).to_string())


if __name__ == "__main__":
    main()
