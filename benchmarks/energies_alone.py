"""A few expensive energies without forces and a cheap method: the recipe of docs/few_labels.md.

    python benchmarks/energies_alone.py --out RESULTS_DIR [--seeds 1 2 3] [--rows recipe alone weak]

Run it in the environment of MACE, of NequIP, or in each; both write to one ``energies_alone.csv``,
and finished rows are kept. The seed draws 30 of the bundled GFN2-xTB frames, which keep their
energies alone, and 10 validation energies, and starts the models; the pool is the 270 other
geometries, GFN1-xTB the cheap method. Rows: the cheap method itself, shifted to the 30 energies; a
model pretrained on its labels of the pool; the same fine-tuned on the energies (the recipe); the
energies alone, for as many steps; weak labels of two corrections that have learned energies, and a
model of these. Tested on the bundled 60 frames at 500 K and 100 at 900 K. ``cpu_s`` is the CPU time
of all commands that a row needs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import pandas as pd

from piwsl_plugins.tools.calculators import CalculatorSource
from piwsl_plugins.tools.loaded_calculators import load

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
N_TRAINING, N_VALIDATION = 30, 10
#: of the model of the recipe, for the other configs
SMALL = {
    "mace": "--num_channels=16 --max_L=0 --max_ell=2 --correlation=2 --r_max=4.5",
    "nequip": "training_module.model.num_layers=2 training_module.model.num_features=16",
}
#: for NequIP's data without forces
NO_FORCES = (
    "data.stats_manager._target_=nequip.data.EnergyOnlyDataStatisticsManager "
    "training_module.val_metrics._target_=nequip.train.EnergyOnlyMetrics "
    "~training_module.val_metrics.coeffs.forces_rmse "
    "training_module.model.per_type_energy_scales=1.0"
)


def bundled(name: str) -> list[ase.Atoms]:
    """Molecules of a data file."""
    frames = ase.io.read(ROOT / "data" / f"ethanol_{name}.xyz", ":")
    return [atoms for atoms in frames if len(atoms) > 1]


def without_forces(frames: list[ase.Atoms]) -> list[ase.Atoms]:
    """Copies with energies alone."""
    copies = [atoms.copy() for atoms in frames]
    for atoms in copies:
        del atoms.arrays["REF_forces"]
    return copies


class Host:
    """The commands of one seed in one framework; each is run once and leaves its files."""

    def __init__(self, host: str, seed: int, folder: Path) -> None:
        self.host, self.seed, self.folder = host, seed, folder
        self.seconds: dict[str, float] = {}
        folder.mkdir(parents=True, exist_ok=True)
        order = np.random.default_rng([seed, 30]).permutation
        expensive, valid = bundled("gfn2_train"), bundled("gfn2_valid")
        self.training = [expensive[i] for i in order(len(expensive))[:N_TRAINING]]
        chosen = [valid[i] for i in order(len(valid))[:N_VALIDATION]]
        alone = without_forces(self.training)
        ase.io.write(folder / "train.xyz", alone)
        for atoms in alone:  # NequIP's losses that read forces, those of a pool, ask for the field
            atoms.arrays["REF_forces"] = np.full((len(atoms), 3), np.nan)
        ase.io.write(folder / "train_nan.xyz", alone)
        ase.io.write(folder / "valid.xyz", without_forces(chosen))

    def run(self, name: str, command: str, made: str) -> Path:
        """Run a command in the folder unless it has been; gives the file that it makes."""
        path, log = self.folder / made, self.folder / f"{name}.seconds"
        if not (path.exists() and log.exists()):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            program, *rest = shlex.split(command)
            with (self.folder / f"{name}.log").open("w") as output:
                subprocess.run(
                    [str(BIN / program), *rest],
                    cwd=self.folder,
                    env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
                    check=True,
                    stdout=output,
                    stderr=output,
                )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            log.write_text(f"{spent:.1f}")
        self.seconds[name] = float(log.read_text())
        return path

    def config(self, name: str) -> str:
        """The path of a shipped config."""
        return str(ROOT / "configs" / self.host / f"{name}.yaml")

    def train(self, name: str, config: str, mace: str, nequip: str) -> Path:
        """Train by a shipped config with changes; gives the model."""
        if self.host == "mace":
            given = (
                f"mace_run_train --config {self.config(config)} --name={name} --seed={self.seed}"
            )
            given += f" --work_dir={name} --model_dir={name} --skip_evaluate_heads=Default {mace}"
            return self.run(name, given, f"{name}/{name}.model")
        given = f"nequip-train {self.config(config)} hydra.run.dir={name} run=[train] {nequip}"
        given += f" data.seed={self.seed}"
        if "checkpoint=" not in nequip:
            given += f" training_module.model.seed={self.seed}"
        return self.run(name, given, f"{name}/best.ckpt")

    def cheap(self) -> Path:
        """Labels of the cheap method on the expensive scale."""
        source = ROOT / "data" / "ethanol_gfn1_train.xyz"
        given = f"piwsl weak train.xyz {source} --cheap_labels {source}"
        return self.run("cheap", f"{given} --models 0 --offsets --out cheap.xyz", "cheap.xyz")

    def pretrained(self) -> Path:
        """The third command of the recipe."""
        self.cheap()
        return self.train(
            "pretrained",
            "energies_pretrain",
            "--train_file=cheap.xyz",
            "data.split_dataset.file_path=cheap.xyz",
        )

    def recipe(self) -> Path:
        """The fourth."""
        before = self.pretrained()
        return self.train(
            "recipe",
            "energies_finetune",
            f"--train_file=train.xyz --valid_file=valid.xyz --foundation_model={before}",
            f"data.train_file_path=train.xyz data.val_file_path=valid.xyz checkpoint={before}",
        )

    def alone(self) -> Path:
        """The energies alone, from scratch, for as many steps as the recipe has."""
        return self.train(
            "alone",
            "energies_only",
            "--train_file=train.xyz --valid_file=valid.xyz --test_file=valid.xyz "
            f"--piwsl_pitc_weight=0 --max_num_epochs=151 {SMALL['mace']}",
            "data.train_file_path=train.xyz data.val_file_path=valid.xyz trainer.max_epochs=220 "
            f"training_module.loss.pitc_weight=0 {NO_FORCES} {SMALL['nequip']}",
        )

    def weak(self) -> Path:
        """Corrections of energies, and a model of the weak labels."""
        source = ROOT / "data" / "ethanol_gfn1_train.xyz"
        if self.host == "mace":
            train = f"mace_run_train --config {self.config('correction')} --loss=piwsl "
            train += "--piwsl_base_loss=energy --piwsl_pitc_weight=0 --max_ell=2 --correlation=2 "
            train += "--max_num_epochs=81 --lr_scheduler_gamma=0.944"
        else:
            train = f"nequip-train {self.config('correction')} epochs=80 {NO_FORCES} "
            train += "~training_module.loss.coeffs.forces +training_module.loss.pitc_weight=0.0 "
            train += "training_module.loss._target_=piwsl_plugins.nequip.PIWSLLoss"
        given = f"piwsl weak train.xyz {source} --cheap_labels {source} --models 2 --out weak.xyz"
        self.run("corrections", f"{given} --train '{train}'", "weak.xyz")
        return self.train(
            "weak",
            "weak",
            "--train_file=train.xyz --valid_file=valid.xyz --test_file=valid.xyz --batch_size=5 "
            "--piwsl_pool_file=weak.xyz --piwsl_pool_per_batch=5 --max_num_epochs=91 --lr=0.03 "
            f"--lr_scheduler_gamma=0.967 --energy_weight=100 {SMALL['mace']}",
            "data.train_file_path=train_nan.xyz data.val_file_path=valid.xyz "
            "+training_module.loss.ignore_nan.forces=true training_module.loss.pool_file=weak.xyz "
            "training_module.loss.pool_per_batch=5 training_module.loss.coeffs.forces=1.0 "
            "trainer.max_epochs=160 data.train_dataloader.batch_size=5 "
            f"training_module.optimizer.lr=0.01 {NO_FORCES} {SMALL['nequip']}",
        )


def predictions(model: Path, frames: list[ase.Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies and forces of a saved model."""
    calculator = load(CalculatorSource.parse(str(model)), sorted(set(frames[0].numbers)))
    found = [calculator.evaluate(atoms, "a test frame") for atoms in frames]
    return np.array([one.energy for one in found]), [one.forces for one in found]


def errors(
    frames: list[ase.Atoms], energies: np.ndarray, forces: list[np.ndarray]
) -> dict[str, float]:
    """In meV per atom and meV/Å; energies also without their mean error."""
    wrong = energies - np.array([atoms.info["REF_energy"] for atoms in frames])
    wrong = 1e3 * wrong / np.array([len(atoms) for atoms in frames])
    true = np.concatenate([atoms.arrays["REF_forces"] for atoms in frames])
    found = np.concatenate(forces)
    return {
        "E": float(np.sqrt(np.mean(wrong**2))),
        "E_centred": float(wrong.std()),
        "F": float(1e3 * np.sqrt(np.mean((found - true) ** 2))),
        "slope": float((found * true).sum() / (true**2).sum()),
    }


def of_the_cheap_method(training: list[ase.Atoms]) -> dict[str, float]:
    """Errors of GFN1-xTB, shifted to the energies of the training frames."""
    cheap = {
        a.positions.tobytes(): a for n in ("train", "test", "hot") for a in bundled(f"gfn1_{n}")
    }

    def twin(atoms: ase.Atoms) -> ase.Atoms:
        return cheap[atoms.positions.tobytes()]

    shift = np.mean([a.info["REF_energy"] - twin(a).info["REF_energy"] for a in training])
    row = {}
    for prefix, name in (("", "test"), ("hot_", "hot")):
        frames = bundled(f"gfn2_{name}")
        twins = [twin(atoms) for atoms in frames]
        energies = np.array([atoms.info["REF_energy"] for atoms in twins]) + shift
        found = errors(frames, energies, [atoms.arrays["REF_forces"] for atoms in twins])
        row |= {prefix + key: value for key, value in found.items()}
    return row


#: what each row's cost is made of
PARTS = {
    "cheap method": (),
    "pretrained": ("cheap", "pretrained"),
    "recipe": ("cheap", "pretrained", "recipe"),
    "alone": ("alone",),
    "weak": ("corrections", "weak"),
}


def markdown(runs: pd.DataFrame) -> str:
    """The table of docs/few_labels.md: means and standard deviations over the seeds."""
    columns = ("E_centred", "F", "slope", "hot_E_centred", "hot_F")
    lines = [
        "| host | training | E | F | force slope | E, 900 K | F, 900 K | CPU time (s) | seeds |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for (host, name), rows in runs.groupby(["host", "row"], sort=False):
        cells = []
        for column in columns:
            digits = 2 if column == "slope" else 1 if "E" in column else 0
            cell = f"{rows[column].mean():.{digits}f}"
            if len(rows) > 1 and column != "slope":
                cell += f" ± {rows[column].std():.{digits}f}"
            cells.append(cell)
        cells += [f"{rows.cpu_s.mean():.0f}", str(len(rows))]
        lines.append(f"| {host} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is not in the table yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    host = "mace" if importlib.util.find_spec("mace") else "nequip"
    table = options.out.resolve() / "energies_alone.csv"
    for seed in options.seeds:
        runs = Host(host, seed, table.parent / f"{host}_{seed}")
        for name in options.rows:
            rows = pd.read_csv(table).to_dict("records") if table.exists() else []
            row: dict[str, object] = {"host": host, "row": name, "seed": seed}
            if any(all(done[key] == value for key, value in row.items()) for done in rows):
                continue
            if name == "cheap method":
                row |= of_the_cheap_method(runs.training)
            else:
                model = getattr(runs, name)()
                for prefix, file in (("", "gfn2_test"), ("hot_", "gfn2_hot")):
                    frames = bundled(file)
                    found = errors(frames, *predictions(model, frames))
                    row |= {prefix + key: value for key, value in found.items()}
            row["cpu_s"] = sum(runs.seconds[part] for part in PARTS[name])
            pd.DataFrame([*rows, row]).to_csv(table, index=False, float_format="%.5g")
            print(row, flush=True)
    print(markdown(pd.read_csv(table)))


if __name__ == "__main__":
    main()
