"""Cost of a PIWSL training step relative to the base loss, measured in one run.

    python benchmarks/step_cost.py [--framework mace] [--sizes 9 60 200] [--out FILE.csv]
    python benchmarks/step_cost.py [--framework mace] --energies-alone
    python benchmarks/step_cost.py [--framework mace] --outside-model
    python benchmarks/step_cost.py [--framework mace] --against OTHER_CHECKOUT

Works in an environment with MACE, and in one with NequIP and Allegro. For every size and
precision, steps with the base loss and with each of the terms take turns, a few steps of each, so
that a noisy machine disturbs all alike; printed are medians. "outside" is the time that PIWSL
spends outside the model: selecting structures, drawing displacements, neighbour lists, joining
batches, copies to and from the CPU, as a share of a step with the base loss. "memory" is the
largest amount that torch holds within a step beyond what it holds between steps, relative to the
base loss. Times are wall times; on a shared machine ``--cpu-time`` counts the process's CPU time
instead.

With ``--outside-model`` the model answers with zeros at once, and what is left of a step is timed,
per structure, from the second epoch on (the first makes neighbour lists); on a GPU, the
synchronisations of such a step are counted.

With ``--against``, another checkout of this repository takes turns with this one, each in a
process of its own that imports its own package and its own ``benchmarks/step_cost.py``; "new/old"
is the median over the turns of the ratio of this checkout's step to the other's.

What a step is, and which model is trained, is said in ``_step_cost_mace.py`` and
``_step_cost_nequip.py``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import itertools
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import ase.io
import numpy as np
import pandas as pd
import torch
from _step_cost_worker import Worker
from ase.build import bulk

from piwsl_plugins.labels.hessian_labels import HessianLabel
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.terms.host import STRUCTURES
from piwsl_plugins.terms.loading import Describing
from piwsl_plugins.terms.step import Step
from piwsl_plugins.terms.terms import Term

ROOT = Path(__file__).resolve().parents[1]
ETHANOL = ROOT / "data" / "ethanol_gfn2_train.xyz"
#: module with the host's part, and default number of channels, by framework
FRAMEWORKS = {
    "mace": ("_step_cost_mace", 16),
    "nequip": ("_step_cost_nequip", 32),
    "allegro": ("_step_cost_nequip", 16),
}
#: distributions whose versions are printed
DISTRIBUTIONS = {
    "mace": ("mace-torch",),
    "nequip": ("nequip",),
    "allegro": ("nequip", "nequip-allegro"),
}
#: supercells of wurtzite with four atoms a cell, and structures per batch
SUPERCELLS = {9: (None, 10), 60: ((5, 3, 1), 4), 200: ((5, 5, 2), 2)}
#: likewise for ``--outside-model``, where there is room for more structures
WITHOUT_MODEL = {9: (None, 32), 60: ((5, 3, 1), 32), 200: ((5, 5, 2), 32), 1000: ((10, 5, 5), 8)}
#: as many as ``interval`` of the variant that has one
STEPS_IN_A_ROW = 4
#: Hessian labels are not read from a file here, but without its name they have no weight
HESSIAN: dict[str, Any] = {"hessian_file": "zeros"}
TRAPEZOID = {"consistency_form": "trapezoid"}
#: options of PIWSL by name of the row
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {"pitc_weight": 0.0},
    "PITC": {"pitc_weight": 0.01},
    "PITC+PISC": {"pitc_weight": 0.01, "pisc_weight": 0.01},
    "PITC, trapezoid": {"pitc_weight": 0.01, **TRAPEZOID},
    "PITC+PISC, trapezoid": {"pitc_weight": 0.01, "pisc_weight": 0.01, **TRAPEZOID},
    "PITC, adversarial": {"pitc_weight": 0.01, "displacement": "adversarial"},
    "Hessian": HESSIAN,
    "Hessian, symmetric": {**HESSIAN, "hessian_form": "symmetric"},
    "Hessian, interval 4": {**HESSIAN, "interval": STEPS_IN_A_ROW},
}
ENERGY: dict[str, Any] = {"base_loss": "energy"}
#: for ``--energies-alone``: steps whose base loss has no forces
ENERGY_VARIANTS: dict[str, dict[str, Any]] = {
    "base": {**ENERGY, "pitc_weight": 0.0},
    "PITC, symmetric": {**ENERGY, "pitc_weight": 0.01, "consistency_form": "symmetric"},
    "PITC, symmetric, adversarial": {
        **ENERGY,
        "pitc_weight": 0.01,
        "consistency_form": "symmetric",
        "displacement": "adversarial",
    },
    "PITC, first order": {**ENERGY, "pitc_weight": 0.01, "consistency_form": "first_order"},
    "Hessian, energies": {**ENERGY, **HESSIAN, "hessian_form": "energies"},
    "Hessian": {**ENERGY, **HESSIAN},
}


def structures(size: int, table: dict[int, tuple[Any, int]] | None = None) -> list[ase.Atoms]:
    """Ethanol for 9 atoms, else rattled wurtzite; labels are zero, which costs the same."""
    supercell, n = (table or SUPERCELLS)[size]
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


def zero_hessians(frames: list[ase.Atoms]) -> HessianLabels:
    """Hessian labels of structures."""
    return HessianLabels(
        HessianLabel(atoms.numbers, atoms.positions, hessian=np.zeros(2 * (3 * len(atoms),)))
        for atoms in frames
    )


def measure(
    workers: list[Worker], options: argparse.Namespace, size: int, dtype: str
) -> list[dict[str, object]]:
    """Rows of the table for one size and precision; the first worker is of this checkout."""
    for worker in workers:
        worker.ask(prepare=[options.framework, size, options.channels, dtype])
    # what one checkout lacks is measured in the other alone
    names = list(dict.fromkeys(name for worker in workers for name in worker.variants))
    times: dict[tuple[int, str], list[float]] = {}
    outside: dict[tuple[int, str], list[float]] = {}
    pairs = [
        (number, name)
        for name in names
        for number, worker in enumerate(workers)
        if name in worker.variants
    ]
    for turn in range(options.rounds + 1):
        # forwards and backwards, so that no checkout is always the first
        for number, name in pairs if turn % 2 else reversed(pairs):
            answer = workers[number].ask(steps=[name, STEPS_IN_A_ROW])
            if turn > 0:
                times.setdefault((number, name), []).append(answer["seconds"])
                outside.setdefault((number, name), []).append(answer["outside"])
    memory = {(number, name): workers[number].ask(memory=name) for number, name in pairs}
    rows = []
    for number, name in pairs:
        base = median(times[number, "base"])
        row: dict[str, object] = {
            "framework": options.framework,
            "atoms": size,
            "batch": SUPERCELLS[size][1],
            "precision": dtype,
            "loss": name,
        }
        if len(workers) > 1:
            row["checkout"] = ("new", "old")[number]
        row |= {
            "ms per step": 1e3 * median(times[number, name]),
            "ratio": median(times[number, name]) / base,
            "outside, % of base": 100 * median(outside[number, name]) / base,
            "memory": memory[number, name] / memory[number, "base"],
        }
        if number == 0 and (1, name) in times:
            ratios = [new / old for new, old in zip(times[0, name], times[1, name])]
            row["new/old"] = median(ratios)
        rows.append(row)
    return rows


def without_model(
    host: Any, terms: Sequence[Term], loaded: Any, on_device: dict[str, Any], zeros: Any
) -> Callable[[int], None]:
    """All of a step, by its epoch, but what the model does: it answers with zeros at once.

    Args:
        host: the framework's; no longer good for anything else.
        terms: those that act.
        loaded: a batch as a loader makes it.
        on_device: the same on the model's device, a dictionary.
        zeros: makes a model's output for a batch.
    """
    host.evaluate = lambda batch, forces: host.read(zeros(batch))
    describe = Describing(lambda _: loaded, host.description, host.lists, terms)

    def gradient() -> torch.Tensor:
        return host.read(zeros(on_device)).forces + 1.0

    def step(epoch: int) -> None:
        batch = {**on_device, STRUCTURES: describe([])[STRUCTURES]}
        acting = Step(host, terms, batch, None, 0, epoch, True, loss_gradient=gradient)
        acting.finish(zeros(acting.inputs))

    return step


def measure_outside(
    worker: Worker, options: argparse.Namespace, size: int, dtype: str
) -> list[dict[str, object]]:
    """Rows of the table of ``--outside-model``."""
    worker.ask(prepare=[options.framework, size, options.channels, dtype])
    rows = []
    for name in worker.variants:
        if name == "base" or "interval" in name:
            continue
        answer = worker.ask(outside=[name, STEPS_IN_A_ROW * options.rounds])
        _, n = WITHOUT_MODEL[size]
        row = {"framework": options.framework, "atoms": size, "batch": n, "precision": dtype}
        row |= {"loss": name, "µs per structure": 1e6 * answer["seconds"] / n}
        if options.device != "cpu":
            row["synchronisations"] = answer["synchronisations"]
        rows.append(row)
    return rows


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
    parser.add_argument("--sizes", type=int, nargs="+", choices=WITHOUT_MODEL)
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
    parser.add_argument("--variants", nargs="+", help="names of rows beside the base loss")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--energies-alone", action="store_true", help="steps with terms beside energies alone"
    )
    parser.add_argument(
        "--outside-model", action="store_true", help="time of all that is not the model"
    )
    parser.add_argument("--against", type=Path, help="another checkout, measured in turns")
    parser.add_argument("--cpu-time", action="store_true", help="process CPU time, not wall time")
    parser.add_argument("--out", type=Path, help="CSV file for the table")
    options = parser.parse_args()
    if options.framework is None or not importlib.util.find_spec(options.framework):
        parser.error(
            f"--framework {options.framework or ''}: not installed in this environment; install "
            "piwsl-plugins[mace], or piwsl-plugins[nequip] and, for allegro, nequip-allegro"
        )
    if options.sizes is None:
        options.sizes = list(WITHOUT_MODEL if options.outside_model else SUPERCELLS)
    if options.outside_model and (options.against or options.energies_alone):
        parser.error("--outside-model goes with neither --against nor --energies-alone")
    if not options.outside_model and 1000 in options.sizes:
        parser.error("--sizes 1000 goes with --outside-model only")
    if options.against and not (options.against / "benchmarks" / "step_cost.py").is_file():
        parser.error(f"--against {options.against}: not a checkout of this repository")
    known = ENERGY_VARIANTS if options.energies_alone else VARIANTS
    unknown = [name for name in options.variants or () if name not in known]
    if unknown:
        parser.error(f"--variants {', '.join(unknown)}: allowed are {', '.join(known)}")
    if options.channels is None:
        options.channels = FRAMEWORKS[options.framework][1]
    return options


def main() -> None:
    """Print the table, and write it if asked."""
    options = read_options()
    checkouts = [ROOT, *([options.against.resolve()] if options.against else [])]
    workers = [Worker(checkout, options) for checkout in checkouts]
    rows = []
    for dtype, size in itertools.product(options.dtypes, options.sizes):
        if options.outside_model:
            rows += measure_outside(workers[0], options, size, dtype)
        else:
            rows += measure(workers, options, size, dtype)
        print(".", end="", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in (*DISTRIBUTIONS[options.framework], "torch")
    )
    print(
        f"\n{versions}, {options.device}, {options.threads} thread(s), {platform.machine()}, "
        f"{'CPU' if options.cpu_time else 'wall'} time"
    )
    print(table.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.3f}"))
    if options.out:
        table.to_csv(options.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
