import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read, write

from piwsl_plugins.tools.command import main

from .conftest import labelled_alloy
from .known_calculators import ethanol

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_figures")]

SMALL = [
    *("--parts", "labels", "scans", "dynamics", "--md_length", "0.02", "--md_seeds", "1"),
    *("--md_starts", "2", "--timestep", "2", "--scan_points", "8", "--resamples", "100"),
]
MODELS = ["--model", "exact=known_calculators:emt", "--model", "soft=known_calculators:soft_emt"]


@pytest.fixture
def report(alloy_file, tmp_path):
    def run(*extra, models=MODELS, out="report"):
        given = [*models, "--data", str(alloy_file), "--out", str(tmp_path / out), *SMALL, *extra]
        return main(["report", *given]), tmp_path / out

    return run


@pytest.fixture
def without_pages(monkeypatch):
    """Leaves out figures and pages, which take most of the time."""
    monkeypatch.setattr("piwsl_plugins.tools.report.figures.draw", lambda *_: [])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A report as most users make it."""
    folder = tmp_path_factory.mktemp("finished")
    write(folder / "alloy.xyz", labelled_alloy(), format="extxyz")
    given = [*MODELS, "--data", str(folder / "alloy.xyz"), "--out", str(folder / "report"), *SMALL]
    command = [sys.executable, "-m", "piwsl_plugins", "report", *given]
    path = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    return run, folder / "report"


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_a_report_has_table_numbers_figures_and_page(finished):
    run, out = finished
    assert str(out / "report.html") in run.stdout
    # not a terminal: no progress bar
    assert run.stderr == ""
    summary = summary_of(out)
    assert (summary["format"], summary["version"]) == ("piwsl-report", 1)
    assert summary["baseline"] == "exact"
    soft = summary["models"]["soft"]
    assert soft["values"]["force_slope"]["value"] == pytest.approx(0.9, abs=1e-6)
    assert soft["differences"]["force_slope"]["value"] == pytest.approx(-0.1, abs=1e-6)
    assert soft["differences"]["force_slope"]["high"] < 0
    assert any(
        f["model"] == "soft" and f["kind"] == "bad" and "soft" in f["text"]
        for f in summary["findings"]
    )
    names = {path.name for path in (out / "figures").iterdir()}
    for figure in ("parity", "errors", "force_slope", "scans_1", "dynamics"):
        assert {f"{figure}.png", f"{figure}.pdf"} <= names
        assert (out / "figures" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    table = (out / "summary.md").read_text(encoding="utf-8")
    (row,) = [line for line in table.splitlines() if line.startswith("| Force slope")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2].startswith("**1.000**") and cells[3].startswith("0.9000")
    assert cells[4].startswith("−0.10")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(names) / 2
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_keys_of_the_summary_are_stable(finished):
    summary = summary_of(finished[1])
    assert set(summary) == {
        *("format", "version", "created", "software", "settings", "data", "quantities"),
        *("baseline", "models", "findings", "verdicts"),
    }
    assert set(summary["models"]["exact"]["values"]) == {
        *(
            "energy_rmse",
            "energy_rmse_without_mean",
            "energy_mae",
            "energy_mean_error",
            "force_rmse",
            "force_mae",
        ),
        *("force_slope", "stress_rmse", "stress_mae", "evaluation_time", "scan_mismatch"),
        *("scan_jump", "nve_drift", "nve_fluctuation", "survival_fraction", "survival_time"),
    }
    assert set(summary["models"]["exact"]) == {
        *("source", "kind", "values", "differences", "energy_offset_eV", "by_config_type"),
        *("scales", "relative_energy_rmse"),
        *("by_element", "force_slope_by_magnitude", "scans", "dynamics"),
    }
    assert summary["models"]["exact"]["values"]["energy_rmse"].keys() == {"value", "low", "high"}


def test_finished_parts_are_reused_and_changed_ones_computed(report, capsys, without_pages):
    _, out = report()
    first = summary_of(out)
    marker = out / "parts" / "labels" / "soft.json"
    before = marker.stat().st_mtime_ns
    capsys.readouterr()
    report()
    parts = json.loads((out / "parts" / "index.json").read_text(encoding="utf-8"))["parts"]
    n_parts = sum(len(models) for models in parts.values())
    assert n_parts > 2 * (1 + 4)
    assert f"{n_parts} finished parts" in capsys.readouterr().out
    assert marker.stat().st_mtime_ns == before
    assert summary_of(out)["models"] == first["models"]
    report("--scan_points", "9")
    assert f"{2 * (1 + 4)} finished parts" in capsys.readouterr().out
    report("--fresh")
    assert "finished parts" not in capsys.readouterr().out
    assert marker.stat().st_mtime_ns > before


def test_parts_finished_before_a_failure_are_kept(report, capsys, without_pages):
    failing = ["--model", "ok=known_calculators:emt", "--model", "bad=known_calculators:broken_emt"]
    status, out = report(models=failing)
    assert status == 1
    error = capsys.readouterr().err
    assert "'bad'" in error and "alloy.xyz frame 0" in error and "not finite" in error
    assert error.count("\n") == 1
    assert (out / "parts" / "labels" / "ok.json").is_file()
    report(models=failing[:2])
    assert "finished parts" in capsys.readouterr().out


def test_a_model_that_cannot_be_loaded_ends_the_report_before_another_is_measured(report, capsys):
    models = ["--model", "ok=known_calculators:emt", "--model", "bad=known_calculators:absent"]
    status, out = report(models=models)
    assert status == 2
    assert "'bad'" in capsys.readouterr().err
    assert not list(out.glob("parts/*/*.json"))


def test_a_changed_factory_is_computed_again(report, tmp_path, monkeypatch, capsys, without_pages):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    module = tmp_path / "local_factory.py"
    models = ["--model", "local=local_factory:make"]
    module.write_text("from ase.calculators.emt import EMT as make\n")
    assert report(models=models)[0] == 0
    capsys.readouterr()
    module.write_text(module.read_text() + "# changed\n")
    report(models=models)
    assert "finished parts" not in capsys.readouterr().out
    report(models=models)
    assert "finished parts" in capsys.readouterr().out


def test_merged_reports_equal_one_made_together(report, tmp_path, finished, without_pages):
    together = finished[1]
    _, first = report(models=MODELS[:2], out="first")
    _, second = report(models=MODELS[2:], out="second")
    joint = tmp_path / "joint"
    assert main(["report", "merge", str(first), str(second), "--out", str(joint)]) == 0
    expected, found = summary_of(together)["models"], summary_of(joint)["models"]
    for model in (*expected.values(), *found.values()):
        del model["values"]["evaluation_time"]
    assert found == expected
    assert (joint / "report.html").is_file()


def test_reports_that_do_not_fit_are_not_merged(report, tmp_path, capsys, without_pages):
    _, first = report(models=MODELS[:2], out="first")
    _, same_name = report(models=MODELS[:2], out="same")
    _, other = report("--scan_points", "9", models=MODELS[2:], out="other")
    _, fewer = report("--max_frames", "4", models=MODELS[2:], out="fewer")
    capsys.readouterr()
    for folder, words in (
        (same_name, "a model 'exact'"),
        (other, "measured differently"),
        (fewer, "other frames"),
        (tmp_path, "not a report"),
    ):
        assert (
            main(["report", "merge", str(first), str(folder), "--out", str(tmp_path / "joint")])
            == 2
        )
        assert words in capsys.readouterr().err


def test_isolated_atoms_are_left_out(alloy_file, tmp_path, without_pages):
    frames = read(alloy_file, index=":")
    alone = frames[0][:1]
    alone.info.update(REF_energy=0.0, config_type="IsolatedAtom")
    alone.arrays["REF_forces"] = np.zeros((1, 3))
    path = tmp_path / "with_atoms.xyz"
    write(path, [alone, *frames], format="extxyz")
    out = tmp_path / "out"
    assert main(["report", *MODELS[:2], "--data", str(path), "--out", str(out), *SMALL]) == 0
    data = summary_of(out)["data"]
    assert (data["frames"], data["isolated_atoms_left_out"]) == (8, 1)
    assert data["config_types"] == ["long", "short"]


def test_user_paths_are_scanned(alloy, tmp_path, report):
    structures = []
    for shift in (0.0, 0.1, 0.2, 0.3):
        moved = alloy[0].copy()
        moved.positions[0, 0] += shift
        structures.append(moved)
    write(tmp_path / "shift.xyz", structures, format="extxyz")
    _, out = report("--path", f"slide={tmp_path / 'shift.xyz'}")
    scan = summary_of(out)["models"]["exact"]["scans"]["path-slide"]
    assert scan["title"] == "slide" and scan["not_finite"] == 0
    # every point carries the label of the first structure
    assert scan["path_energy_rmse"] > 1


def test_data_without_forces_is_judged_on_energies(alloy, tmp_path):
    for atoms in alloy:
        del atoms.arrays["REF_forces"]
    write(tmp_path / "energies.xyz", alloy, format="extxyz")
    given = [*MODELS, "--data", str(tmp_path / "energies.xyz"), "--out", str(tmp_path / "out")]
    assert main(["report", *given, "--parts", "labels", "--forces_key", "none"]) == 0
    values = summary_of(tmp_path / "out")["models"]["soft"]["values"]
    assert "energy_rmse" in values and "force_rmse" not in values


def test_labels_in_another_unit_are_named(alloy, tmp_path, capsys):
    for atoms in alloy:
        atoms.info["REF_energy"] *= 23.0605
        atoms.arrays["REF_forces"] *= 23.0605
    write(tmp_path / "kcal.xyz", alloy, format="extxyz")
    given = [*MODELS[2:], "--data", str(tmp_path / "kcal.xyz"), "--out", str(tmp_path / "out")]
    assert main(["report", *given, "--parts", "labels"]) == 2
    error = capsys.readouterr().err
    assert "likely the labelled frames are in kcal/mol; convert all labels to eV" in error


def test_positions_in_another_unit_are_named(tmp_path, capsys):
    atoms = ethanol()
    atoms.positions *= 1.889726
    atoms.info["REF_energy"] = 0.0
    atoms.arrays["REF_forces"] = np.zeros((9, 3))
    write(tmp_path / "bohr.xyz", atoms, format="extxyz")
    given = [*MODELS[2:], "--data", str(tmp_path / "bohr.xyz"), "--out", str(tmp_path / "out")]
    assert main(["report", *given]) == 2
    assert "likely the positions are in bohr" in capsys.readouterr().err


def test_labels_under_other_names_are_proposed(alloy, tmp_path, capsys):
    for atoms in alloy:
        atoms.info["dft_energy"] = atoms.info.pop("REF_energy")
        atoms.info["charge"] = 0.0
        atoms.arrays["gradient"] = -atoms.arrays["REF_forces"]
        atoms.arrays["dft_forces"] = atoms.arrays.pop("REF_forces")
    write(tmp_path / "named.xyz", alloy, format="extxyz")
    given = [*MODELS[2:], "--data", str(tmp_path / "named.xyz"), "--out", str(tmp_path / "out")]
    assert main(["report", *given]) == 2
    error = capsys.readouterr().err
    assert "named.xyz frame 0" in error and error.count("\n") == 1
    assert "has 'dft_energy': name the right key with --energy_key dft_energy" in error
    assert main(["report", *given, "--energy_key", "dft_energy"]) == 2
    error = capsys.readouterr().err
    assert "has 'dft_forces' and 'gradient': name" in error and "--forces_key dft_forces" in error


def test_a_stress_under_another_name_is_not_passed_over(alloy, tmp_path, capsys, without_pages):
    for atoms in alloy:
        atoms.info["dft_stress"] = atoms.info.pop("REF_stress")
    write(tmp_path / "named.xyz", alloy, format="extxyz")
    given = [*MODELS[:2], "--data", str(tmp_path / "named.xyz"), "--parts", "labels"]
    out = tmp_path / "out"
    assert main(["report", *given, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "no frame has 'REF_stress'" in said and "name it with --stress_key dft_stress" in said
    assert "--stress_key dft_stress" in (out / "summary.md").read_text(encoding="utf-8")
    assert main(["report", *given, "--stress_key", "dft_stress", "--out", str(out)]) == 0
    assert "not measured" not in capsys.readouterr().out
    values = summary_of(out)["models"]["exact"]["values"]
    assert values["stress_rmse"]["value"] == pytest.approx(0, abs=1e-4)
    for atoms in alloy:
        virial = -atoms.get_volume() * np.asarray(atoms.info.pop("dft_stress"))
        atoms.info["REF_virials"] = virial
    write(tmp_path / "named.xyz", alloy, format="extxyz")
    assert main(["report", *given, "--out", str(out)]) == 0
    assert "stress = −virial / volume" in capsys.readouterr().out


def test_dipoles_stand_beside_models_that_give_none(tmp_path, capsys, without_pages):
    frames = []
    for distance in (1.1, 1.13, 1.2):
        atoms = Atoms("CO", [[0, 0, 0], [distance, 0, 0]])
        atoms.calc = EMT()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.info["mu"] = np.array([-0.3 * distance, 0, 0])
        atoms.calc = None
        frames.append(atoms)
    write(tmp_path / "monoxides.xyz", frames, format="extxyz")
    models = ["--model", "charges=known_calculators:point_charges(0.4)", *MODELS[:2]]
    given = [*models, "--data", str(tmp_path / "monoxides.xyz"), "--parts", "labels"]
    out = tmp_path / "out"
    assert main(["report", *given, "--dipole_key", "mu", "--out", str(out)]) == 0
    assert "dipole is not measured for exact" in capsys.readouterr().out
    summary = summary_of(out)
    charges, exact = (summary["models"][name]["values"] for name in ("charges", "exact"))
    assert charges["dipole_mae"]["value"] == pytest.approx(100 * (1.1 + 1.13 + 1.2) / 9, abs=1e-4)
    assert summary["quantities"]["dipole_mae"]["unit"] == "me·Å"
    assert "dipole_mae" not in exact
    page = (out / "summary.md").read_text(encoding="utf-8")
    assert "| Dipole RMSE | me·Å |" in page and "not measured for exact" in page


def test_files_that_no_part_would_use_are_refused(report, alloy_file, capsys):
    for option in ("--hessians", "--phonons"):
        assert report(option, str(alloy_file))[0] == 2
        error = capsys.readouterr().err
        assert f"leaves out the vibrations, for which {option} is given" in error
    assert report("--path", f"x={alloy_file}", "--parts", "labels")[0] == 2
    assert "leaves out the scans, for which --path is given" in capsys.readouterr().err


def test_help_needs_no_heavy_import():
    code = (
        "import sys; from piwsl_plugins.tools.command import main\n"
        "try:\n    main(['report', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'matplotlib', 'pandas', 'ase', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "--quick" in found.stdout and "merge" in found.stdout


def test_parts_that_do_without_torch_need_none(alloy_file, tmp_path):
    code = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError('No module named ' + name, name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from piwsl_plugins.tools.command import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    given = [*MODELS[2:], "--data", str(alloy_file), "--out", str(tmp_path / "report"), *SMALL]
    path = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    run = subprocess.run(
        [sys.executable, "-c", code, "report", *given],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    slope = summary_of(tmp_path / "report")["models"]["soft"]["values"]["force_slope"]
    assert slope["value"] == pytest.approx(0.9, abs=1e-6)


def test_consistency_part_of_the_command(report):
    pytest.importorskip("torch")
    _, out = report(
        "--parts",
        "labels",
        "consistency",
        "--consistency_frames",
        "4",
        "--draws",
        "2",
        "--epsilons",
        "0.001",
        "0.002",
        "0.004",
    )
    models = summary_of(out)["models"]
    assert models["exact"]["values"]["pitc_exponent"]["value"] == pytest.approx(2, abs=0.05)
    assert models["soft"]["values"]["curvature_ratio"]["value"] == pytest.approx(1, abs=1e-9)
    flagged = {f["model"] for f in summary_of(out)["findings"] if "not conservative" in f["text"]}
    assert flagged == {"soft"}
    assert (out / "figures" / "consistency.png").is_file()
    assert (out / "figures" / "curvature.png").is_file()


def test_a_non_periodic_molecule_works_too(tmp_path):
    atoms = ethanol()
    frames = []
    for seed in range(4):
        moved = atoms.copy()
        moved.rattle(0.03, seed=seed)
        moved.info["REF_energy"] = float(seed)
        moved.arrays["REF_forces"] = moved.positions * 0.0 + 0.1
        frames.append(moved)
    write(tmp_path / "m.xyz", frames, format="extxyz")
    given = ["--model", "lj=known_calculators:lennard_jones", "--data", str(tmp_path / "m.xyz")]
    assert (
        main(
            ["report", *given, "--out", str(tmp_path / "out"), *SMALL, "--parts", "labels", "scans"]
        )
        == 0
    )
    assert len(summary_of(tmp_path / "out")["models"]["lj"]["scans"]) == 4
