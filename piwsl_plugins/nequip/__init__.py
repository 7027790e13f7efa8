"""The adapter for NequIP and Allegro; ``_extension`` and ``_callback`` say how it attaches.

``piwsl_plugins.nequip.PIWSLLoss`` is loaded on first use: NequIP imports this package whenever
it is imported itself, whatever loss a run has.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loss import PIWSLLoss

__all__ = ["PIWSLLoss"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import loss

        return getattr(loss, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
