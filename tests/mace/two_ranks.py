"""Work on two CPU ranks (gloo), each a process of its own."""

import os
import time
from pathlib import Path

import torch
import torch.multiprocessing as multiprocessing


def on_two_ranks(folder, work, *args):
    """What ``work(rank, *args)`` gives on each rank; a function of a module's top level.

    Ranks are forked by a process that has imported torch and the framework once.
    """
    multiprocessing.set_forkserver_preload([work.__module__])
    given = (str(folder), work, args)
    multiprocessing.start_processes(_run, args=given, nprocs=2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def _run(rank, folder, work, args):
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    torch.save(work(rank, *args), f"{folder}/{rank}.pt")
    while not Path(folder, f"{1 - rank}.pt").exists():
        time.sleep(0.01)
    # not the ordinary end: torch's ProcessGroupGloo joins its threads with Python's lock held,
    # which a thread that drops the last all-reduce waits for
    os._exit(0)
