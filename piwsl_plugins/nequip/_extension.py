"""Loaded by ``import nequip`` (entry point group ``nequip.extension``); registrations only.

It imports no more than NequIP itself has imported by then.
"""

from __future__ import annotations

import sys

from omegaconf import OmegaConf

from . import _command_line


def _piwsl(*given: dict) -> dict:
    """The OmegaConf resolver ``${piwsl:}`` or ``${piwsl:{option: value, …}}``."""
    from .config import expand

    return expand(*given)


OmegaConf.register_new_resolver("piwsl", _piwsl, replace=True)

if _command_line.is_nequip_train(sys.argv, sys.orig_argv):
    sys.argv[1:] = _command_line.with_config_options(sys.argv[1:])
    _command_line.shorten_errors()
    from . import _hydra

    _hydra.register()
