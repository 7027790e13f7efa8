"""Checkpoints that are in the folder of a run: of another run, or those that it goes on from."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from mace.tools import get_tag
from mace.tools.checkpoint import CheckpointIO

from .process import fail

#: what a restart takes from the checkpoint, though the data is read with the run's own
_OF_THE_DATA = {"r_max": "--r_max", "atomic_numbers": "elements"}


def check_checkpoints(args: Namespace, model: torch.nn.Module) -> None:
    """End a run that would end with the model of another, or go on with another than it says.

    Args:
        args: MACE's.
        model: the one to be trained.
    """
    folder = CheckpointIO(args.checkpoints_dir, get_tag(name=args.name, seed=args.seed))
    parsed = map(folder._parse_checkpoint_path, folder._list_file_paths())
    found = [one for one in parsed if one is not None and one.tag == folder.tag]
    if args.restart_latest:
        _require_same_model(args, model, found)
    else:
        _require_no_other_run(args, found)


def _require_no_other_run(args: Namespace, found: list[Any]) -> None:
    """End a run in whose folder there are later checkpoints of another one.

    At the end MACE 0.3.16 (``load_latest`` in mace/tools/checkpoint.py) takes the checkpoint of the
    highest epoch, whichever run of this name and seed wrote it. That of epoch 0 is written anew.
    """
    others = [one for one in found if one.epochs > 0 and (args.swa or not one.swa)]
    if others:
        latest = max(others, key=lambda one: one.epochs)
        fail(
            f"--name={args.name} --seed={args.seed}: {latest.path} is of a run before this one, "
            "and at the end MACE takes the checkpoint of the highest epoch for its result, "
            "whichever run wrote it; choose another --name or --checkpoints_dir, remove this "
            "file, or go on with that run (--restart_latest)"
        )


def _require_same_model(args: Namespace, model: torch.nn.Module, found: list[Any]) -> None:
    """End a restart with another model than that of the checkpoint.

    MACE 0.3.16 (mace/cli/run_train.py) begins anew where the checkpoint does not fit, without a
    word; where it fits it takes the cutoff and the elements of the checkpoint, not those of the
    data.
    """
    # as MACE does, those of stage two first
    candidates = [one for one in found if one.swa] or found
    if not candidates:
        return
    path = max(candidates, key=lambda one: one.epochs).path
    try:
        before = torch.load(path, map_location="cpu")["model"]
    except Exception as error:  # those of unpickling are of every kind
        reason = (str(error).splitlines() or [""])[0]
        fail(
            f"--restart_latest: {path} cannot be read ({type(error).__name__}: {reason}), and MACE "
            "would begin anew; remove it, to go on from the checkpoint before it if there is one"
        )
    now = {name: value.cpu() for name, value in model.state_dict().items()}
    differing = [name for name in now if name in before and before[name].shape != now[name].shape]
    other = [
        f"{called} {before[name].tolist()}, not {now[name].tolist()}"
        for name, called in _OF_THE_DATA.items()
        if name in before and not _equal(before[name], now[name])
    ]
    # other kernels keep the same weights in other shapes
    if differing and not (other or args.enable_cueq or args.enable_oeq):
        name = differing[0]
        other = [f"'{name}' of shape {tuple(before[name].shape)}, not {tuple(now[name].shape)}"]
    if other:
        fail(
            f"--restart_latest: {path} is of another model ({'; '.join(other)}), so that MACE "
            "would begin anew, or train it on other neighbours or elements than it has; give the "
            "options and elements of that run, or begin another one with another --name"
        )


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and bool(torch.isclose(first, second.to(first)).all())
