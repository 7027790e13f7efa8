"""What a pool may hold."""

import ase.build
import pytest

from piwsl_plugins.core.frame_checks import geometry_key
from piwsl_plugins.core.options import SettingsError
from piwsl_plugins.core.pool_checks import PoolFrame, look_through


def frames(*names):
    structures = [ase.build.molecule(name) for name in names]
    return [
        PoolFrame(index, atoms.numbers, atoms.positions, labelled=index == 0)
        for index, atoms in enumerate(structures)
    ]


def key(frame):
    return geometry_key(frame.numbers, frame.positions)


def test_it_is_described():
    pool = frames("H2O", "CH4", "CH3OH")
    text = look_through("pool.xyz", iter(pool), [1, 6, 8], {}, {key(pool[2])})
    assert text.endswith("3 structures, 1 with labels; 1 of them are in the training data too")


@pytest.mark.parametrize(
    ("elements", "held_out", "words"),
    [
        ([1, 8], {}, r"frame 1 \(from 0\) holds C, but the model knows H, O only"),
        ([1, 6, 8], {1: "frame 7 of the test data"}, r"frame 1 \(from 0\) is frame 7 of the test"),
    ],
)
def test_it_is_refused(elements, held_out, words):
    pool = frames("H2O", "CH4")
    places = {key(pool[index]): place for index, place in held_out.items()}
    with pytest.raises(SettingsError, match=words) as caught:
        look_through("pool.xyz", pool, elements, places, set())
    assert (caught.value.name, caught.value.value) == ("pool_file", "pool.xyz")


def test_a_pool_without_a_structure_is_refused():
    with pytest.raises(SettingsError, match="no structure"):
        look_through("pool.xyz", [], [1], {}, set())
