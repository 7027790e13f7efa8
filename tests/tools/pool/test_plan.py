"""The ladder: which frame is run at which temperature."""

import collections

from ase.build import molecule

from piwsl_plugins.frames.reading import Frame
from piwsl_plugins.tools.pool.plan import plan, quotas
from piwsl_plugins.tools.pool.settings import PoolSettings


def frames(count):
    return {10 + n: Frame(molecule("H2O"), f"frame {10 + n}") for n in range(count)}


def planned(count, first=0, **settings):
    chosen = PoolSettings(**settings)
    return plan(frames(count), quotas(chosen), chosen, first)


def test_every_temperature_gets_its_share():
    runs = planned(7, temperatures=(300.0, 500.0, 700.0), n=500, per_run=40)
    by_temperature = collections.Counter()
    for run in runs:
        by_temperature[run.temperature] += run.n_frames
        assert 33 <= run.n_frames <= 34
    assert by_temperature == {300: 167, 500: 167, 700: 166}
    assert [run.number for run in runs] == list(range(15))


def test_frames_take_turns_over_the_temperatures():
    runs = planned(10, temperatures=(300.0, 500.0), n=400, per_run=20)
    for temperature in (300, 500):
        starts = [run.start for run in runs if run.temperature == temperature]
        assert sorted(starts) == list(range(10, 20))
    few = planned(100, temperatures=(300.0, 500.0), n=80, per_run=10)
    assert len({run.start for run in few}) == 8
    assert all(run.where == f"frame {run.start}" for run in few)


def test_the_seed_draws_the_order():
    starts = {
        seed: [run.start for run in planned(10, n=400, seed=seed, temperatures=(300.0,))]
        for seed in (0, 1)
    }
    assert starts[0] == [run.start for run in planned(10, n=400, temperatures=(300.0,))]
    assert starts[0] != starts[1]


def test_no_two_runs_are_taken_for_one():
    runs = planned(2, n=400, per_run=10) + planned(2, n=400, per_run=10, first=1000)
    assert len({run.key for run in runs}) == len(runs)
    again = planned(2, n=400, per_run=10)
    assert [run.key for run in again] == [run.key for run in runs[: len(again)]]
