"""The adapter for NequIP and Allegro; ``_extension`` and ``_callback`` say how it attaches.

``piwsl_plugins.nequip.PIWSLLoss``, for configs, and ``PIWSL``, for loops of your own, are loaded on
first use: NequIP imports this package whenever it is imported itself, whatever loss a run has.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loop import PIWSL
    from .loss import PIWSLLoss

__all__ = ["PIWSL", "PIWSLLoss"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        import importlib

        module = importlib.import_module(f"{__name__}.{'loop' if name == 'PIWSL' else 'loss'}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
