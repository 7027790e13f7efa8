import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from piwsl_plugins.tools.report.parts.dynamics_runs import DynamicsOptions, analyse
from piwsl_plugins.tools.report.parts.dynamics_runs.measure import DynamicsRun, runs, simulate

from ..conftest import frames_of
from ..known_calculators import Changed, Quadratic, ethanol, stiff_hessian

NVE = DynamicsRun("nve", 300.0, 0, 0)


def simulated(model, atoms, advance, run=NVE, **options):
    return simulate(model, frames_of([atoms]), run, DynamicsOptions(**options), advance)


def harmonic_ethanol(**changes):
    atoms = ethanol()
    return Quadratic(atoms.positions, stiff_hessian(len(atoms)), **changes)


def test_converged_time_step_has_no_drift(as_model, nothing):
    found = simulated(
        as_model(harmonic_ethanol()), ethanol(), nothing, md_length=1.0, timestep=0.25
    )
    assert found["failure"] is None and found["survived"] == pytest.approx(1.0)
    assert abs(analyse.drift(found)) < 0.2
    assert np.std(found["kinetic_temperature"]) > 10


def test_metal_conserves_energy(as_model, nothing):
    found = simulated(
        as_model(EMT()), bulk("Cu", cubic=True), nothing, md_length=0.5, timestep=2.0, bond_factor=0
    )
    assert abs(analyse.drift(found)) < 0.3


def test_forces_that_are_no_gradient_drift(as_model, nothing):
    random = np.random.default_rng(3).standard_normal((27, 27))
    pumped = harmonic_ethanol(antisymmetric=0.3 * (random - random.T))
    found = simulated(as_model(pumped), ethanol(), nothing, md_length=0.3, timestep=0.25)
    assert found["failure"] is not None or abs(analyse.drift(found)) > 20


def test_drift_is_the_slope_of_the_energy_per_atom():
    run = {"time": [0.0, 1.0, 2.0, 3.0], "energy": [1.0, 1.2, 1.4, 1.6], "n_atoms": 10}
    assert analyse.drift(run) == pytest.approx(20.0)
    assert analyse.fluctuation(run) == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_langevin_reaches_its_temperature(as_model, nothing):
    run = DynamicsRun("langevin", 400.0, 0, 1)
    found = simulated(
        as_model(harmonic_ethanol()), ethanol(), nothing, run, md_length=4.0, friction=0.05
    )
    # 27 degrees of freedom, correlated for about 20 fs
    assert np.mean(found["kinetic_temperature"][100:]) == pytest.approx(400, rel=0.1)


def test_runs_repeat(as_model, nothing):
    first, second = (
        simulated(
            as_model(harmonic_ethanol()),
            ethanol(),
            nothing,
            DynamicsRun("langevin", 300.0, 0, 5),
            md_length=0.05,
        )
        for _ in range(2)
    )
    assert first == second


def test_a_detached_hydrogen_ends_the_run(as_model, nothing):
    atoms = ethanol()
    hydrogen = next(a.index for a in atoms if a.symbol == "H")
    outwards = atoms.positions[hydrogen] - atoms.get_center_of_mass()

    def pull(at, results):
        results["forces"][hydrogen] += 20 * outwards / np.linalg.norm(outwards)

    model = as_model(Changed(harmonic_ethanol(), change=pull))
    found = simulated(model, atoms, nothing, md_length=0.5)
    assert "hydrogen detached" in found["failure"]
    assert f"H{hydrogen}" in found["failure"]
    assert 0 < found["survived"] < 0.1
    unchecked = simulated(model, atoms, nothing, md_length=0.02, bond_factor=0)
    assert unchecked["failure"] is None or "hydrogen" not in unchecked["failure"]


def test_other_failures_are_named(as_model, nothing):
    def spoil(at, results):
        if np.abs(at.positions - ethanol().positions).max() > 0.02:
            results["forces"][:] = np.nan

    found = simulated(as_model(Changed(harmonic_ethanol(), change=spoil)), ethanol(), nothing)
    assert "not finite" in found["failure"]
    downhill = Quadratic(ethanol().positions, -20 * np.eye(27))
    found = simulated(as_model(downhill), ethanol(), nothing, bond_factor=0)
    assert "temperature ran away" in found["failure"] or "collapsed" in found["failure"]


def test_progress_adds_up_to_the_length(as_model):
    for calculator in (harmonic_ethanol(), Quadratic(ethanol().positions, -20 * np.eye(27))):
        advanced = []
        found = simulated(as_model(calculator), ethanol(), advanced.append, md_length=0.1)
        assert sum(advanced) == pytest.approx(found["length"])


def test_all_starts_temperatures_and_seeds_are_run():
    options = DynamicsOptions(temperatures=(300.0, 500.0), md_starts=3, md_seeds=2)
    names = [run.name for run in runs(frames_of([ethanol()] * 9), options, seed=0)]
    assert len(names) == len(set(names)) == 2 * 2 * 3 * 2


def ended(survived, failure=None):
    return {"survived": survived, "failure": failure, "ensemble": "langevin", "time": []}


def test_survival_is_the_fraction_alive():
    broken = [ended(1.0, "broken"), ended(2.0, "broken"), ended(4.0), ended(4.0)]
    times, alive = analyse.survival_curve(broken)
    steps = dict(zip(times, alive, strict=True))
    assert steps[0.0] == 1 and steps[1.0] == 0.75 and steps[2.0] == 0.5 and steps[4.0] == 0.5
    found = analyse.surviving(broken)
    assert found.value == 0.5 and 0 < found.low < 0.5 < found.high < 1
    assert analyse.ratios(broken)["survival_time"].value == pytest.approx(11 / 4)
    _, alive = analyse.survival_curve([ended(4.0)])
    assert set(alive) == {1.0}
