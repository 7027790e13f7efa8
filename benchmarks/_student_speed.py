"""CPU time of a force call for ``student.py``, in the environment of the model.

    python benchmarks/_student_speed.py CALCULATOR STRUCTURE [STRUCTURE …]

prints for each structure its number of atoms and the milliseconds of a call on one thread, the
median of several after one that warms up. MACE models run in the type that they are stored in.
"""

from __future__ import annotations

import sys
import time

import ase.io
import numpy as np
import torch

from piwsl_plugins.tools.calculators import CalculatorSource
from piwsl_plugins.tools.loaded_calculators import load

CALLS = 10


def main() -> None:
    """Print them."""
    torch.set_num_threads(1)
    calculator, *files = sys.argv[1:]
    random = np.random.default_rng(0)
    for file in files:
        atoms = ase.io.read(file)
        source = CalculatorSource.parse(calculator)
        model = load(source, sorted(set(atoms.numbers.tolist())), dtype="model")
        atoms.calc = model.calculator_for(atoms)
        times = []
        for _ in range(CALLS + 1):
            atoms.positions += random.normal(scale=0.01, size=atoms.positions.shape)
            begin = time.process_time()
            atoms.get_forces()
            times.append(time.process_time() - begin)
        print(len(atoms), 1e3 * np.median(times[1:]))


if __name__ == "__main__":
    main()
