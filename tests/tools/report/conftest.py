import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from piwsl_plugins.tools.calculators import CalculatorSource
from piwsl_plugins.tools.command import main
from piwsl_plugins.tools.loaded_calculators import LoadedCalculator
from piwsl_plugins.tools.loaders import Loaded

DATA = Path(__file__).parents[3] / "data"


@pytest.fixture(autouse=True, scope="session")
def importable_calculators():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield


@pytest.fixture
def small_figures(monkeypatch):
    """Draws all figures, but as one small picture each, which takes a fifth of the time."""

    def save(figure, folder, name):
        figure.set_layout_engine("none")
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{name}.png", dpi=30)
        return folder / f"{name}.png"

    monkeypatch.setattr("piwsl_plugins.tools.report.figures.save", save)


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
    from piwsl_plugins.frames.reading import Frame
    from piwsl_plugins.tools.report.frame_set import FrameSet

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
    return FrameSet(frames, ("test",), digest, 0)


@pytest.fixture
def strained(tmp_path):
    """Checks the stress error of a model on a crystal of C and O, given its calculator and file.

    Labels are dE/dε / V by central differences, ASE's sign, one component moved by 2 meV/Å³.
    """

    def check(calculator, model):
        atoms = bulk("CO", "zincblende", a=4.0, cubic=True)
        atoms.rattle(0.05, seed=0)
        atoms.calc = calculator
        stress = np.zeros(6)
        for number, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
            energies = []
            for step in (-1e-4, 1e-4):
                strain = np.zeros((3, 3))
                strain[i, j] += 0.5 * step
                strain[j, i] += 0.5 * step
                moved = atoms.copy()
                moved.calc = calculator
                moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
                energies.append(moved.get_potential_energy())
            stress[number] = (energies[1] - energies[0]) / 2e-4 / atoms.get_volume()
        labelled = atoms.copy()
        labelled.info["REF_energy"] = atoms.get_potential_energy()
        labelled.info["REF_stress"] = stress + 0.002 * np.eye(6)[3]
        labelled.arrays["REF_forces"] = atoms.get_forces()
        write(tmp_path / "crystal.xyz", labelled, format="extxyz")
        given = [
            "--model",
            f"x={model}",
            "--data",
            str(tmp_path / "crystal.xyz"),
            "--parts",
            "labels",
        ]
        assert main(["report", *given, "--out", str(tmp_path / "out")]) == 0
        summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
        values = summary["models"]["x"]["values"]
        assert np.abs(stress).max() > 1e-4
        assert values["stress_rmse"]["value"] == pytest.approx(2 / np.sqrt(6), abs=1e-3)
        assert values["stress_mae"]["value"] == pytest.approx(2 / 6, abs=1e-3)
        assert summary["quantities"]["stress_rmse"]["unit"] == "meV/Å³"

    return check
