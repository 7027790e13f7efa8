"""Charges that a file holds and that its reader does not ask for."""

import ase.build
import pytest
from ase.io import write

from piwsl_plugins.frames.unread import unread_state


def frames(*infos):
    made = []
    for info in infos:
        atoms = ase.build.molecule("CH3OH")
        atoms.info |= {"REF_energy": -1.0, "config_type": "a spin=9 word", **info}
        made.append(atoms)
    return made


@pytest.mark.parametrize(
    ("infos", "read", "found"),
    [
        ([{}, {"charge": 1, "spin": 2}], ("total_charge", "total_spin"), (1, "charge=1")),
        ([{"charge": 0, "spin": 1}, {"charge": -2}], (), (1, "charge=-2")),
        ([{}, {}, {"spin": 3}], ("total_charge", "total_spin"), (2, "spin=3")),
        ([{"total_charge": 1.0}], ("charge", "spin"), (0, "total_charge=1")),
        ([{"charge": 0, "spin": 2}], (), None),  # neutral, and the lowest of some
        ([{"total_charge": 1, "total_spin": 2}], ("total_charge", "total_spin"), None),
        ([{"charge": 1, "total_charge": 1}], ("total_charge",), None),
        ([{"my_charge": 1, "charges_of": 2}], (), None),
    ],
)
def test_the_first_one_is_named(tmp_path, infos, read, found):
    write(tmp_path / "data.xyz", frames(*infos))
    assert unread_state(tmp_path / "data.xyz", read) == found


def test_what_is_no_extended_xyz_is_left_to_its_reader(tmp_path):
    write(tmp_path / "data.traj", frames({"charge": 1}))
    (tmp_path / "cut.xyz").write_text("no frame\n")
    assert unread_state(tmp_path / "data.traj", ()) is None
    assert unread_state(tmp_path / "cut.xyz", ()) is None
    assert unread_state(tmp_path / "absent.xyz", ()) is None
