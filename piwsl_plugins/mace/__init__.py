"""The adapter for MACE (mace-torch); :mod:`piwsl_plugins.mace._hooks` is how it attaches.

``piwsl_plugins.mace.PIWSL`` is for loops of your own. It is loaded on first use: MACE's start-up
imports this package before torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loop import PIWSL

__all__ = ["PIWSL"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
