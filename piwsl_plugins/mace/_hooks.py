"""Where PIWSL hooks into mace-torch; registrations only, no physics.

Checked against mace-torch 0.3.16. A hook point is a function of one of MACE's modules that
is replaced right after its module has run, so that every later ``from … import`` binds the
wrapped one. With another loss than ``piwsl`` every wrapper hands over to MACE's function, in any
version of MACE.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import arguments, process

SUPPORTED_VERSIONS = "mace-torch >= 0.3.16, < 0.4"
_LOWEST, _BELOW = (0, 3, 16), (0, 4)


#: takes MACE's function with its arguments bound, and these by name
TakeOver = Callable[[Callable[..., Any], "dict[str, Any]"], Any]
Hook = Callable[[Callable[..., Any]], Callable[..., Any]]


def _build_default_arg_parser(original: Callable[..., ArgumentParser]) -> Callable[..., Any]:
    @functools.wraps(original)
    def build_default_arg_parser(*args: Any, **keywords: Any) -> ArgumentParser:
        parser = original(*args, **keywords)
        arguments.add_arguments(parser)
        return parser

    return build_default_arg_parser


def _check_args(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def check_args(args: Namespace) -> Any:
        problem = installation_problem() if getattr(args, "loss", None) == "piwsl" else None
        if problem:
            process.fail(problem)
        messages = arguments.resolve(args)
        result = original(args)
        if not messages:  # another loss: what other versions return is theirs
            return result
        args, log_messages = result
        return args, log_messages + messages

    return check_args


def _handed_over(module: str, name: str, condition: Callable[[dict[str, Any]], bool]) -> Hook:
    """A hook that hands a function over to one of ours where PIWSL is on.

    Args:
        module: of this package, loaded then.
        name: of its function, which is called with MACE's function, its arguments bound, and with
            these arguments by name.
        condition: whether PIWSL is on, from the arguments by name.
    """

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def wrapped(*args: Any, **keywords: Any) -> Any:
            bound = signature.bind(*args, **keywords)
            bound.apply_defaults()
            run = functools.partial(original, *args, **keywords)
            if not condition(bound.arguments):
                return run()
            take_over: TakeOver = getattr(importlib.import_module(f".{module}", __package__), name)
            return take_over(run, bound.arguments)

        return wrapped

    return wrap


def _selected(bound: dict[str, Any]) -> bool:
    return arguments.is_selected(bound.get("args"))


def _in_this_process(bound: dict[str, Any]) -> bool:
    return process.is_selected()


def _has_our_loss(bound: dict[str, Any]) -> bool:
    ours = sys.modules.get(f"{__package__}.loss")  # loaded where there is such a loss
    return ours is not None and isinstance(bound.get("loss_fn"), ours.PIWSLLoss)


HOOK_POINTS: dict[str, dict[str, Hook]] = {
    "mace.data.utils": {
        "estimate_e0s_from_foundation": _handed_over(
            "fitted_energies", "estimate_E0s", _in_this_process
        ),
        "load_from_xyz": _handed_over("files", "load_checked", _in_this_process),
    },
    "mace.tools.arg_parser": {"build_default_arg_parser": _build_default_arg_parser},
    "mace.tools.arg_parser_tools": {"check_args": _check_args},
    "mace.tools.model_script_utils": {
        # the first function that sees data, elements and heads together
        "configure_model": _handed_over("data", "prepare", _selected)
    },
    "mace.tools.run_train_utils": {
        "load_dataset_for_path": _handed_over("lazy_files", "load_dataset", _in_this_process),
    },
    "mace.tools.scripts_utils": {
        "get_avg_num_neighbors": _handed_over("arguments", "check_batch_size", _selected),
        "get_loss_fn": _handed_over("loss", "build_loss", _selected),
        "get_swa": _handed_over("loss", "build_stage_two", _selected),
    },
    "mace.tools.train": {
        "train": _handed_over("training", "train", _has_our_loss),
        "train_one_epoch": _handed_over("training", "train_one_epoch", _has_our_loss),
        "evaluate": _handed_over("training", "evaluate", _has_our_loss),
    },
}


def patch(module: ModuleType) -> None:
    """Replace the hook points of one freshly imported MACE module; a missing one is left."""
    for hook_point, wrap in HOOK_POINTS[module.__name__].items():
        original = getattr(module, hook_point, None)
        if original is not None and not hasattr(original, "piwsl_original"):
            wrapped = wrap(original)
            wrapped.piwsl_original = original  # type: ignore[attr-defined]
            setattr(module, hook_point, wrapped)


def activate() -> None:
    """Hook into MACE now, imported already or not.

    Names that other MACE modules have bound to a hook point are bound to the wrapped one.
    """
    wrapped = {}
    for module_name, hook_points in HOOK_POINTS.items():
        module = importlib.import_module(module_name)
        patch(module)
        for hook_point in hook_points:
            function = getattr(module, hook_point, None)
            original = getattr(function, "piwsl_original", None)
            if original is not None:
                wrapped[id(original)] = function
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "mace":
            for name, value in list(vars(module).items()):
                if id(value) in wrapped:
                    setattr(module, name, wrapped[id(value)])


def installation_problem() -> str | None:
    """Why PIWSL cannot run with the installed mace-torch, in one sentence, or None."""
    version = importlib.metadata.version("mace-torch")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    missing = [
        f"{name}.{hook_point}"
        for name, hook_points in HOOK_POINTS.items()
        for hook_point in hook_points
        if not hasattr(getattr(importlib.import_module(name), hook_point, None), "piwsl_original")
    ]
    if _LOWEST <= numbers < _BELOW and not missing:
        return None
    found = f", and these hook points are not active: {', '.join(missing)}" if missing else ""
    return (
        f"--loss=piwsl cannot be used with mace-torch {version}: supported is "
        f"{SUPPORTED_VERSIONS}{found}; install a supported version with "
        'pip install "piwsl-plugins[mace]", or choose another --loss'
    )
