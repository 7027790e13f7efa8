"""What a pool may hold."""

import ase.build
import numpy as np
import pytest

from piwsl_plugins.core.frame_checks import geometry_digest
from piwsl_plugins.core.options import SettingsError
from piwsl_plugins.core.pool_checks import PoolFrame, look_through


def frames(*names):
    structures = [ase.build.molecule(name) for name in names]
    return [
        PoolFrame(index, atoms.numbers, atoms.positions, labelled=index == 0)
        for index, atoms in enumerate(structures)
    ]


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
    geometries, text = look(iter(pool), [1, 6, 8], {}, {key(pool[2])})
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
        look(pool, elements, places, set())
    assert (caught.value.name, caught.value.value) == ("pool_file", "pool.xyz")


def test_a_pool_without_a_structure_is_refused():
    with pytest.raises(SettingsError, match="no structure"):
        look([], [1], {}, set())
