"""Cost of a PIWSL training step relative to the base loss, measured in one run.

    python benchmarks/step_cost.py [--sizes 9 60 200] [--dtypes float32 float64] [--out FILE.csv]

For every size and precision, steps of MACE's own ``train_one_epoch`` with the base loss
alone, with PITC, and with PITC and PISC take turns, a few steps of each, so that a noisy
machine disturbs all alike; printed are medians. "outside" is the time that PIWSL spends
outside the model: selecting structures, drawing displacements, neighbour lists, joining
batches, copies to and from the CPU, as a share of a step with the base loss. Times are wall
times; on a shared machine ``--cpu-time`` counts the process's CPU time instead.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ase.io
import mace  # noqa: F401  sets a variable without which e3nn 0.4.4 does not load
import numpy as np
import pandas as pd
import torch
from ase.build import bulk
from e3nn import o3
from mace import data, modules, tools
from mace.tools import torch_geometric

from piwsl_plugins.core.settings import Settings
from piwsl_plugins.mace import hooks, training, transforms
from piwsl_plugins.mace.loss import PIWSLLoss

ETHANOL = Path(__file__).parents[1] / "data" / "ethanol_gfn2_train.xyz"
#: supercells of wurtzite with four atoms a cell, and structures per batch
SUPERCELLS = {9: (None, 10), 60: ((5, 3, 1), 4), 200: ((5, 5, 2), 2)}
STEPS_IN_A_ROW = 3
VARIANTS = {
    "base": Settings(pitc_weight=0.0, seed=0),
    "PITC": Settings(pitc_weight=0.01, seed=0),
    "PITC+PISC": Settings(pitc_weight=0.01, pisc_weight=0.01, seed=0),
}


def structures(size: int, n: int) -> list[ase.Atoms]:
    """Ethanol for 9 atoms, else rattled wurtzite; labels are zero, which costs the same."""
    supercell, _ = SUPERCELLS[size]
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


def make_model(numbers: list[int], channels: int) -> torch.nn.Module:
    """A small MACE with the default depth, body order and cutoff of ``mace_run_train``."""
    torch.manual_seed(0)
    return modules.ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.RealAgnosticResidualInteractionBlock,
        interaction_cls_first=modules.RealAgnosticResidualInteractionBlock,
        num_interactions=2,
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(numbers)),
        avg_num_neighbors=40.0,
        atomic_numbers=numbers,
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


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


class NoLogger:
    """Stands for MACE's results file."""

    def log(self, entry: dict) -> None:
        """Drop the entry."""


def measure(
    size: int, channels: int, rounds: int, clock: Callable[[], float], device: torch.device
) -> list[dict]:
    """Rows of the table for one size in the present default precision."""
    _, batch_size = SUPERCELLS[size]
    frames = structures(size, batch_size)
    numbers = sorted({int(z) for atoms in frames for z in atoms.numbers})
    keys = data.KeySpecification.from_defaults()
    dataset = [
        data.AtomicData.from_config(
            data.config_from_atoms(atoms, key_specification=keys),
            z_table=tools.AtomicNumberTable(numbers),
            cutoff=5.0,
        )
        for atoms in frames
    ]
    loader = torch_geometric.dataloader.DataLoader(dataset, batch_size=batch_size)
    model = make_model(numbers, channels).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    base = modules.WeightedEnergyForcesLoss(1.0, 100.0)
    stopwatch = Stopwatch(clock)
    for owner, name in (
        (training, "Structures"),
        (training._DisplacedCall, "_draw"),
        (training._DisplacedCall, "enlarged"),
        (training, "keep_first"),
        (transforms.Structures, "keys"),
        (transforms.Structures, "displaced_without_forces"),
    ):
        stopwatch.watch(owner, name)
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    outside: dict[str, list[float]] = {name: [] for name in VARIANTS}
    train_one_epoch = sys.modules["mace.tools.train"].train_one_epoch

    def epoch_of_one_step(settings: Settings, epoch: int) -> float:
        stopwatch.total, start = 0.0, clock()
        train_one_epoch(
            model=model,
            loss_fn=PIWSLLoss(base, settings),
            data_loader=loader,
            optimizer=optimizer,
            epoch=epoch,
            output_args={"forces": True, "virials": False, "stress": False},
            max_grad_norm=10.0,
            ema=None,
            logger=NoLogger(),
            device=device,
            distributed=False,
        )
        if device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    for turn in range(rounds + 1):
        for name, settings in VARIANTS.items():
            # the first step after a change of loss pays for memory that the others gave back
            epoch_of_one_step(settings, turn)
            for epoch in range(STEPS_IN_A_ROW):
                elapsed = epoch_of_one_step(settings, epoch)
                if turn > 0:
                    times[name].append(elapsed)
                    outside[name].append(stopwatch.total)
    reference = statistics.median(times["base"])
    return [
        {
            "atoms": size,
            "batch": batch_size,
            "precision": str(torch.get_default_dtype()).removeprefix("torch."),
            "loss": name,
            "ms per step": 1e3 * statistics.median(times[name]),
            "ratio": statistics.median(times[name]) / reference,
            "outside, % of base": 100 * statistics.median(outside[name]) / reference,
        }
        for name in VARIANTS
    ]


def main() -> None:
    """Print the table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", choices=SUPERCELLS, default=[9, 60, 200])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--channels", type=int, default=16, help="channels of the MACE")
    parser.add_argument(
        "--rounds", type=int, default=5, help=f"turns of {STEPS_IN_A_ROW} timed steps of each kind"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="process CPU time, not wall time")
    parser.add_argument("--out", type=Path, help="CSV file for the table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    hooks.activate()
    clock = time.process_time if options.cpu_time else time.perf_counter
    rows = []
    for dtype in options.dtypes:
        torch.set_default_dtype(getattr(torch, dtype))
        for size in options.sizes:
            rows += measure(
                size, options.channels, options.rounds, clock, torch.device(options.device)
            )
            print(".", end="", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    print(
        f"\nmace-torch, torch {torch.__version__}, {options.device}, {options.threads} thread(s), ",
        end="",
    )
    print(f"{platform.machine()}, {'CPU' if options.cpu_time else 'wall'} time")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    if options.out:
        table.to_csv(options.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
