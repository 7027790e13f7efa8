"""MACE model files through the stock calculator, on the bundled data."""

import json

import numpy as np
import pytest
from ase.io import read, write

torch = pytest.importorskip("torch")
pytest.importorskip("mace", reason="needs the mace extra")

from mace.calculators import MACECalculator  # noqa: E402

from piwsl_plugins.tools.command import main  # noqa: E402

from ..mace_files import dipole_model, tiny_model  # noqa: E402

pytestmark = [
    pytest.mark.framework,
    pytest.mark.slow,
    pytest.mark.usefixtures("small_figures"),
]


def test_quick_report_on_the_bundled_data(tmp_path, ethanol_test_file):
    models = [tiny_model(tmp_path / f"{seed}.model", seed=seed) for seed in (0, 1)]
    given = [argument for i, path in enumerate(models) for argument in ("--model", f"m{i}={path}")]
    out = tmp_path / "out"
    options = ["--quick", "--md_length", "0.02", "--scan_points", "6", "--max_frames", "10"]
    assert (
        main(["report", *given, "--data", str(ethanol_test_file), "--out", str(out), *options]) == 0
    )
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    values = summary["models"]["m1"]["values"]
    assert values["pitc_exponent"]["value"] == pytest.approx(2, abs=0.1)
    assert values["jacobian_asymmetry"]["value"] < 0.01
    assert values["energy_force_mismatch"]["value"] < 0.01
    # numbers are those of MACE's own calculator
    calculator = MACECalculator(model_paths=[str(models[1])], device="cpu", default_dtype="float64")
    frames = read(ethanol_test_file, index=":")
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, 10).round().astype(int)]
    errors = []
    for atoms in chosen:
        label = atoms.info["REF_energy"]
        atoms.calc = calculator
        errors.append(1000 * (atoms.get_potential_energy() - label) / len(atoms))
    assert values["energy_rmse"]["value"] == pytest.approx(np.sqrt(np.mean(np.square(errors))))


def test_stress_is_the_derivative_of_the_energy_by_strain(tmp_path, strained):
    path = tiny_model(tmp_path / "x.model")
    calculator = MACECalculator(model_paths=[str(path)], device="cpu", default_dtype="float64")
    strained(calculator, path)


def test_dipoles_of_a_model_with_energies_and_dipoles(tmp_path, ethanol_test_file):
    """Labels are what the model itself gives, one component moved by 3 me·Å."""
    model = dipole_model(tmp_path / "x.model")
    calculator = MACECalculator(
        models=[model], device="cpu", default_dtype="float64", model_type="EnergyDipoleMACE"
    )
    frames = read(ethanol_test_file, index=":5")
    sizes = []
    for atoms in frames:
        graph = calculator._atoms_to_batch(atoms).to_dict()
        found = model(graph, compute_force=False)["dipole"][0].detach().numpy()
        atoms.info["REF_dipole"] = found + np.array([0.0, 0.003, 0.0])
        sizes.append(np.linalg.norm(found))
    assert min(sizes) > 1e-3
    write(tmp_path / "dipoles.xyz", frames, format="extxyz")
    given = ["--model", f"x={tmp_path / 'x.model'}", "--data", str(tmp_path / "dipoles.xyz")]
    assert main(["report", *given, "--parts", "labels", "--out", str(tmp_path / "out")]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    values = summary["models"]["x"]["values"]
    assert values["dipole_rmse"]["value"] == pytest.approx(3 / np.sqrt(3), abs=1e-4)
    assert values["dipole_mae"]["value"] == pytest.approx(1, abs=1e-4)


def test_unknown_element_is_named_before_anything_is_computed(tmp_path, ethanol_test_file, capsys):
    path = tiny_model(tmp_path / "no_oxygen.model", elements=(1, 6))
    given = ["--model", f"x={path}", "--data", str(ethanol_test_file), "--out", str(tmp_path / "o")]
    assert main(["report", *given]) == 2
    error = capsys.readouterr().err
    assert "not trained on the element(s) O" in error and "no_oxygen.model" in error


def test_head_that_the_model_lacks(tmp_path, ethanol_test_file, capsys):
    path = tiny_model(tmp_path / "x.model")
    given = ["--model", f"x={path}", "--data", str(ethanol_test_file), "--out", str(tmp_path / "o")]
    assert main(["report", *given, "--head", "x=pt_head"]) == 2
    assert "no head 'pt_head'" in capsys.readouterr().err


def test_unknown_element_of_a_hessian_label_is_named_too(tmp_path, ethanol_test_file, capsys):
    hydrocarbon = read(ethanol_test_file)
    hydrocarbon.symbols[hydrocarbon.numbers == 8] = "C"
    write(tmp_path / "c.xyz", hydrocarbon, format="extxyz")
    path = tiny_model(tmp_path / "no_oxygen.model", elements=(1, 6))
    given = ["--model", f"x={path}", "--data", str(tmp_path / "c.xyz"), "--out", str(tmp_path)]
    labels = ethanol_test_file.with_name("ethanol_gfn2_test_hessian.npz")
    assert main(["report", *given, "--hessians", str(labels)]) == 2
    error = capsys.readouterr().err
    assert "not trained on the element(s) O" in error and error.count("\n") == 1
