"""Designs against slow references that build every matrix anew."""

import numpy as np
import pytest

from piwsl_plugins.tools.select.coverage import follow
from piwsl_plugins.tools.select.design import RIDGE, Information, d_optimal
from piwsl_plugins.tools.select.features import Features
from piwsl_plugins.tools.select.rivals import farthest_points, random

from .conftest import random_features


def design(features, z, structures):
    """All rows of an element in some structures, in double precision."""
    starts = features.starts[z]
    parts = [features.rows[z][starts[s] : starts[s + 1]] for s in structures]
    return np.concatenate([*parts, np.empty((0, features.rows[z].shape[1]))]).astype(float)


def slow_log_determinant(features, structures):
    total = 0.0
    for z in features.rows:
        x = design(features, z, structures)
        total += np.linalg.slogdet(x.T @ x + RIDGE * np.eye(x.shape[1]))[1]
    return total


def slow_greedy(features, given, candidates, number):
    chosen, left = [], list(candidates)
    for _ in range(number):
        values = [slow_log_determinant(features, [*given, *chosen, s]) for s in left]
        chosen.append(left.pop(int(np.argmax(values))))
    return chosen


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("given", [[], [38, 39]])
def test_the_choice_is_that_of_brute_force(seed, given):
    features = random_features(seed=seed)
    information = Information(features)
    information.add_all(given)
    chosen = d_optimal(information, range(38), 15)
    assert chosen == slow_greedy(features, given, range(38), 15)
    assert information.log_determinant() == pytest.approx(
        slow_log_determinant(features, [*given, *chosen]), abs=1e-6
    )


def test_gains_are_differences_of_log_determinants():
    features = random_features()
    order = [5, 3, 17, 0, 21]
    course = follow(features, [38, 39], 38, order)
    for number, gain in enumerate(course.gains):
        before = slow_log_determinant(features, [38, 39, *order[:number]])
        after = slow_log_determinant(features, [38, 39, *order[: number + 1]])
        assert gain == pytest.approx(after - before, abs=1e-7)
    assert course.total == pytest.approx(
        slow_log_determinant(features, [38, 39]) - slow_log_determinant(features, []), abs=1e-7
    )


def test_gains_as_a_share_of_standard_errors():
    features = random_features()
    course = follow(features, [38, 39], 38, [5, 3])
    expected = []
    for structures in ([38, 39], [38, 39, 5], [38, 39, 5, 3]):
        inverses = []
        for z, rows in features.rows.items():
            x = design(features, z, structures)
            inverses.append(np.linalg.inv(x.T @ x + RIDGE * np.eye(rows.shape[1])))
        # principal standard errors of the coefficients
        errors = np.sqrt(np.concatenate([np.linalg.eigvalsh(i) for i in inverses]))
        expected.append(np.exp(np.log(errors).mean()))
    assert course.unknowns == 12
    assert np.allclose(course.narrowing, 1 - np.divide(expected[1:], expected[:-1]), rtol=1e-6)


def test_how_many_say_as_much_as_others():
    features = random_features()
    best = follow(features, [], 40, d_optimal(Information(features), range(40), 10))
    chance = follow(features, [], 40, random(40, 10, 0))
    number = best.as_much_as(chance)
    assert best.gains[: number - 1].sum() < chance.gains.sum() <= best.gains[:number].sum()
    assert chance.as_much_as(best) is None and best.as_much_as(best) == 10


def test_fewer_are_the_first_of_more():
    features = random_features()
    few = d_optimal(Information(features), range(40), 4)
    assert d_optimal(Information(features), range(40), 12)[:4] == few
    assert random(40, 12, 3)[:4] == random(40, 4, 3) != random(40, 4, 4)
    assert farthest_points(features, 40, 12)[:4] == farthest_points(features, 40, 4)


@pytest.mark.parametrize("seed", range(3))
def test_d_optimal_gains_more_than_chance_and_farthest_points(seed):
    features = random_features(structures=200, components=10, seed=seed)
    best = follow(features, [], 200, d_optimal(Information(features), range(200), 10)).gains.sum()
    chance = [follow(features, [], 200, random(200, 10, s)).gains.sum() for s in range(20)]
    assert best > max(chance) + 1
    assert best > follow(features, [], 200, farthest_points(features, 200, 10)).gains.sum()


def test_leverages_are_those_of_the_pseudo_inverse_where_rows_are_spanned():
    features = random_features(structures=60, components=3, base=2)
    information = Information(features, ridge=1e-9)
    information.add_all(range(10, 14))
    for z in features.rows:
        x, everything = design(features, z, range(10, 14)), design(features, z, range(60))
        expected = np.einsum("ij,jk,ik->i", everything, np.linalg.pinv(x.T @ x), everything)
        leverages = information.leverages(z, 60)
        assert np.linalg.matrix_rank(x) == 4
        assert np.allclose(leverages, expected, rtol=1e-3)
        assert 0 < (expected > 1).sum() < len(expected)
        own = information.leverages(z, 14)[features.starts[z][10] :]
        assert own.max() <= 1 and own.sum() == pytest.approx(4, rel=1e-3)


def test_a_direction_that_no_row_has_is_not_spanned():
    rows = np.array([[1, 1, 0], [1, -1, 0], [1, 0.5, 0], [1, 0, 0.5]], np.float32)
    features = Features({1: rows}, {1: np.arange(5)})
    course = follow(features, [], 4, [0, 1, 3])
    assert course.marks == [0, 1, 2, 3]
    # nothing; its own row; the plane of the first three rows; everything
    assert course.shares[1].tolist() == [1.0, 0.75, 0.25, 0.0]
    assert course.overall.tolist() == [1.0, 0.75, 0.25, 0.0]


def test_shares_of_all_elements_are_weighted_by_atoms():
    features = random_features()
    course = follow(features, [], 40, [0, 1, 2])
    rows = {z: len(r) for z, r in features.rows.items()}
    expected = sum(course.shares[z] * rows[z] for z in rows) / sum(rows.values())
    assert np.allclose(course.overall, expected)
    assert course.overall[0] == 1.0 and np.all(np.diff(course.overall) <= 0)


def test_farthest_points_against_all_distances():
    features = random_features(structures=30)
    vectors = []
    for s in range(30):
        parts = {z: design(features, z, [s]) for z in features.rows}
        atoms = max(1, sum(map(len, parts.values())))
        vectors.append(np.concatenate([part.sum(axis=0) for part in parts.values()]) / atoms)
    vectors = np.array(vectors)
    chosen = farthest_points(features, 27, 8)
    for number, structure in enumerate(chosen):
        before = vectors[[27, 28, 29, *chosen[:number]]]
        nearest = np.linalg.norm(vectors[:27, None] - before[None], axis=2).min(axis=1)
        nearest[chosen[:number]] = -1
        assert nearest[structure] == pytest.approx(nearest.max(), rel=1e-5)


def test_many_structures_in_seconds():
    random_numbers = np.random.default_rng(0)
    rows = np.hstack([np.ones((50_000, 1)), random_numbers.normal(size=(50_000, 24)) / 5])
    features = Features({6: rows.astype(np.float32)}, {6: np.arange(0, 50_001, 10)})
    chosen = d_optimal(Information(features), range(5000), 30)
    course = follow(features, [], 5000, chosen)
    assert len(set(chosen)) == 30 and np.all(np.diff(course.gains) < 1e-6)
