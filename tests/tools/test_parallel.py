"""Many structures: in processes, on a dask cluster, in an MPI job; and workers that die."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from piwsl_plugins.errors import InputError, RunError
from piwsl_plugins.frames.reading import Frame
from piwsl_plugins.labels.hessian_labels import read_labels
from piwsl_plugins.tools.command import main
from piwsl_plugins.tools.parallel import outcomes

from .frame_functions import Distance

DISTANCES = [0.7 + 0.05 * index for index in range(12)]


def frames(*distances):
    return [
        Frame(Atoms("H2", [[0, 0, 0], [0, 0, d]]), f"frame {index}")
        for index, d in enumerate(distances or DISTANCES)
    ]


def results(found):
    return {outcome.frame.where: (outcome.result, outcome.failure) for outcome in found}


EXPECTED = results(outcomes(Distance(), frames()))


@pytest.mark.parametrize("workers", [2, 3])
def test_a_worker_that_dies_loses_its_frame_for_the_moment_only(workers, tmp_path):
    function = Distance(deadly=1.0, once=str(tmp_path / "died"), seconds=0.01)
    assert results(outcomes(function, frames(), workers)) == EXPECTED
    assert (tmp_path / "died").exists()


def test_a_frame_that_kills_every_worker_is_named_and_the_others_are_done():
    found = []
    with pytest.raises(RunError, match=r"die again and again .* at frame 5;"):
        for outcome in outcomes(Distance(deadly=1.8), frames(1, 1.1, 1.2, 1.3, 1.4, 1.9, 1.5), 2):
            found.append(outcome)
    assert sorted(results(found)) == [f"frame {i}" for i in (0, 1, 2, 3, 4, 6)]


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=None
        ) as cluster,
    ):
        yield cluster.scheduler_address.replace("tcp://", "dask://")


def test_workers_of_dask_give_the_same(cluster):
    assert results(outcomes(Distance(), frames(), executor=cluster)) == EXPECTED
    (failed,) = outcomes(Distance(), frames(3.0), executor=cluster)
    assert failed.failure == "ValueError: too far"


def test_a_worker_of_dask_that_dies_loses_its_frame_for_the_moment_only(cluster, tmp_path):
    function = Distance(deadly=1.0, once=str(tmp_path / "died"))
    assert results(outcomes(function, frames(), executor=cluster)) == EXPECTED
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_a_frame_that_kills_every_worker_of_dask(cluster):
    with pytest.raises(RunError, match="workers of dask die again and again"):
        list(outcomes(Distance(deadly=1.8), frames(1.0, 1.9), executor=cluster))


def test_there_must_be_a_scheduler(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("piwsl_plugins.tools.parallel._PATIENCE", 0.5)
    with pytest.raises(InputError, match="no scheduler of dask"):
        list(outcomes(Distance(), frames(), executor="dask://127.0.0.1:9"))


@pytest.mark.slow
def test_that_there_is_no_worker_is_said_and_one_that_comes_works(monkeypatch, capsys):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("piwsl_plugins.tools.parallel._PATIENCE", 0.5)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        threading.Timer(3.0, cluster.scale, [1]).start()
        assert results(outcomes(Distance(), frames(), executor=address)) == EXPECTED
    line = capsys.readouterr().err
    host = address.removeprefix("dask://")
    assert f"the scheduler has no worker yet; waiting for one (dask worker {host})" in line


def test_a_worker_without_the_module_of_the_user_is_named(cluster, tmp_path, monkeypatch, capsys):
    """The module can be imported here alone, as from the folder of the command."""
    (tmp_path / "module_of_the_user.py").write_text(
        "from ase.calculators.emt import EMT\ndef distance(frame): return 0.0\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import module_of_the_user

    start = time.monotonic()
    with pytest.raises(InputError, match=r"^on the worker tcp:.* named 'module_of_the_user"):
        list(outcomes(module_of_the_user.distance, frames(), executor=cluster))
    write("train.xyz", frames()[0].atoms)
    command = ["hessian", "train.xyz", "--calculator", "module_of_the_user:EMT"]
    assert main([*command, "--executor", cluster]) == 2
    error = capsys.readouterr().err
    assert "piwsl hessian: on the worker tcp://127.0.0.1:" in error
    assert "No module named 'module_of_the_user'); workers of dask need" in error
    assert "start them in its environment, with its PYTHONPATH, in its folder" in error
    assert time.monotonic() - start < 10


def test_there_must_be_several_ranks(tmp_path, capsys):
    pytest.importorskip("mpi4py")
    write(tmp_path / "train.xyz", frames()[0].atoms)
    command = ["hessian", str(tmp_path / "train.xyz"), "--calculator", "ase.calculators.emt:EMT"]
    assert main([*command, "--executor", "mpi"]) == 2
    assert "there is one rank" in capsys.readouterr().err


@pytest.mark.slow
def test_the_ranks_of_an_mpi_job_give_the_same_labels(tmp_path):
    pytest.importorskip("mpi4py")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if not mpiexec.exists():
        pytest.skip("needs mpiexec beside this Python (the package mpich)")
    write(tmp_path / "train.xyz", [frame.atoms for frame in frames()])
    command = ["hessian", "train.xyz", "--calculator", "ase.calculators.emt:EMT", "--out"]
    python = [sys.executable, "-m"]
    runs = {
        "one.npz": [*python, "piwsl_plugins", *command, "one.npz"],
        "mpi.npz": [
            *(str(mpiexec), "-n", "3", *python, "mpi4py.futures", "-m", "piwsl_plugins"),
            *(*command, "mpi.npz", "--executor", "mpi"),
        ],
    }
    for line in runs.values():
        done = subprocess.run(
            line,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
    one, mpi = (read_labels(tmp_path / name) for name in runs)
    assert len(one) == len(mpi) == len(DISTANCES)
    for first, second in zip(one, mpi, strict=True):
        assert np.array_equal(first.hessian, second.hessian)
