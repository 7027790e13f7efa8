"""Entry point ``lightning.pytorch.callbacks_factory``: every Lightning ``Trainer`` calls this."""

from __future__ import annotations

import sys
from typing import Any


def callbacks() -> list[Any]:
    """The PIWSL callback if NequIP is in use, nothing in other programs."""
    if "nequip" not in sys.modules:
        return []
    from .training import PIWSLCallback

    return [PIWSLCallback()]
