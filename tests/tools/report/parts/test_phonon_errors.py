"""Band structures and densities of states of models over those of phonopy's files."""

import importlib.util
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import Bohr, Ry

pytest.importorskip("torch")
phonopy = pytest.importorskip("phonopy", reason="phonons are made through phonopy")
from phonopy.file_IO import write_FORCE_CONSTANTS, write_FORCE_SETS  # noqa: E402
from phonopy.structure.atoms import PhonopyAtoms  # noqa: E402

from piwsl_plugins.errors import InputError  # noqa: E402
from piwsl_plugins.labels.hessian_labels import HessianLabel, write_labels  # noqa: E402
from piwsl_plugins.tools.command import main  # noqa: E402
from piwsl_plugins.tools.hessian.differences import hessian  # noqa: E402
from piwsl_plugins.tools.report.arguments import build_parser, settings_from  # noqa: E402
from piwsl_plugins.tools.report.parts.phonon_errors.analyse import modes_of, ratios  # noqa: E402
from piwsl_plugins.tools.report.parts.phonon_errors.measure import spectra  # noqa: E402
from piwsl_plugins.tools.report.parts.phonon_errors.reference import read_crystals  # noqa: E402

from ..known_calculators import Changed, lennard_jones, soft_emt  # noqa: E402

pytestmark = pytest.mark.slow

MODELS = ["--model", "exact=known_calculators:emt", "--model", "soft=known_calculators:soft_emt"]


@pytest.fixture(autouse=True)
def coarse_mesh(monkeypatch):
    monkeypatch.setattr(
        "piwsl_plugins.tools.report.parts.phonon_errors.reference.MESH_LENGTH", 24.0
    )


def copper():
    return bulk("Cu", cubic=True)


def ordered_alloy(a=3.8):
    atoms = bulk("Cu", cubic=True, a=a)
    atoms.symbols[[0, 3]] = "Au"
    return atoms


def phonon_of(atoms, calculator=None, length=1.0, force=1.0, cells=(2, 2, 2), **displacements):
    """phonopy's object with EMT's forces, in units of ``length`` Å and ``force`` eV/Å."""
    cell = PhonopyAtoms(
        symbols=atoms.symbols, cell=atoms.cell.array / length, positions=atoms.positions / length
    )
    primitive = "F" if set(atoms.symbols) == {"Cu"} else "P"
    phonon = phonopy.Phonopy(cell, np.diag(cells), primitive, calculator=calculator)
    phonon.generate_displacements(distance=0.01 / length, **displacements)
    phonon.forces = np.array(
        [emt_forces(cell, length) / force for cell in phonon.supercells_with_displacements]
    )
    return phonon


def emt_forces(cell, length=1.0):
    atoms = Atoms(cell.symbols, cell.positions * length, cell=cell.cell * length, pbc=True)
    atoms.calc = EMT()
    return atoms.get_forces()


@pytest.fixture
def compare(as_model, nothing):
    """A model on the crystals of files."""

    def run(calculator, *paths):
        model = as_model(calculator)
        return [modes_of(spectra(model, crystal, nothing)) for crystal in read_crystals(paths)]

    return run


@pytest.fixture
def copper_file(tmp_path):
    phonon_of(copper()).save(tmp_path / "phonopy_params.yaml")
    return tmp_path / "phonopy_params.yaml"


def test_the_reference_is_what_phonopy_gives(compare, copper_file):
    (found,) = compare(EMT(), copper_file)
    phonon = phonopy.load(copper_file, log_level=0)
    mesh = phonon.run_mesh(24.0)
    assert np.abs(found.reference.mesh - mesh.frequencies).max() < 1e-6
    assert found.reference.weights == pytest.approx(mesh.weights / np.sum(mesh.weights))
    # the path starts at Γ; X is (½, 0, ½)
    assert found.tick_labels[:2] == ["G", "X"]
    assert np.abs(found.reference.bands[0]).max() < 1e-3
    expected = phonon.run_qpoints([[0.5, 0.0, 0.5]]).frequencies[0]
    corner = np.flatnonzero(found.distance == found.ticks[1])[0]
    assert found.reference.bands[corner] == pytest.approx(expected, abs=1e-6)
    assert np.trapezoid(found.reference.dos, found.reference.dos_frequencies) == pytest.approx(
        3, rel=0.02
    )
    assert found.title == "Cu (phonopy_params.yaml)"


def test_a_model_is_exact_against_its_own_forces(compare, copper_file):
    (found,) = compare(EMT(), copper_file)
    assert np.abs(found.model.bands - found.reference.bands).max() < 1e-5
    values = {key: ratio.value for key, ratio in ratios([found]).items()}
    assert values.pop("phonon_slope") == pytest.approx(1, abs=1e-9)
    assert values == pytest.approx(dict.fromkeys(values, 0.0), abs=1e-5)


def test_a_folder_is_the_file_in_it_that_has_forces(compare, copper_file):
    phonon_of(copper()).save(copper_file.parent / "phonopy.yaml", settings={"force_sets": False})
    in_folder, file = compare(EMT(), copper_file.parent, copper_file)
    np.testing.assert_array_equal(in_folder.reference.mesh, file.reference.mesh)
    assert in_folder.title == file.title == "Cu (phonopy_params.yaml)"


def test_scaled_forces_scale_frequencies_by_the_root(compare, copper_file):
    (found,) = compare(Changed(EMT(), force_factor=0.81), copper_file)
    assert found.model.mesh == pytest.approx(0.9 * found.reference.mesh, abs=1e-5)
    values = {key: ratio.value for key, ratio in ratios([found]).items()}
    weights, reference = found.reference.weights[:, None], found.reference.mesh
    assert values == pytest.approx(
        {
            "phonon_mae": 0.1 * (weights * reference).sum() / 3,
            "phonon_rmse": 0.1 * np.sqrt((weights * reference**2).sum() / 3),
            "phonon_slope": 0.9,
            "phonon_highest_mae": 0.1 * reference.max(),
        },
        rel=1e-5,
    )
    assert 6 < reference.max() < 9, "THz, of copper"


def test_another_potential_is_what_phonopy_makes_of_it(compare, copper_file):
    (found,) = compare(lennard_jones(), copper_file)
    phonon = phonopy.load(copper_file, log_level=0, produce_fc=False)
    forces = []
    for cell in phonon.supercells_with_displacements:
        atoms = Atoms(cell.symbols, cell.positions, cell=cell.cell, pbc=True)
        atoms.calc = lennard_jones()
        forces.append(atoms.get_forces())
    phonon.forces = np.array(forces)
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    assert np.abs(found.model.mesh - phonon.run_mesh(24.0).frequencies).max() < 1e-4
    assert np.abs(found.model.mesh - found.reference.mesh).max() > 0.5


@pytest.mark.parametrize("kind", ["sets beside", "constants beside", "constants inside", "random"])
def test_wherever_phonopy_keeps_forces(compare, tmp_path, kind):
    """Without displacements in the file the model gets phonopy's own."""
    snapshots = {"number_of_snapshots": 4, "random_seed": 1} if kind == "random" else {}
    phonon = phonon_of(copper(), **snapshots)
    path = tmp_path / "phonopy_disp.yaml"
    settings = {"force_sets": kind == "random", "force_constants": kind == "constants inside"}
    if "constants" in kind:
        phonon.produce_force_constants()
        settings["displacements"] = False
    phonon.save(path, settings=settings)
    if kind == "sets beside":
        write_FORCE_SETS(phonon.dataset, filename=tmp_path / "FORCE_SETS")
    elif kind == "constants beside":
        write_FORCE_CONSTANTS(phonon.force_constants, filename=tmp_path / "FORCE_CONSTANTS")
    (found,) = compare(soft_emt(), path)
    error = found.model.mesh - np.sqrt(0.9) * found.reference.mesh
    assert np.abs(error).max() < 2e-2
    assert 6 < found.reference.mesh.max() < 9


def test_units_of_other_calculators(compare, tmp_path, copper_file):
    """Quantum ESPRESSO: bohr and Ry/bohr."""
    phonon = phonon_of(copper(), calculator="qe", length=Bohr, force=Ry / Bohr)
    (tmp_path / "qe").mkdir()
    phonon.save(tmp_path / "qe" / "phonopy_params.yaml")
    first, second = compare(soft_emt(), copper_file, tmp_path / "qe" / "phonopy_params.yaml")
    for name in ("reference", "model"):
        expected, found = getattr(first, name).mesh, getattr(second, name).mesh
        assert np.abs(found - expected).max() < 2e-3


def test_forces_that_the_model_has_at_rest_are_taken_off(compare, tmp_path):
    """One displacement in each direction, and positions that no symmetry holds."""
    atoms = ordered_alloy() * (1, 1, 2)
    atoms.positions[4:, 2] += 0.05
    phonon = phonon_of(atoms, cells=(1, 1, 1), is_plusminus=False)
    perfect = emt_forces(phonon.supercell)
    assert np.abs(perfect).max() > 0.05
    phonon.forces = phonon.forces - perfect
    phonon.save(tmp_path / "phonopy_params.yaml")
    (found,) = compare(EMT(), tmp_path / "phonopy_params.yaml")
    assert np.abs(found.model.mesh - found.reference.mesh).max() < 1e-5


def test_hessians_of_supercells(compare, tmp_path):
    """The whole Hessian of a supercell is its force constants; other labels are left out."""
    supercell, cell = copper() * (2, 2, 2), bulk("Cu") * (1, 1, 1)
    labels = []
    for atoms in (cell, supercell):
        atoms.calc = EMT()
        matrix = hessian(atoms, 0.01)[0]
        labels.append(
            HessianLabel(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, matrix)
        )
    write_labels(tmp_path / "labels.npz", labels, "EMT")
    phonon_of(copper()).save(tmp_path / "phonopy_params.yaml")
    label, file = compare(EMT(), tmp_path / "labels.npz", tmp_path / "phonopy_params.yaml")
    assert label.title == "Cu (labels.npz label 1)"
    assert label.reference.mesh == pytest.approx(file.reference.mesh, abs=1e-3)
    assert label.model.mesh == pytest.approx(label.reference.mesh, abs=1e-3)


def test_regions_are_those_of_the_wave_vectors_that_fit(copper_file, monkeypatch):
    """Of 32, six are different by symmetry; around each is a region of its own."""
    monkeypatch.setattr(
        "piwsl_plugins.tools.report.parts.phonon_errors.reference.MESH_LENGTH", 60.0
    )
    (crystal,) = read_crystals([copper_file])
    size = np.bincount(crystal.regions, crystal.reference["weights"])
    # Γ, X, L, W, the points half way to X, and those on the way to K
    assert len(size) == 6
    assert sorted(size * 32) == pytest.approx([1, 3, 4, 6, 6, 12], rel=0.4)


def test_crystals_are_resampled_where_there_are_three(compare, tmp_path):
    paths = []
    for number, a in enumerate((3.75, 3.8, 3.85)):
        paths.append(tmp_path / f"{number}.yaml")
        phonon_of(ordered_alloy(a), cells=(1, 1, 1)).save(paths[-1])
    found = compare(soft_emt(), *paths)
    assert len(ratios(found)["phonon_mae"].numerator) == 3
    assert len(ratios(found)["phonon_highest_mae"].numerator) == 3
    whole = ratios(found)["phonon_mae"].value
    assert whole == pytest.approx(np.mean([f.overview()["phonon_mae"] for f in found]))
    assert len(ratios(found[:1])["phonon_mae"].numerator) == max(found[0].regions) + 1


@pytest.fixture
def report(alloy_file, copper_file, tmp_path):
    def run(*extra):
        given = ["report", *MODELS, "--data", str(alloy_file), "--out", str(tmp_path / "report")]
        return main([*given, "--parts", "vibrations", *extra]), tmp_path / "report"

    return run


def test_the_part_in_the_report(report, copper_file, tmp_path, capsys):
    unstable = tmp_path / "unstable.yaml"
    phonon_of(ordered_alloy(4.9), cells=(1, 1, 1)).save(unstable)
    given = ["--phonons", str(copper_file), str(unstable)]
    exit_code, out = report(*given)
    assert exit_code == 0
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    exact, soft = (summary["models"][name] for name in ("exact", "soft"))
    assert exact["values"]["phonon_mae"]["value"] == pytest.approx(0, abs=1e-5)
    slope = soft["values"]["phonon_slope"]
    assert slope["value"] == pytest.approx(np.sqrt(0.9), abs=1e-4)
    assert slope["high"] < 1
    assert soft["differences"]["phonon_mae"]["low"] > 0
    assert soft["values"]["stability_right"]["value"] == 1
    assert soft["phonons"][1]["lowest_reference"] < -0.1
    assert [entry["formula"] for entry in soft["phonons"]] == ["Cu", "Au2Cu2"]
    wrong = [(f["model"], f["text"]) for f in summary["findings"] if f["kind"] == "bad"]
    assert any(name == "soft" and "phonons are too low" in text for name, text in wrong)
    assert not any(name == "exact" for name, _ in wrong)
    assert "Phonon frequency MAE over the zone | THz" in (out / "summary.md").read_text("utf-8")
    for number in (1, 2):
        assert (out / "figures" / f"phonons_{number}.png").stat().st_size > 20_000
        assert (out / "figures" / f"phonons_{number}.pdf").is_file()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<h3>Phonons 2</h3>" in page and "same displaced supercells" in page
    assert "phonopy" in summary["software"]
    capsys.readouterr()
    report(*given)
    assert "4 finished parts" in capsys.readouterr().out


def test_a_model_that_loses_stability_is_named(tmp_path, alloy_file, copper_file, monkeypatch):
    import known_calculators

    monkeypatch.setattr(
        known_calculators, "upside_down", lambda: Changed(EMT(), -1.0), raising=False
    )
    given = ["report", "--model", "odd=known_calculators:upside_down", "--data", str(alloy_file)]
    given += ["--out", str(tmp_path / "odd"), "--phonons", str(copper_file)]
    assert main([*given, "--parts", "vibrations"]) == 0
    summary = json.loads((tmp_path / "odd" / "summary.json").read_text(encoding="utf-8"))
    assert summary["models"]["odd"]["values"]["stability_right"]["value"] == 0
    assert any("Cu is unstable, unlike the reference" in f["text"] for f in summary["findings"])


def test_phonons_add_the_part():
    given = ["--model", "x=GFN2-xTB", "--data", "x.xyz", "--out", "out"]
    given += ["--phonons", "phonopy_params.yaml"]
    assert "vibrations" in settings_from(build_parser().parse_args(given)).parts
    with pytest.raises(InputError, match=r"--parts=labels leaves out the vib.*--phonons"):
        settings_from(build_parser().parse_args([*given, "--parts", "labels"]))


def test_files_that_cannot_be_used(report, tmp_path, capsys):
    phonon_of(copper()).save(tmp_path / "phonopy_disp.yaml", settings={"force_sets": False})
    (tmp_path / "odd.yaml").write_text("a: 1\n")
    cell = HessianLabel([29], np.zeros((1, 3)), bulk("Cu").cell.array, np.ones(3, bool), np.eye(3))
    molecule = HessianLabel([1, 9], np.eye(3)[:2], hessian=60 * np.eye(6))
    write_labels(tmp_path / "small.npz", [cell, molecule], "none")
    for given, words in (
        (["--phonons", "phonopy_disp.yaml"], "with phonopy-init -f"),
        (["--phonons", "odd.yaml"], "phonopy cannot load"),
        (["--phonons", "absent.yaml"], "no such file"),
        (["--phonons", "small.npz"], "none of its 2 labels is the whole Hessian of a supercell"),
        ([], "--phonons"),
    ):
        given = [str(tmp_path / word) if "." in word else word for word in given]
        assert report(*given)[0] == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


def test_a_model_that_fails_names_crystal_and_displacement(as_model, nothing, copper_file):
    evaluated = []

    def spoil(atoms, results):
        evaluated.append(atoms)
        if len(evaluated) == 2:
            results["forces"][0, 0] = np.nan

    (crystal,) = read_crystals([copper_file])
    with pytest.raises(Exception, match=r"'bad'.*phonopy_params.yaml displacement 0.*not finite"):
        spectra(as_model(Changed(EMT(), change=spoil), "bad"), crystal, nothing)


def test_a_missing_phonopy_is_named(report, copper_file, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "phonopy" else find(name, *a)
    )
    for path in (copper_file, tmp_path / "labels.npz"):
        assert report("--phonons", str(path))[0] == 2
        assert "--phonons works through phonopy: pip install phonopy" in capsys.readouterr().err
