"""All that is replaced in the process of ``nequip-train``, and how it is given back."""

from __future__ import annotations

import contextlib
import sys

import hydra.conf  # noqa: F401  (which stores Hydra's own configuration)
from hydra.core.config_store import ConfigStore

from ._command_line import absent_config, with_config_options
from ._errors import fail, shortened

#: name of the callback in Hydra's configuration
CALLBACK = "piwsl"
_undo = contextlib.ExitStack()


def attach() -> None:
    """Replace what a run that may have the PIWSL loss needs replaced.

    The command line's config file is named as Hydra wants it, ``sys.excepthook`` shortens errors,
    and Hydra's own configuration, to which the user's is then added, has one more callback.
    """
    given = sys.argv[1:]
    absent = absent_config(given)
    if absent is not None:
        fail(f"{absent}: there is no such config file")
    sys.argv[1:] = with_config_options(given)
    _undo.callback(sys.argv.__setitem__, slice(1, None), given)
    _shorten_errors()
    _add_callback()


def detach() -> None:
    """Give everything back, as the loss is another."""
    _undo.close()


def _shorten_errors() -> None:
    before = sys.excepthook
    ours = shortened(before)
    sys.excepthook = ours

    def undo() -> None:
        if sys.excepthook is ours:  # else another program's, which calls it
            sys.excepthook = before

    _undo.callback(undo)


def _add_callback() -> None:
    store = ConfigStore.instance()
    ours = store.load("hydra/config.yaml")  # a copy
    ours.node.callbacks[CALLBACK] = {"_target_": "piwsl_plugins.nequip._hydra.ConfigCallback"}
    stored = store.repo["hydra"]
    _undo.callback(stored.__setitem__, "config.yaml", stored["config.yaml"])
    stored["config.yaml"] = ours
