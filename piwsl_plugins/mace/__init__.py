"""The adapter for MACE (mace-torch); :mod:`piwsl_plugins.mace._hooks` is how it attaches.

``piwsl_plugins.mace.PIWSL`` is for loops of your own. It is loaded on first use: every start of an
interpreter imports this package, which therefore imports nothing, not even ``typing``.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .loop import PIWSL

__all__ = ["PIWSL"]


def __getattr__(name: str) -> "Any":
    if name in __all__:
        from . import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
