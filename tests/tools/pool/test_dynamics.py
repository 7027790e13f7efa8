"""The ensembles: temperature, energy, volume and pressure, within their statistical error."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule

from piwsl_plugins.tools.calculators import CalculatorSource
from piwsl_plugins.tools.pool.plan import Trajectory
from piwsl_plugins.tools.pool.settings import PoolSettings
from piwsl_plugins.tools.pool.simulation import Simulation


def simulated(calculator, atoms, temperature, n_frames, **settings):
    run = Trajectory(atoms, "frame 0", temperature=temperature, n_frames=n_frames)
    source = CalculatorSource.parse(f"known_dynamics:{calculator}")
    chosen = PoolSettings(temperatures=(temperature,), **settings)
    arrays = Simulation(source, sorted(set(atoms.numbers)), chosen)(run)
    assert str(arrays["end"]) == "" and len(arrays["times"]) == n_frames
    return arrays


def copper():
    return bulk("Cu", a=3.72, cubic=True) * 2


@pytest.mark.slow
def test_temperature_and_energy_of_a_harmonic_molecule():
    """Both halves of 3N kT: 27 degrees of freedom, samples correlated for some 20 fs."""
    found = simulated(
        *("harmonic", molecule("CH3CH2OH"), 400.0, 120),
        **{"spacing": 20.0, "friction": 0.05, "equilibration": 200.0, "allow_reactions": True},
    )
    error = 400 * np.sqrt(2 / (27 * 120))
    assert abs(found["kinetic_temperatures"].mean() - 400) < 4 * error
    temperature = found["energies"].mean() / (27 / 2 * units.kB)
    assert abs(temperature - 400) < 6 * error
    # and the width of the distribution: var T = 2 T² / 27
    assert found["kinetic_temperatures"].std() == pytest.approx(400 * np.sqrt(2 / 27), rel=0.25)


def test_temperature_of_a_crystal_at_constant_volume():
    """96 degrees of freedom; this friction forgets within 20 fs, so samples are independent."""
    found = simulated(*("crystal", copper(), 600.0, 40), timestep=2.0, spacing=40.0, friction=0.05)
    error = 600 * np.sqrt(2 / (96 * 40))
    assert abs(found["kinetic_temperatures"].mean() - 600) < 4 * error
    assert np.array_equal(found["cells"], np.broadcast_to(copper().cell.array, (40, 3, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("pressure", [0.0, 10.0])
def test_pressure_temperature_and_volume_of_a_crystal(pressure):
    """Virial plus kinetic pressure is the one wanted; 10 GPa shrink the cell by a tenth.

    Without pressure the volume is that at which dynamics at constant volume have none, 12.90 Å³.
    """
    found = simulated(
        *("crystal", copper(), 600.0, 60),
        **{"pressure": pressure, "timestep": 2.0, "spacing": 40.0, "friction": 0.03},
    )
    volumes = np.abs(np.linalg.det(found["cells"]))
    kinetic = 32 * units.kB * found["kinetic_temperatures"] / volumes
    mean = (kinetic - found["stresses"][:, :3].mean(axis=1)).mean() / units.GPa
    assert mean == pytest.approx(pressure, abs=0.5)
    error = 600 * np.sqrt(2 / (96 * 60))
    assert abs(found["kinetic_temperatures"].mean() - 600) < 4 * error
    expected = {0.0: 12.90, 10.0: 11.52}[pressure]
    assert volumes.mean() / 32 == pytest.approx(expected, rel=0.01)
    # the shape stays
    lengths = np.linalg.norm(found["cells"], axis=2)
    assert np.ptp(lengths, axis=1).max() < 1e-8


def test_a_relaxed_start_is_cooler():
    """From a strained start, energy turns into heat unless it is relaxed away."""
    strained = molecule("CH3CH2OH")
    strained.rattle(0.15, seed=1)
    one = {"spacing": 0.5, "equilibration": 0.0, "allow_reactions": True}
    hot = simulated("harmonic", strained, 300.0, 1, **one)
    cold = simulated("harmonic", strained, 300.0, 1, relax=True, **one)
    assert cold["energies"][0] < 0.05 * hot["energies"][0]
