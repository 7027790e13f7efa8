"""Resident memory of a long training with every term on, through MACE's or NequIP's own command.

    python benchmarks/memory.py [--steps 10000]

In an environment with MACE, ``mace_run_train``; in one with NequIP, ``nequip-train``: the quick
start's model on 10 frames of ethanol, one frame and one pool structure in a step, with PITC, PISC,
Hessian labels, held-out Hessians and the pool. Printed is the resident memory of the process, in
MiB, at each tenth of the run, and how much of it has come since the first tenth.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ase.io
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
TERMS = {"pitc_weight": 0.001, "pisc_weight": 0.001, "pool_per_batch": 1}
FRAMES = 10


def command(folder: Path, epochs: int) -> list[str]:
    """The training, of the framework that is installed."""
    frames = [a for a in ase.io.read(DATA / "ethanol_gfn2_train.xyz", ":") if len(a) > 1]
    train, pool = folder / "train.xyz", folder / "pool.xyz"
    ase.io.write(train, frames[:FRAMES])
    ase.io.write(pool, frames[FRAMES:])
    files = {"pool_file": pool, "hessian_valid_file": DATA / "ethanol_gfn2_test_hessian.npz"}
    options = {**TERMS, **files}
    programs = Path(sys.executable).parent
    if importlib.util.find_spec("mace"):
        return [
            str(programs / "mace_run_train"),
            f"--config={ROOT / 'configs' / 'mace' / 'quickstart.yaml'}",
            f"--work_dir={folder}",
            f"--train_file={train}",
            f"--valid_file={DATA / 'ethanol_gfn2_test.xyz'}",
            "--batch_size=1",
            f"--max_num_epochs={epochs}",
            f"--eval_interval={max(epochs // 10, 1)}",
            *(f"--piwsl_{name}={value}" for name, value in options.items()),
        ]
    return [
        str(programs / "nequip-train"),
        str(ROOT / "configs" / "nequip" / "quickstart.yaml"),
        f"hydra.run.dir={folder}",
        "run=[train]",
        "data.train_dataloader.batch_size=1",
        f"data.val_file_path={DATA / 'ethanol_gfn2_test.xyz'}",
        f"epochs={epochs}",
        f"trainer.check_val_every_n_epoch={max(epochs // 10, 1)}",
        *(f"+training_module.loss.{name}={value}" for name, value in options.items()),
    ]


def resident(pid: int) -> float:
    """Of a process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> int:
    """Train, and print what it takes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=10_000)
    steps = parser.parse_args().steps
    samples = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        with log.open("w") as file:
            process = subprocess.Popen(
                command(Path(folder), steps // FRAMES),
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            while process.poll() is None:
                samples.append(resident(process.pid))
                time.sleep(1.0)
        if process.returncode:
            print("\n".join(log.read_text().splitlines()[-20:]))
            return 1
    tenths = [float(np.median(part)) for part in np.array_split(samples, 10)]
    print(f"{steps} steps: " + ", ".join(f"{size:.0f}" for size in tenths) + " MiB")
    print(f"from the first tenth to the last: {tenths[-1] - tenths[0]:+.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
