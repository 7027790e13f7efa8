"""What a pool may hold."""

import ase.build
import ase.data
import pytest

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.frames.entries import Entry
from piwsl_plugins.frames.pool_checks import look_through
from piwsl_plugins.frames.structure import Structure


def frames(*names, energies=None, place="the pool", labelled=1, **state):
    structures = [ase.build.molecule(name) for name in names]
    energies = energies or [None] * len(names)
    return [
        Entry(
            Structure.of(atoms.numbers, atoms.positions, **state),
            place,
            index,
            frozenset(["energy"] if index < labelled else []),
            energy,
        )
        for index, (atoms, energy) in enumerate(zip(structures, energies, strict=True))
    ]


def look(pool, elements, held_out, training, energies=True):
    return look_through("pool.xyz", pool, elements, held_out, training, energies)


def test_it_is_described():
    pool = frames("H2O", "CH4", "CH3OH")
    text = look(pool, [1, 6, 8], [], [pool[2]])
    assert text.endswith("3 structures, 1 with labels; 1 of them are in the training data too")


@pytest.mark.parametrize(
    ("elements", "held_out", "words"),
    [
        ([1, 8], [], r"frame 1 \(from 0\) holds C, but the model knows H, O only"),
        (
            [1, 6, 8],
            frames("CH3OH", "CH4", place="the test data"),
            r"frame 1 \(from 0\) is frame 1 \(from 0\) of the test data",
        ),
    ],
)
def test_it_is_refused(elements, held_out, words):
    with pytest.raises(SettingsError, match=words) as caught:
        look(frames("H2O", "CH4"), elements, held_out, [])
    assert (caught.value.name, caught.value.value) == ("pool_file", "pool.xyz")


def test_ions_at_the_geometries_of_held_out_molecules_are_others():
    held_out = frames("H2O", "CH4", place="the validation data")
    assert "2 structures" in look(frames("H2O", "CH4", charge=1, spin=2), [1, 6, 8], held_out, [])
    moved = frames("H2O", "CH4")
    moved[1].structure.positions[0, 0] += 0.9e-3  # other digits of the same file
    with pytest.raises(SettingsError, match="frame 0"):
        look(moved, [1, 6, 8], held_out, [])
    with pytest.raises(SettingsError, match=r"frame 1 .* is frame 1"):
        look(moved[1:], [1, 6, 8], held_out, [])


def test_a_pool_without_a_structure_is_refused():
    with pytest.raises(SettingsError, match="no structure"):
        look([], [1], [], [])


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
    return look(of_pool, [1, 6, 8], [], known)


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
    assert "WARNING" not in look(pool, [1, 6, 8], [], known)


def test_forces_alone_have_no_scale():
    known = frames(*KNOWN, energies=energies(*KNOWN))
    assert "WARNING" not in look(frames("CH3OH"), [1, 6, 8], [], known)
    pool = frames("CH3OH", energies=[0.0])
    assert "WARNING" not in look(pool, [1, 6, 8], [], frames(*KNOWN))
