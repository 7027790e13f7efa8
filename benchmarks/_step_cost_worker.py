"""A process in which ``step_cost.py`` measures the steps of one checkout.

Run as a program, it imports the package and the benchmarks of the checkout named, and answers
lines of JSON. Of that checkout's ``step_cost.py`` it uses ``FRAMEWORKS``, ``VARIANTS``,
``ENERGY_VARIANTS`` and ``structures``; of the host's module ``OUTSIDE_THE_MODEL`` and
``Training(framework, frames, channels, dtype, device).steps(VARIANTS[name])``, a context that
gives a function of the epoch. Older checkouts have the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


class Worker:
    """Talks to such a process.

    Attributes:
        variants: names of the steps that it can measure.
    """

    def __init__(self, checkout: Path, options: argparse.Namespace) -> None:
        """
        Args:
            checkout: root of the repository.
            options: of ``step_cost.py``.
        """
        names = ("framework", "variants", "threads", "device")
        names += ("energies_alone", "cpu_time", "outside_model")
        chosen = {name: getattr(options, name) for name in names}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(checkout), json.dumps(chosen)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # the benchmark hooks in itself
            env={**os.environ, "PIWSL_PLUGINS_DISABLE": "1", "PYTHONWARNINGS": "ignore"},
        )
        self.variants: list[str] = self.ask(variants=None)

    def ask(self, **question: Any) -> Any:
        """The answer to one question: the name of a method of :class:`Steps`, and its argument."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"the process that measures {self._process.args[2]} has failed")
        return json.loads(answer)


class Stopwatch:
    """Adds up the time of functions that PIWSL runs outside the model."""

    def __init__(self, clock: Callable[[], float], functions: Iterable[tuple[Any, str]]) -> None:
        self.clock, self.total, self._depth = clock, 0.0, 0
        for owner, name in functions:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed; nested calls count once."""

        def timed(*args: Any, **keywords: Any) -> Any:
            self._depth += 1
            start = self.clock()
            try:
                return function(*args, **keywords)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.total += self.clock() - start

        return timed


class Steps:
    """Measures training steps of the checkout that is imported."""

    def __init__(self, options: dict[str, Any]) -> None:
        import importlib

        import step_cost
        import torch

        torch.set_num_threads(options["threads"])
        self._module, self._torch = step_cost, torch
        self._host = importlib.import_module(step_cost.FRAMEWORKS[options["framework"]][0])
        everything = step_cost.ENERGY_VARIANTS if options["energies_alone"] else step_cost.VARIANTS
        wanted = options["variants"]
        self._variants = {
            name: variant
            for name, variant in everything.items()
            if wanted is None or name in ("base", *wanted)
        }
        clock = time.process_time if options["cpu_time"] else time.perf_counter
        self._stopwatch = Stopwatch(clock, self._host.OUTSIDE_THE_MODEL)
        self._device = torch.device(options["device"])
        self._without_model = options["outside_model"]

    def variants(self, nothing: None) -> list[str]:
        """Names of the steps."""
        return list(self._variants)

    def prepare(self, arguments: list[Any]) -> None:
        """Make the model and the batch: framework, size, channels, precision."""
        framework, size, channels, dtype = arguments
        table = {"table": self._module.WITHOUT_MODEL} if self._without_model else {}
        frames = self._module.structures(size, **table)
        self._training = self._host.Training(framework, frames, channels, dtype, self._device)

    def steps(self, arguments: list[Any]) -> dict[str, float]:
        """Mean seconds per step, and seconds outside the model, of some steps in a row."""
        name, n = arguments
        seconds = outside = 0.0
        with self._training.steps(self._variants[name]) as step:
            # the first step after a change of loss pays for memory that the others gave back
            step(0)
            for epoch in range(n):
                self._synchronize()
                self._stopwatch.total, start = 0.0, self._stopwatch.clock()
                step(epoch)
                self._synchronize()
                seconds += self._stopwatch.clock() - start
                outside += self._stopwatch.total
        return {"seconds": seconds / n, "outside": outside / n}

    def outside(self, arguments: list[Any]) -> dict[str, float]:
        """Seconds of a step that are not the model's, the least of some from the second on."""
        name, n = arguments
        torch, seconds = self._torch, []
        step = self._training.without_model(self._variants[name])
        with _warnings() as caught:
            for epoch in range(n + 1):
                self._synchronize()
                if self._device.type == "cuda":
                    torch.cuda.set_sync_debug_mode("warn")
                    caught.clear()
                start = self._stopwatch.clock()
                step(epoch)
                if self._device.type == "cuda":
                    torch.cuda.set_sync_debug_mode("default")
                self._synchronize()
                seconds.append(self._stopwatch.clock() - start)
        return {"seconds": min(seconds[1:]), "synchronisations": len(caught)}

    def memory(self, name: str) -> float:
        """Peak of what torch allocates in a step, in MiB."""
        torch = self._torch
        with self._training.steps(self._variants[name]) as step:
            step(0)
            if self._device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                step(0)
                return (torch.cuda.max_memory_allocated() - before) / 2**20
            activities = [torch.profiler.ProfilerActivity.CPU]
            profiling = torch.profiler.profile(activities=activities, profile_memory=True)
            with _silence(), profiling as profile:
                step(0)
        events = profile.profiler.kineto_results.events()
        changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
        held = peak = 0
        for _, change in changes:
            held += change
            peak = max(peak, held)
        return peak / 2**20

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            self._torch.cuda.synchronize()


@contextlib.contextmanager
def _warnings() -> Iterator[list[Any]]:
    """All warnings inside the context, repeated ones too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drop what libraries write to the error stream: torch's profiler says that it runs."""
    stream, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(stream, 2)
        os.close(stream)
        os.close(nothing)


def main() -> None:
    """Answer questions until there are no more."""
    checkout, options = sys.argv[1:]
    sys.path[:1] = [str(Path(checkout) / "benchmarks"), checkout]
    # the start-up file of the installed package has imported a part of it
    for name in [name for name in sys.modules if name.partition(".")[0] == "piwsl_plugins"]:
        del sys.modules[name]
    answers, sys.stdout = sys.stdout, sys.stderr
    measured = Steps(json.loads(options))
    for line in sys.stdin:
        ((question, argument),) = json.loads(line).items()
        print(json.dumps(getattr(measured, question)(argument)), file=answers, flush=True)


if __name__ == "__main__":
    main()
