"""Energies off by a constant are told from those of a model that knows nothing yet."""

import numpy as np
import pytest

from piwsl_plugins.terms.first_energies import FirstEnergies, evenly_spaced

RNG = np.random.default_rng(0)
LABELS = RNG.normal(-70.0, 0.1, size=16)
FORCES = RNG.normal(0.0, 1.0, size=(40, 3))


@pytest.mark.parametrize(
    ("offset", "impossible", "unlikely"),
    [(0.1, False, False), (0.6, False, True), (9.9, False, True), (-10.1, True, True)],
)
@pytest.mark.parametrize("labelled", [False, True])
def test_a_constant_is_judged_by_its_size(offset, impossible, unlikely, labelled):
    forces = (0.2 * FORCES, FORCES) if labelled else ()
    found = FirstEnergies.of(LABELS + offset, LABELS, *forces)
    assert found.error == pytest.approx(abs(offset))
    assert (found.impossible, found.unlikely) == (impossible, unlikely)
    assert f"{abs(offset):.4g} eV/atom" in str(found)
    assert ("right size" in str(found)) == labelled


def test_wrong_forces_say_that_the_model_as_a_whole_is_wrong():
    found = FirstEnergies.of(LABELS + 50.0, LABELS, 3.5 * FORCES, FORCES)
    assert not (found.impossible or found.unlikely)


def test_large_forces_allow_large_differences():
    found = FirstEnergies.of(LABELS + 20.0, LABELS, 10.0 * FORCES, 10.0 * FORCES)
    assert not found.impossible


def test_one_wrong_label_and_missing_ones_count_for_nothing():
    labels = LABELS.copy()
    labels[3] += 1000.0
    labels[5] = np.nan
    assert FirstEnergies.of(LABELS + 0.2, labels).error == pytest.approx(0.2)


def test_some_structures_of_another_method_are_pointed_out():
    predicted = np.tile(LABELS, 2)
    labels = predicted.copy()
    labels[: len(labels) // 3] += 150.0
    found = FirstEnergies.of(predicted, labels)
    assert found.unlikely and not found.impossible
    assert f"those of {found.share:.0%} of the structures lie more than 10 eV/atom" in str(found)


@pytest.mark.parametrize("n", [1, 2, 16, 17, 1000])
def test_structures_are_evenly_spaced(n):
    chosen = evenly_spaced(n)
    assert len(chosen) == min(n, 16) == len(set(chosen))
    assert (chosen[0], chosen[-1]) == (0, n - 1)
