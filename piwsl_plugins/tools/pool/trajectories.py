"""All trajectories of a pool: those that are missing are run, those cut are made up for."""

from __future__ import annotations

import collections
import dataclasses

from ...errors import RunError
from ...frames.reading import elements_of
from ..calculators import CalculatorSource
from ..runs import Run
from ..workers import PROCESSES
from .collection import Collection
from .plan import Trajectory, plan, quotas
from .settings import PoolSettings
from .simulation import Simulation
from .starts import Starts

#: how often runs are planned for structures that are missing, the first time included
ROUNDS = 3
#: failures that an error message spells out
_SHOWN = 3


@dataclasses.dataclass
class Trajectories:
    """What was run.

    Attributes:
        collection: the structures.
        cut: the runs that were cut, and why.
        failures: why the calculator failed on frames that runs were to begin at, by their number.
        n_before: runs that were finished before.
        seconds: of each of the others.
    """

    collection: Collection
    cut: list[tuple[Trajectory, str]] = dataclasses.field(default_factory=list)
    failures: dict[int, str] = dataclasses.field(default_factory=dict)
    n_before: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)


def run_all(
    source: CalculatorSource,
    starts: Starts,
    settings: PoolSettings,
    run: Run,
    device: str = "cpu",
    workers: int = 1,
    executor: str = PROCESSES,
) -> Trajectories:
    """Run what is not finished; each trajectory is kept when it is.

    For structures that cut runs, failures and repetitions left out there are further runs, up to
    :data:`ROUNDS` times, from frames on which the calculator did not fail.

    Args:
        source: the calculator.
        starts: the frames.
        settings: how the dynamics run.
        run: where finished trajectories are.
        device: torch device of MACE and NequIP models.
        workers: number of processes of this machine.
        executor: where runs are worked on, see :func:`..parallel.outcomes`.

    Raises:
        InputError: if the calculator cannot be loaded.
        RunError: if no run gives a structure, or a process dies.
    """
    function = Simulation(source, elements_of(starts.frames.values()), settings, device)
    done = Trajectories(Collection(starts.taken))
    wanted, n_runs = quotas(settings), 0
    for _ in range(ROUNDS):
        sound = {n: frame for n, frame in starts.frames.items() if n not in done.failures}
        runs = plan(sound, wanted, settings, n_runs) if sound else []
        if not runs:
            break
        n_runs += len(runs)
        _run(runs, function, run, done, workers, executor)
        n_cut, n_structures = len(done.cut), len(done.collection.structures)
        for trajectory in runs:
            arrays = run.finished(trajectory)
            if arrays is not None:
                done.collection.add(trajectory, arrays)
                if str(arrays["end"]):
                    done.cut.append((trajectory, str(arrays["end"])))
        wanted = done.collection.missing(quotas(settings))
        if len(done.collection.structures) == n_structures and len(done.cut) - n_cut == len(runs):
            break
    if not done.collection.structures:
        run.end()  # what is in it would stand in the way of other settings
        raise RunError(_nothing(source, done, n_runs, settings.relax))
    return done


def _run(
    runs: list[Trajectory],
    function: Simulation,
    run: Run,
    done: Trajectories,
    workers: int,
    executor: str,
) -> None:
    worked_on = run.work(
        runs, function, "structures", workers, executor, lambda trajectory: trajectory.n_frames
    )
    done.n_before += len(runs) - len(worked_on)
    for outcome in worked_on:
        trajectory = outcome.frame
        assert isinstance(trajectory, Trajectory)
        if outcome.failure:
            done.failures[trajectory.start] = f"{trajectory.where}: {outcome.failure}"
        else:
            done.seconds.append(outcome.seconds)


def _nothing(source: CalculatorSource, done: Trajectories, n_runs: int, relaxed: bool) -> str:
    """Why there is no structure at all."""
    parts = []
    if done.failures:
        parts.append(
            f"{source.called} failed on {len(done.failures)} frames: {_spelled(done.failures)}"
        )
    if done.cut:
        reasons = collections.Counter(reason for _, reason in done.cut)
        words = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        relaxation = "" if relaxed else "--relax, "
        parts.append(
            f"{len(done.cut)} of {n_runs} runs ended before their first structure: {words}; try "
            f"{relaxation}a shorter --timestep or lower --temperatures"
        )
    if done.collection.n_left_out:
        parts.append(f"{done.collection.n_left_out} structures repeat given or excluded frames")
    return "no structures: " + "; ".join(parts)


def _spelled(failures: dict[int, str]) -> str:
    shown = "; ".join(failures[start] for start in sorted(failures)[:_SHOWN])
    more = len(failures) - _SHOWN
    return shown + (f"; and {more} more" if more > 0 else "")
