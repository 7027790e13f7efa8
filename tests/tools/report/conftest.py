from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from piwsl_plugins.tools.calculators import CalculatorSource
from piwsl_plugins.tools.loaders import Loaded
from piwsl_plugins.tools.loading import LoadedCalculator

DATA = Path(__file__).parents[3] / "data"


@pytest.fixture(autouse=True, scope="session")
def importable_calculators():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield


@pytest.fixture
def as_model():
    """A calculator as the report's model."""

    def make(calculator, name="model"):
        source = CalculatorSource("known:calculator", "factory", name=name)
        return LoadedCalculator(source, Loaded(calculator))

    return make


def labelled_alloy():
    """Rattled copper-gold crystals of two sizes with EMT labels; the smaller has another kind."""
    frames = []
    for index in range(8):
        cells = 2 if index < 5 else 1
        atoms = bulk("Cu", cubic=True) * (cells, 1, 1)
        atoms.symbols[::3] = "Au"
        atoms.rattle(0.08, seed=index)
        atoms.calc = EMT()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.info["REF_stress"] = atoms.get_stress()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.info["config_type"] = "long" if cells == 2 else "short"
        atoms.calc = None
        frames.append(atoms)
    return frames


@pytest.fixture
def alloy():
    return labelled_alloy()


@pytest.fixture
def alloy_file(alloy, tmp_path):
    path = tmp_path / "alloy.xyz"
    write(path, alloy, format="extxyz")
    return path


@pytest.fixture
def nothing():
    """Stands for the progress bar."""
    return lambda amount=1.0: None


@pytest.fixture
def ethanol_test_file():
    path = DATA / "ethanol_gfn2_test.xyz"
    assert path.is_file(), "data/ is part of the repository; make it with data/generate.py"
    return path


def frames_of(structures, **labels):
    """Structures as the report's frames; labels may be given as lists."""
    from piwsl_plugins.tools.report.data import Frames
    from piwsl_plugins.tools.structures import Frame

    frames = tuple(
        Frame(
            atoms=atoms,
            where=f"frame {index}",
            config_type="",
            energy=labels.get("energy", [None] * len(structures))[index],
            forces=None,
            stress=None,
        )
        for index, atoms in enumerate(structures)
    )
    digest = str(np.sum([atoms.positions.sum() for atoms in structures]))
    return Frames(frames, ("test",), digest, 0)
