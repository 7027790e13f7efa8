"""Rows of the designs: their components, what these leave out, their order, and the memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from piwsl_plugins.errors import RunError
from piwsl_plugins.frames.reading import Frame
from piwsl_plugins.tools.select import features as features_module
from piwsl_plugins.tools.select.design import Information, d_optimal
from piwsl_plugins.tools.select.features import Features, compute
from piwsl_plugins.tools.select.reduction import COMPONENTS, LEFT_OUT, Reduction

from .synthetic import descriptor, frames

ROOT = Path(__file__).resolve().parents[3]


def computed(structures, describe=descriptor, workers=1):
    advanced = []
    features = compute(structures, describe, workers, "processes", advanced.append)
    assert sum(advanced) == len(structures)
    return features


def test_components_are_those_of_a_singular_value_decomposition():
    made = np.random.default_rng(0).normal(size=(300, 40)) * 0.5 ** np.arange(40)
    made += 7
    for descriptors in (made, made[:25]):
        centred = descriptors - descriptors.mean(axis=0)
        values = np.linalg.svd(centred, compute_uv=False) ** 2
        left_out = 1 - np.cumsum(values) / values.sum()
        reduction = Reduction.of(descriptors)
        number = reduction.components.shape[1]
        assert left_out[number - 1] <= LEFT_OUT < left_out[number - 2]
        rows = reduction.rows(descriptors)
        assert rows.shape == (len(descriptors), reduction.width) == (len(descriptors), number + 2)
        assert np.all(rows[:, 0] == 1)
        squares = np.sum(rows[:, 1:-1].astype(float) ** 2, axis=0) / len(rows)
        assert np.allclose(squares, values[:number] / values.sum(), rtol=1e-4)
        assert np.mean(rows[:, -1] ** 2) == pytest.approx(left_out[number - 1], rel=1e-2)


def test_components_are_64_at_most():
    reduction = Reduction.of(np.random.default_rng(0).normal(size=(500, 200)))
    assert reduction.components.shape == (200, COMPONENTS)


def test_descriptors_without_variance_have_no_components_and_show_what_is_new():
    same = np.full((5, 4), 2.0, np.float32)
    reduction = Reduction.of(same)
    assert reduction.rows(same).tolist() == [[1, 0]] * 5
    # lengths as a share of the descriptor's
    assert reduction.rows(same + np.eye(5, 4))[0].tolist() == [1, 0.25]
    assert Reduction.of(np.zeros((5, 4))).rows(np.ones((1, 4))).tolist() == [[1, 2]]


def test_elements_are_reduced_as_soon_as_there_are_enough_atoms_of_them(monkeypatch):
    structures = frames(40)
    monkeypatch.setattr(features_module, "_FITTED_ATOMS", 60)
    features = computed(structures)
    # 10, 7 and 3 atoms per structure: enough in 6, 9 and 20, in stages of 8, 16 and 32
    single = [array.astype(np.float32) for array in descriptor(structures)]
    for z, used in ((1, 8), (6, 16), (8, 32)):
        parts = [array[s.atoms.numbers == z] for array, s in zip(single, structures)]
        reduction = Reduction.of(np.concatenate(parts[:used]))
        expected = np.concatenate([reduction.rows(part) for part in parts])
        assert np.array_equal(features.rows[z], expected)
        assert np.array_equal(features.starts[z], len(parts[0]) * np.arange(41))


def test_workers_and_chunks_change_no_number(monkeypatch):
    structures = frames(40)
    monkeypatch.setattr(features_module, "_FITTED_ATOMS", 60)
    expected = computed(structures)
    for numbers, workers in ((1, 1), (2**25, 2)):
        monkeypatch.setattr(features_module, "_CHUNK_NUMBERS", numbers)
        features = computed(structures, workers=workers)
        for z, rows in expected.rows.items():
            assert np.array_equal(features.rows[z], rows)


def of_a_plane_and_one_that_leaves_it(structures):
    """A few directions of ``descriptor``'s, and for the structure at the end another one."""
    arrays = [array[:, :40].copy() for array in descriptor(structures)]
    for array, structure in zip(arrays, structures):
        array[:, 3:] = 0
        array[:, 20] = structure.where == "new"
    return arrays


def test_what_no_component_has_is_not_missed(monkeypatch):
    structures = frames(60)
    structures[-1] = Frame(structures[-1].atoms, "new")
    monkeypatch.setattr(features_module, "_FITTED_ATOMS", 60)
    features = computed(structures, of_a_plane_and_one_that_leaves_it)
    assert [rows.shape[1] for rows in features.rows.values()] == [5, 5, 5]
    assert 59 in d_optimal(Information(features), range(60), 2)
    without = Features({z: rows[:, :-1] for z, rows in features.rows.items()}, features.starts)
    assert 59 not in d_optimal(Information(without), range(60), 10)


def test_structures_without_descriptors_end_the_run():
    def not_finite(structures):
        return [np.full((len(s.atoms), 3), np.nan if "3" in s.where else 1.0) for s in structures]

    with pytest.raises(RunError, match="frame 3: its descriptors are not finite"):
        computed(frames(6), not_finite)

    def fails(structures):
        raise ValueError("too\nlarge")

    with pytest.raises(RunError, match=r"frame 0: no descriptors \(ValueError: too large\)"):
        computed([Frame(Atoms("H"), "frame 0")], fails)


@pytest.mark.slow
def test_memory():
    """10 000 structures of 20 atoms: their descriptors alone would be 763 MiB."""
    command = [sys.executable, "-m", "tests.tools.select.synthetic", "10000", "10"]
    words = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    before, most = (float(words[words.index(name) + 1]) for name in ("frames", "peak"))
    assert most - before < 350
