import numpy as np
import pytest
from ase.calculators.emt import EMT

from ..conftest import frames_of
from ..known_calculators import Changed, Quadratic, ethanol, stiff_hessian

torch = pytest.importorskip("torch", reason="its residuals need torch")

from piwsl_plugins.terms.displacements import epoch_keys, geometry_keys, uniform  # noqa: E402
from piwsl_plugins.tools.report.parts.consistency_residuals import ConsistencyOptions, analyse  # noqa: E402
from piwsl_plugins.tools.report.parts.consistency_residuals.measure import residuals  # noqa: E402
from piwsl_plugins.tools.report.resampling import difference  # noqa: E402

SEED = 0
OPTIONS = ConsistencyOptions(consistency_frames=3, draws=3, epsilons=(0.01, 0.02, 0.04))


@pytest.fixture
def displaced_ethanol():
    structures = []
    for seed in range(3):
        atoms = ethanol()
        atoms.rattle(0.05, seed=seed)
        structures.append(atoms)
    return frames_of(structures)


@pytest.fixture
def measure(as_model, nothing):
    def run(calculator, frames, options=OPTIONS):
        found = residuals(as_model(calculator), frames, options, SEED, nothing)
        return analyse.residuals_of(found)

    return run


def quadratic(**changes):
    atoms = ethanol()
    return Quadratic(atoms.positions, stiff_hessian(len(atoms)), **changes)


def test_pitc_of_a_quadratic_energy_is_half_its_curvature(measure, displaced_ethanol):
    hessian = stiff_hessian(9)
    found = measure(quadratic(), displaced_ethanol)
    for place in np.ndindex(3, 3, 3):
        frame, epsilon, number = place
        positions = torch.from_numpy(displaced_ethanol.frames[frame].atoms.positions)
        keys = epoch_keys(geometry_keys(positions, [9]), SEED, number)
        delta, waypoint = (
            uniform(keys, stream, [9], OPTIONS.epsilons[epsilon]).numpy().ravel()
            for stream in ("displaced", "waypoint")
        )
        half = 1000 / 9 * 0.5
        assert found.pitc[place] == pytest.approx(half * delta @ hessian @ delta, rel=1e-7)
        step = delta - waypoint
        assert found.pisc[place] == pytest.approx(half * step @ hessian @ step, rel=1e-7)
        curvature = delta @ hessian @ delta / (delta @ delta)
        assert found.curvature[place] == pytest.approx(curvature, rel=1e-7)


@pytest.mark.parametrize("term", ["pitc", "pisc"])
def test_exponent_is_two_for_conservative_models(measure, displaced_ethanol, alloy, term):
    exact = measure(quadratic(), displaced_ethanol)
    fit = analyse.exponent(exact.epsilon, getattr(exact, term))
    assert fit.value == pytest.approx(2, abs=1e-6)
    metal = measure(EMT(), frames_of(alloy))
    fit = analyse.exponent(metal.epsilon, getattr(metal, term))
    assert fit.value == pytest.approx(2, abs=0.05)


def test_conservative_models_pass(measure, alloy, displaced_ethanol):
    for found in (measure(EMT(), frames_of(alloy)), measure(quadratic(), displaced_ethanol)):
        ratios = analyse.ratios(found)
        assert ratios["jacobian_asymmetry"].value < 2e-3
        assert ratios["energy_force_mismatch"].value < 1e-4


def test_scaled_forces_are_found_out(measure, alloy):
    found = measure(
        Changed(EMT(), force_factor=0.8),
        frames_of(alloy),
        ConsistencyOptions(epsilons=(0.0005, 0.001, 0.002), consistency_frames=4),
    )
    mismatch = analyse.ratios(found)["energy_force_mismatch"].value
    # the work is 0.8 of the energy's, so 0.2 is missing
    assert mismatch == pytest.approx(0.2 / 0.8, rel=1e-3)
    assert analyse.exponent(found.epsilon, found.pitc).value < 1.5


def test_jacobian_asymmetry_has_the_size_of_the_antisymmetric_part(measure, displaced_ethanol):
    random = np.random.default_rng(3).standard_normal((27, 27))
    antisymmetric = 0.2 * (random - random.T)
    expected = np.linalg.norm(antisymmetric) / np.linalg.norm(stiff_hessian(9))
    found = measure(
        quadratic(antisymmetric=antisymmetric),
        displaced_ethanol,
        ConsistencyOptions(consistency_frames=3, draws=200, epsilons=(0.01,)),
    )
    # the estimate from random directions scatters
    asymmetry = analyse.ratios(found)["jacobian_asymmetry"].value
    assert asymmetry == pytest.approx(expected, rel=0.1)
    assert asymmetry > 0.05


def test_curvature_ratio_is_that_of_the_hessians(measure, displaced_ethanol):
    first = measure(quadratic(), displaced_ethanol)
    atoms = ethanol()
    softer = Quadratic(atoms.positions, 0.85 * stiff_hessian(9))
    ratio = analyse.curvature_ratio(measure(softer, displaced_ethanol), first)
    assert ratio is not None and ratio.value == pytest.approx(0.85, rel=1e-7)
    change = difference(
        analyse.ratios(measure(softer, displaced_ethanol))["curvature_mean"],
        analyse.ratios(first)["curvature_mean"],
        200,
        0,
    )
    assert change.high < 0


def test_rough_energies_lower_the_exponent(measure, displaced_ethanol):
    rng = np.random.default_rng(0)

    def rough(atoms, results):
        results["energy"] += 0.05 * rng.standard_normal()

    found = measure(Changed(quadratic(), change=rough), displaced_ethanol)
    assert analyse.exponent(found.epsilon, found.pitc).value < 1
