"""Where PIWSL hooks into mace-torch; registrations only, no physics.

Checked against mace-torch 0.3.16. A hook point is a function of one of MACE's modules that
is replaced right after its module has run, so that every later ``from … import`` binds the
wrapped one. With another loss than ``piwsl`` every wrapper hands over to MACE's function.
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

from . import arguments

SUPPORTED_VERSIONS = "mace-torch >= 0.3.16, < 0.4"
_LOWEST, _BELOW = (0, 3, 16), (0, 4)


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
            arguments.fail(problem)
        messages = arguments.resolve(args)
        args, log_messages = original(args)
        return args, log_messages + messages

    return check_args


def _get_loss_fn(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_loss_fn(args: Namespace, *rest: Any, **keywords: Any) -> Any:
        if not arguments.is_selected(args):
            return original(args, *rest, **keywords)
        from .loss import build_loss

        return build_loss(args, functools.partial(original, args, *rest, **keywords))

    return get_loss_fn


def _get_swa(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_swa(args: Namespace, *rest: Any, **keywords: Any) -> Any:
        if not arguments.is_selected(args):
            return original(args, *rest, **keywords)
        from .loss import build_stage_two

        return build_stage_two(args, functools.partial(original, args, *rest, **keywords))

    return get_swa


def _get_avg_num_neighbors(original: Callable[..., Any]) -> Callable[..., Any]:
    """The first function of MACE that sees the training data and the arguments together."""

    @functools.wraps(original)
    def get_avg_num_neighbors(
        head_configs: Any, args: Namespace, train_loader: Any, *rest: Any, **keywords: Any
    ) -> Any:
        if arguments.is_selected(args):
            from .labels import check_labels

            check_labels(args, train_loader.dataset)
        return original(head_configs, args, train_loader, *rest, **keywords)

    return get_avg_num_neighbors


def _configure_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """The function that sees the data, the foundation model and the element table together."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def configure_model(*args: Any, **keywords: Any) -> Any:
        bound = signature.bind(*args, **keywords).arguments
        if arguments.is_selected(bound["args"]):
            from .labels import scale_by_force_labels
            from .sources import prepare

            scale_by_force_labels(*(bound[n] for n in ("args", "train_loader", "atomic_energies")))
            names = ("args", "train_loader", "model_foundation", "heads", "z_table", "head_configs")
            prepare(*(bound[name] for name in names))
        return original(*args, **keywords)

    return configure_model


def _if_loss_is_ours(module: str, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A hook on a function of MACE's training loop that has an argument ``loss_fn``.

    Args:
        module: of this package, loaded when the loss is PIWSL.
        name: of its function that takes over, called with MACE's function, its arguments bound,
            and with these arguments by name.
    """

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def wrapped(*args: Any, **keywords: Any) -> Any:
            from .loss import PIWSLLoss

            bound = signature.bind(*args, **keywords)
            bound.apply_defaults()
            run = functools.partial(original, *args, **keywords)
            if not isinstance(bound.arguments["loss_fn"], PIWSLLoss):
                return run()
            take_over = getattr(importlib.import_module(f".{module}", __package__), name)
            return take_over(run, bound.arguments)

        return wrapped

    return wrap


def _config_from_atoms(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def config_from_atoms(atoms: Any, *args: Any, **keywords: Any) -> Any:
        config = original(atoms, *args, **keywords)
        if arguments.selected_in_this_process() and atoms.constraints:
            from .labels import move_mask

            config.properties["move_mask"] = move_mask(atoms)
        return config

    return config_from_atoms


def _atomic_data_init(original: Callable[..., None]) -> Callable[..., None]:
    """MACE's collation needs the same keys in every structure, whatever file it is from."""

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **keywords: Any) -> None:
        if arguments.selected_in_this_process() and "move_mask" not in keywords:
            from .labels import all_movable

            keywords["move_mask"] = all_movable(keywords["positions"])
        original(self, *args, **keywords)

    return __init__


HOOK_POINTS: dict[str, dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]]] = {
    "mace.data.utils": {"config_from_atoms": _config_from_atoms},
    "mace.data.atomic_data": {"AtomicData.__init__": _atomic_data_init},
    "mace.tools.arg_parser": {"build_default_arg_parser": _build_default_arg_parser},
    "mace.tools.arg_parser_tools": {"check_args": _check_args},
    "mace.tools.model_script_utils": {"configure_model": _configure_model},
    "mace.tools.scripts_utils": {
        "get_loss_fn": _get_loss_fn,
        "get_swa": _get_swa,
        "get_avg_num_neighbors": _get_avg_num_neighbors,
    },
    "mace.tools.train": {
        "train": _if_loss_is_ours("softening", "train_with_guard"),
        "train_one_epoch": _if_loss_is_ours("training", "train_one_epoch_with_piwsl"),
        "evaluate": _if_loss_is_ours("softening", "evaluate_with_guard"),
    },
}


def _find(module: ModuleType | None, hook_point: str) -> tuple[Any, str, Any]:
    """The owner (module or class) of a hook point, its name there, and what is there now."""
    *owners, name = hook_point.split(".")
    owner = functools.reduce(lambda parent, part: getattr(parent, part, None), owners, module)
    return owner, name, getattr(owner, name, None)


def patch(module: ModuleType) -> None:
    """Replace the hook points of one freshly imported MACE module; a missing one is left."""
    for hook_point, wrap in HOOK_POINTS[module.__name__].items():
        owner, name, original = _find(module, hook_point)
        if original is not None and not hasattr(original, "piwsl_original"):
            wrapped = wrap(original)
            wrapped.piwsl_original = original  # type: ignore[attr-defined]
            setattr(owner, name, wrapped)


def activate() -> None:
    """Hook into MACE now, imported already or not.

    Names that other MACE modules have bound to a hook point are bound to the wrapped one.
    """
    wrapped = {}
    for module_name, hook_points in HOOK_POINTS.items():
        module = importlib.import_module(module_name)
        patch(module)
        for hook_point in hook_points:
            function = _find(module, hook_point)[2]
            if hasattr(function, "piwsl_original"):
                wrapped[id(function.piwsl_original)] = function
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
        f"{module_name}.{hook_point}"
        for module_name, hook_points in HOOK_POINTS.items()
        for hook_point in hook_points
        if not hasattr(_find(importlib.import_module(module_name), hook_point)[2], "piwsl_original")
    ]
    if _LOWEST <= numbers < _BELOW and not missing:
        return None
    found = f", and these hook points are not active: {', '.join(missing)}" if missing else ""
    return (
        f"--loss=piwsl cannot be used with mace-torch {version}: supported is "
        f"{SUPPORTED_VERSIONS}{found}; install a supported version with "
        'pip install "piwsl-plugins[mace]", or choose another --loss'
    )
