"""Which structures of a pool go with which batch."""

import itertools

import pytest
import torch

from piwsl_plugins.terms.pool import Pool, choose


def flat_list(lists):
    return list(itertools.chain(*lists))


def test_each_pass_shows_every_structure_once_in_a_new_order():
    steps = [choose(step, 7, 3, seed=1) for step in range(14)]
    flat = flat_list(steps)
    passes = [flat[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert steps == [choose(step, 7, 3, seed=1) for step in range(14)]
    assert steps != [choose(step, 7, 3, seed=2) for step in range(14)]


def test_two_ranks_share_what_one_would_see():
    one = [choose(step, 10, 4, seed=0) for step in range(5)]
    two = [choose(step, 10, 2, 0, rank, 2) for step in range(5) for rank in range(2)]
    assert flat_list(one) == flat_list(two)


def test_more_structures_than_the_pool_has():
    assert sorted(choose(0, 2, 5, seed=0))[:2] == [0, 0]


def test_a_structure_is_not_twice_in_a_batch_of_a_small_pool():
    """... where its copies would be displaced alike."""
    pool = Pool(Lazy(2), sorted, 5, seed=0)
    assert [pool.batch(number) for number in range(3)] == [[0, 1]] * 3


class Lazy:
    """A dataset that counts what is read of it."""

    def __init__(self, n):
        self.n, self.read = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.read.append(index)
        return index


@pytest.mark.parametrize("n_workers", [0, 2])
def test_batches_are_those_chosen_whoever_reads_them(n_workers):
    pool = Pool(Lazy(7), sorted, 3, seed=5, n_workers=n_workers)
    for number in [0, 1, 2, 2, 3, 10, 11, 4]:
        assert pool.batch(number) == sorted(choose(number, 7, 3, seed=5))


def test_only_what_is_used_is_read():
    dataset = Lazy(1000)
    pool = Pool(dataset, list, 4, seed=0)
    for number in range(3):
        pool.batch(number)
    pool.batch(2)
    assert len(dataset.read) == 12


def test_the_trainers_random_numbers_are_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Pool(Lazy(7), list, 3, seed=5).batch(4)
    assert torch.equal(torch.rand(2), expected)
