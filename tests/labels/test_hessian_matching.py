"""Labels reach the structures that they are of, and the log counts those that reach none."""

import dataclasses

import numpy as np
import pytest

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.frames.identity import StructureIndex
from piwsl_plugins.frames.reading import structure_of
from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.labels.hessian_matching import matched_labels
from piwsl_plugins.options.settings import Hessian
from piwsl_plugins.testing.hessians import springs

from ..bundled import bundled

MOLECULES = [bundled("ethanol_gfn2_train", index) for index in range(5)]
CRYSTALS = [bundled("periodic_gfn2_train", index) for index in range(3)]


def match(tmp_path, labels, structures, pool=(), others=()):
    path = tmp_path / "labels.npz"
    write_labels(path, labels, "a test")
    structures, pool, others = (
        [structure_of(one) for one in o] for o in (structures, pool, others)
    )
    options = Hessian(hessian_file=str(path))
    return matched_labels(options, "hessian_file", structures, pool, others)[1]


def labels_of(atoms, **state):
    return [dataclasses.replace(springs(one, n), **state) for n, one in enumerate(atoms)]


def state(atoms, **info):
    copies = [one.copy() for one in atoms]
    for one in copies:
        one.info = info
    return copies


def test_all_are_used(tmp_path):
    text = match(tmp_path, labels_of(MOLECULES), MOLECULES[:3], MOLECULES[3:])
    assert text == (
        "PIWSL: Hessian labels for 3 of 3 training structures, and for 2 of 2 of the pool; "
        "all 5 labels are used"
    )


def test_labels_that_belong_to_nothing_are_counted(tmp_path):
    text = match(tmp_path, labels_of(MOLECULES), MOLECULES[:1])
    assert text.endswith(
        "for 1 of 1 training structures; 1 of 5 labels are used, 4 belong to none of them"
    )


def test_near_misses_are_looked_for_where_labels_are_unused(tmp_path, monkeypatch):
    """What has no label is compared with all labels only then."""
    asked, near_misses = [], StructureIndex.near_misses

    def counting(index, structure):
        asked.append(structure)
        return near_misses(index, structure)

    monkeypatch.setattr(StructureIndex, "near_misses", counting)
    text = match(tmp_path, labels_of(MOLECULES[:3]), MOLECULES)
    assert "for 3 of 5 training structures; all 3 labels are used" in text and not asked
    match(tmp_path, labels_of(MOLECULES[:3]), MOLECULES[1:])
    assert len(asked) == 2


def test_a_neutral_hessian_is_no_label_of_a_cation(tmp_path):
    cations = state(MOLECULES, total_charge=1, total_spin=2)
    text = match(tmp_path, labels_of(MOLECULES), [*MOLECULES[:2], *cations])
    assert "for 2 of 7 training structures; 2 of 5 labels are used" in text
    assert "3 labels have the geometry of a training frame, and another charge (0, and 1)" in text
    with pytest.raises(SettingsError, match=r"none of its 5 labels .*another charge \(0, and 1\)"):
        match(tmp_path, labels_of(MOLECULES), cations)
    text = match(tmp_path, labels_of(MOLECULES, charge=1.0, spin=2.0), [*MOLECULES, *cations])
    assert "for 5 of 10 training structures; all 5 labels are used" in text


def test_a_label_of_several_structures_is_pointed_out(tmp_path):
    """Two methods' frames in one data set, without a word on which is which."""
    text = match(tmp_path, labels_of(MOLECULES[:2]), [*MOLECULES[:2], MOLECULES[1]])
    assert "for 3 of 3 training structures; all 2 labels are used" in text
    assert "WARNING: 1 of them belong to several structures each" in text


@pytest.mark.parametrize("periodic", [False, True])
def test_two_labels_of_one_structure_must_be_one(tmp_path, periodic):
    """A file of two methods: which of them is trained on would be nobody's choice."""
    atoms = CRYSTALS if periodic else MOLECULES
    labels = labels_of(atoms[:3])
    stiffer = dataclasses.replace(labels[1], hessian=1.01 * labels[1].hessian)
    if periodic:  # in another image of the cell
        stiffer = dataclasses.replace(stiffer, positions=stiffer.positions - stiffer.cell[1])
    refusal = r"labels 1 and 3 .from 0. are of one structure.* 0.99 %"
    with pytest.raises(SettingsError, match=refusal):
        match(tmp_path, [*labels, stiffer], atoms[:2])
    # of a structure that is not in the data, it is nobody's business
    assert "1 of 4 labels are used" in match(tmp_path, [*labels, stiffer], atoms[:1])
    probes = dataclasses.replace(
        labels[1],
        hessian=None,
        displacements=np.ones((1, len(atoms[1]), 3)),
        force_changes=np.ones((1, len(atoms[1]), 3)),
    )
    with pytest.raises(SettingsError, match=r"labels 1 and 3 .* other probes"):
        match(tmp_path, [*labels, probes], atoms[:2])
    copy = dataclasses.replace(labels[1], hessian=(1 + 1e-5) * labels[1].hessian)
    assert match(tmp_path, [*labels, copy], atoms[:3]).endswith("all 4 labels are used")


def test_frames_that_are_almost_the_same_have_labels_of_their_own(tmp_path):
    near = MOLECULES[0].copy()
    near.positions += 2e-4
    labels = labels_of([MOLECULES[0], near])
    assert labels[0].hessian.max() != labels[1].hessian.max()
    assert match(tmp_path, labels, [MOLECULES[0], near]).endswith("all 2 labels are used")


def test_another_spin_and_another_level_are_near_misses(tmp_path):
    triplets = state(MOLECULES[:2], spin=3)
    text = match(tmp_path, labels_of(MOLECULES), [MOLECULES[4], *triplets], others=MOLECULES[2:4])
    assert "for 1 of 3 training structures" in text
    assert "2 labels have the geometry of a training frame, and another spin multiplicity" in text
    assert "2 labels have the geometry of a training frame, and another level of theory" in text


def test_another_cell_and_other_periodic_directions_are_near_misses(tmp_path):
    strained, molecules = [one.copy() for one in CRYSTALS], [one.copy() for one in CRYSTALS]
    for one in strained:
        one.set_cell(one.cell.array + 0.05 * np.eye(3))
    for one in molecules:
        one.pbc = False
    labels = labels_of(CRYSTALS)
    text = match(tmp_path, labels, [CRYSTALS[0], strained[1], molecules[2]])
    assert "for 1 of 3 training structures; 1 of 3 labels are used" in text
    assert "1 label has the geometry of a training frame, and another cell (by up to 0.05" in text
    assert "1 label has the geometry of a training frame, and other periodic directions" in text


def test_an_atom_beyond_a_face_of_the_cell_is_where_it_was(tmp_path):
    shifted = [one.copy() for one in CRYSTALS]
    for one in shifted:
        one.positions[0] += one.cell[1] - one.cell[2]
    text = match(tmp_path, labels_of(CRYSTALS), shifted)
    assert "for 3 of 3 training structures; all 3 labels are used" in text
