"""Cost of a PIWSL training step relative to the base loss, measured in one run.

    python benchmarks/step_cost.py [--framework mace] [--sizes 9 60 200] [--out FILE.csv]
    python benchmarks/step_cost.py [--framework mace] --energies-alone | --reference

Works in an environment with MACE, and in one with NequIP and Allegro. For every size and
precision, steps with the base loss alone, with PITC, and with PITC and PISC take turns, a few
steps of each, so that a noisy machine disturbs all alike; printed are medians. "outside" is the
time that PIWSL spends outside the model: selecting structures, drawing displacements, neighbour
lists, joining batches, copies to and from the CPU, as a share of a step with the base loss.
Times are wall times; on a shared machine ``--cpu-time`` counts the process's CPU time instead.

What a step is, and which model is trained, is said in ``_step_cost_mace.py`` and
``_step_cost_nequip.py``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import ase.io
import numpy as np
import pandas as pd
import torch
from ase.build import bulk

from piwsl_plugins.core.settings import Settings

ETHANOL = Path(__file__).parents[1] / "data" / "ethanol_gfn2_train.xyz"
#: module with the host's part, and default number of channels, by framework
FRAMEWORKS = {
    "mace": ("_step_cost_mace", 16),
    "nequip": ("_step_cost_nequip", 32),
    "allegro": ("_step_cost_nequip", 16),
}
#: supercells of wurtzite with four atoms a cell, and structures per batch
SUPERCELLS = {9: (None, 10), 60: ((5, 3, 1), 4), 200: ((5, 5, 2), 2)}
STEPS_IN_A_ROW = 3
VARIANTS = {
    "base": Settings(pitc_weight=0.0, seed=0),
    "PITC": Settings(pitc_weight=0.01, seed=0),
    "PITC+PISC": Settings(pitc_weight=0.01, pisc_weight=0.01, seed=0),
}
#: for ``--energies-alone``: steps whose base loss has no forces
ENERGY_VARIANTS = {
    "base": Settings(base_loss="energy", pitc_weight=0.0, seed=0),
    "PITC, symmetric": Settings(
        base_loss="energy", pitc_weight=0.01, pitc_form="symmetric", seed=0
    ),
    "PITC, first order": Settings(
        base_loss="energy", pitc_weight=0.01, pitc_form="first_order", seed=0
    ),
}
#: for ``--reference``: the frozen model is a copy of the trained one
REFERENCE_VARIANTS = {
    "base": VARIANTS["base"],
    "PITC": VARIANTS["PITC"],
    "PITC, reference": Settings(pitc_weight=0.01, pitc_target="reference", seed=0),
    "PITC, symmetric": Settings(pitc_weight=0.01, pitc_form="symmetric", seed=0),
    "PITC, symmetric, reference": Settings(
        pitc_weight=0.01, pitc_form="symmetric", pitc_target="reference", seed=0
    ),
}


def structures(size: int) -> list[ase.Atoms]:
    """Ethanol for 9 atoms, else rattled wurtzite; labels are zero, which costs the same."""
    supercell, n = SUPERCELLS[size]
    if supercell is None:
        frames = [atoms for atoms in ase.io.read(ETHANOL, ":") if len(atoms) == size][:n]
    else:
        crystal = bulk("GaN", "wurtzite", a=3.19, c=5.19).repeat(supercell)
        frames = [crystal.copy() for _ in range(n)]
        for seed, atoms in enumerate(frames):
            atoms.rattle(0.05, seed=seed)
    for atoms in frames:
        atoms.info["REF_energy"] = 0.0
        atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
    return frames


class Stopwatch:
    """Adds up the time of functions that PIWSL runs outside the model."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.total, self._depth = clock, 0.0, 0

    def watch(self, owner: object, name: str) -> None:
        """Replace a function by a timed one; nested calls count once."""
        function = getattr(owner, name)

        def timed(*args: object, **keywords: object) -> object:
            self._depth += 1
            start = self.clock()
            try:
                return function(*args, **keywords)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.total += self.clock() - start

        setattr(owner, name, timed)


def measure(
    host: ModuleType, options: argparse.Namespace, size: int, dtype: str, stopwatch: Stopwatch
) -> list[dict[str, object]]:
    """Rows of the table for one size and precision."""
    frames = structures(size)
    device = torch.device(options.device)
    training = host.Training(options.framework, frames, options.channels, dtype, device)
    variants = options.variants or VARIANTS
    times: dict[str, list[float]] = {name: [] for name in variants}
    outside: dict[str, list[float]] = {name: [] for name in variants}

    def timed(step: Callable[[int], None], epoch: int) -> float:
        stopwatch.total, start = 0.0, stopwatch.clock()
        step(epoch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return stopwatch.clock() - start

    for turn in range(options.rounds + 1):
        for name, settings in variants.items():
            with training.steps(settings) as step:
                # the first step after a change of loss pays for memory that the others gave back
                timed(step, turn)
                for epoch in range(STEPS_IN_A_ROW):
                    elapsed = timed(step, epoch)
                    if turn > 0:
                        times[name].append(elapsed)
                        outside[name].append(stopwatch.total)
    reference = statistics.median(times["base"])
    return [
        {
            "framework": options.framework,
            "atoms": size,
            "batch": len(frames),
            "precision": dtype,
            "loss": name,
            "ms per step": 1e3 * statistics.median(times[name]),
            "ratio": statistics.median(times[name]) / reference,
            "outside, % of base": 100 * statistics.median(outside[name]) / reference,
        }
        for name in variants
    ]


def read_options() -> argparse.Namespace:
    """The command line; the framework is by default the one that is installed."""
    installed = [name for name in ("mace", "nequip") if importlib.util.find_spec(name)]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--framework",
        choices=FRAMEWORKS,
        default=installed[0] if installed else None,
        help="default: what is installed here, MACE or NequIP",
    )
    parser.add_argument("--sizes", type=int, nargs="+", choices=SUPERCELLS, default=[9, 60, 200])
    parser.add_argument(
        "--dtypes", nargs="+", choices=["float32", "float64"], default=["float32", "float64"]
    )
    defaults = ", ".join(f"{name} {channels}" for name, (_, channels) in FRAMEWORKS.items())
    parser.add_argument(
        "--channels", type=int, help=f"channels of the MACE, features of the others ({defaults})"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help=f"turns of {STEPS_IN_A_ROW} timed steps of each kind"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--device", default="cpu")
    chosen = parser.add_mutually_exclusive_group()
    for flag, variants, text in (
        ("--energies-alone", ENERGY_VARIANTS, "PITC beside a loss on energies alone"),
        ("--reference", REFERENCE_VARIANTS, "PITC against a frozen reference model"),
    ):
        chosen.add_argument(
            flag, action="store_const", dest="variants", const=variants, help=f"steps with {text}"
        )
    parser.add_argument("--cpu-time", action="store_true", help="process CPU time, not wall time")
    parser.add_argument("--out", type=Path, help="CSV file for the table")
    options = parser.parse_args()
    if options.framework is None or not importlib.util.find_spec(options.framework):
        parser.error(
            f"--framework {options.framework or ''}: not installed in this environment; install "
            "piwsl-plugins[mace], or piwsl-plugins[nequip] and, for allegro, nequip-allegro"
        )
    if options.channels is None:
        options.channels = FRAMEWORKS[options.framework][1]
    return options


def main() -> None:
    """Print the table, and write it if asked."""
    options = read_options()
    torch.set_num_threads(options.threads)
    host = importlib.import_module(FRAMEWORKS[options.framework][0])
    stopwatch = Stopwatch(time.process_time if options.cpu_time else time.perf_counter)
    for owner, name in host.OUTSIDE_THE_MODEL:
        stopwatch.watch(owner, name)
    rows = []
    for dtype in options.dtypes:
        for size in options.sizes:
            rows += measure(host, options, size, dtype, stopwatch)
            print(".", end="", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in (*host.DISTRIBUTIONS[options.framework], "torch")
    )
    print(
        f"\n{versions}, {options.device}, {options.threads} thread(s), {platform.machine()}, "
        f"{'CPU' if options.cpu_time else 'wall'} time"
    )
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    if options.out:
        table.to_csv(options.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
