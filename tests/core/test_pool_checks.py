"""What a pool may hold."""

import ase.build
import ase.data
import numpy as np
import pytest

from piwsl_plugins.core.frame_checks import geometry_digest
from piwsl_plugins.core.options import SettingsError
from piwsl_plugins.core.pool_checks import PoolFrame, TrainingFrames, look_through


def frames(*names, energies=None):
    structures = [ase.build.molecule(name) for name in names]
    energies = energies or [None] * len(names)
    return [
        PoolFrame(index, atoms.numbers, atoms.positions, labelled=index == 0, energy=energy)
        for index, (atoms, energy) in enumerate(zip(structures, energies, strict=True))
    ]


def training(*given):
    known = TrainingFrames()
    for frame in given:
        known.add(frame.numbers, frame.positions, frame.energy)
    return known


def key(frame):
    return geometry_digest(frame.numbers, frame.positions)


def look(*arguments):
    """What was yielded, and what was returned."""
    looked_at = look_through("pool.xyz", *arguments)
    geometries = []
    while True:
        try:
            geometries.append(next(looked_at))
        except StopIteration as end:
            return geometries, end.value


def test_it_is_described():
    pool = frames("H2O", "CH4", "CH3OH")
    geometries, text = look(iter(pool), [1, 6, 8], {}, training(pool[2]))
    for frame, (numbers, positions) in zip(pool, geometries, strict=True):
        assert np.array_equal(numbers, frame.numbers)
        assert np.array_equal(positions, frame.positions)
    assert text.endswith("3 structures, 1 with labels; 1 of them are in the training data too")


@pytest.mark.parametrize(
    ("elements", "held_out", "words"),
    [
        ([1, 8], {}, r"frame 1 \(from 0\) holds C, but the model knows H, O only"),
        (
            [1, 6, 8],
            {1: ("the test data", 7)},
            r"frame 1 \(from 0\) is frame 7 \(from 0\) of the test data",
        ),
    ],
)
def test_it_is_refused(elements, held_out, words):
    pool = frames("H2O", "CH4")
    places = {key(pool[index]): place for index, place in held_out.items()}
    with pytest.raises(SettingsError, match=words) as caught:
        look(pool, elements, places, training())
    assert (caught.value.name, caught.value.value) == ("pool_file", "pool.xyz")


def test_a_pool_without_a_structure_is_refused():
    with pytest.raises(SettingsError, match="no structure"):
        look([], [1], {}, training())


#: of H, C, O in eV, by a method
E0 = {1: -13.0, 6: -1028.0, 8: -2041.0}
KNOWN = ("H2O", "CH4", "CH3CH2OH")


def energies(*names, binding=-3.0, **shifts):
    """Total energies of molecules: E0, a binding energy per atom, and shifts per element."""
    atoms = [ase.build.molecule(name) for name in names]
    shift = {ase.data.atomic_numbers[symbol]: value for symbol, value in shifts.items()}
    return [sum(E0[z] + shift.get(z, 0.0) + binding for z in one.numbers) for one in atoms]


def compare(pool, **given):
    """What is said of a pool of CH3OH beside three molecules that fix its scale."""
    known = frames(*KNOWN, energies=energies(*KNOWN))
    of_pool = frames(pool, energies=energies(pool, **given))
    return look(of_pool, [1, 6, 8], {}, training(*known))[1]


def test_energies_of_the_same_scale_are_not_spoken_of():
    assert "WARNING" not in compare("CH3OH", binding=-2.6)


def test_energies_of_a_functional_with_other_offsets_are_warned_of():
    text = compare("CH3OH", H=0.3, C=1.2, O=6.0)
    assert "WARNING" in text and f"{(4 * 0.3 + 1.2 + 6.0) / 6:.4g} eV/atom" in text
    assert "piwsl weak" in text


def test_energies_of_another_kind_of_method_are_refused():
    with pytest.raises(SettingsError, match=r"pool\.xyz.*342\.2 eV/atom.*offsets"):
        compare("CH3OH", C=15.2, O=2038.0)


def test_a_composition_that_the_training_leaves_open_is_not_judged():
    known = frames("CH3CH2OH", energies=energies("CH3CH2OH"))
    pool = frames("CH3OH", energies=[0.0])
    assert "WARNING" not in look(pool, [1, 6, 8], {}, training(*known))[1]


def test_forces_alone_have_no_scale():
    known = frames(*KNOWN, energies=energies(*KNOWN))
    assert "WARNING" not in look(frames("CH3OH"), [1, 6, 8], {}, training(*known))[1]
    pool = frames("CH3OH", energies=[0.0])
    assert "WARNING" not in look(pool, [1, 6, 8], {}, training(*frames(*KNOWN)))[1]
