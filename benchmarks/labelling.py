"""What labelling many structures costs beside the calculator.

    python benchmarks/labelling.py [--frames 10000] [--milliseconds 1] [--workers 1 2]

A function that takes so long is run on so many structures of 20 atoms through the store of ``piwsl
hessian`` and its like, and the time is compared with that of the function alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import ase
import numpy as np

from piwsl_plugins.frames.reading import Frame
from piwsl_plugins.tools.labelling import label
from piwsl_plugins.tools.runs import Run


@dataclasses.dataclass(frozen=True)
class Busy:
    """Gives energy and forces after so many milliseconds of work."""

    milliseconds: float

    def __call__(self, frame: Frame) -> dict[str, np.ndarray]:
        """Work."""
        end = time.perf_counter() + 1e-3 * self.milliseconds
        while time.perf_counter() < end:
            pass
        return {"energy": np.array(0.0), "forces": np.zeros((len(frame.atoms), 3))}


def main() -> None:
    """Measure, and print the ratio to the function's own time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--milliseconds", type=float, default=1.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    random = np.random.default_rng(0)
    frames = [
        Frame(ase.Atoms("H20", random.random((20, 3))), f"frame {index}")
        for index in range(options.frames)
    ]
    for workers in options.workers:
        with tempfile.TemporaryDirectory() as folder:
            run = Run(Path(folder) / "labels", {}, False, lambda path: ("{}", {}))
            start = time.perf_counter()
            label(frames, Busy(options.milliseconds), run, "label", "busy", workers)
            seconds = time.perf_counter() - start
        alone = 1e-3 * options.milliseconds * options.frames / workers
        print(f"{workers} workers: {seconds:.1f} s, {seconds / alone:.2f} x the function alone")


if __name__ == "__main__":
    main()
