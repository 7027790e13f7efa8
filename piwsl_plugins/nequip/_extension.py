"""Loaded by ``import nequip`` (entry point group ``nequip.extension``).

It registers a resolver, and attaches to ``nequip-train`` where a run may have the PIWSL loss. Else
it imports no more than NequIP itself has imported by then, and replaces nothing.
"""

from __future__ import annotations

import sys
from typing import Any

from omegaconf import OmegaConf

from . import _command_line


def _piwsl(*given: dict[str, Any]) -> dict[str, Any]:
    """The OmegaConf resolver ``${piwsl:}`` or ``${piwsl:{option: value, …}}``."""
    from .config import expand

    return expand(*given)


OmegaConf.register_new_resolver("piwsl", _piwsl, replace=True)

if _command_line.is_nequip_train(sys.argv, sys.orig_argv) and _command_line.may_be_ours(
    sys.argv[1:]
):
    from . import _attachment

    _attachment.attach()

# NequIP 0.19 logs, and stores in checkpoints, the version of the package that an extension's
# module is named for, None for a module within one (nequip/utils/versions/package_versions.py)
__name__ = __name__.partition(".")[0]
