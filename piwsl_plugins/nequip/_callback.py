"""Entry point ``lightning.pytorch.callbacks_factory``: every Lightning ``Trainer`` calls this."""

from __future__ import annotations

import sys
from typing import Any


def callbacks() -> list[Any]:
    """The PIWSL callback if NequIP is in use, nothing in other programs."""
    if "nequip" not in sys.modules:
        return []
    if "nequip.scripts.train" in sys.modules or "nequip.scripts.train" in sys.orig_argv:
        _refuse_unexpanded_loss()
    from .training import PIWSLCallback

    return [PIWSLCallback()]


def _refuse_unexpanded_loss() -> None:
    """End where ``loss: piwsl`` has not been expanded: in a program that calls NequIP's ``main``.

    NequIP makes its trainer before its training module, and would then say that it cannot
    instantiate a string. Hydra has written the config by then.
    """
    import contextlib
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra is None or hydra.output_subdir is None:
        return
    path = Path(hydra.runtime.output_dir, hydra.output_subdir, "config.yaml")
    loss = None
    with contextlib.suppress(OSError, OmegaConfBaseException):  # one cannot be resolved here
        loss = OmegaConf.select(OmegaConf.load(path), "training_module.loss")
    if isinstance(loss, str) and loss.lower() == "piwsl":
        from ._errors import fail

        fail(
            f"'training_module.loss: {loss}' is expanded by the command nequip-train alone; where "
            "another program calls nequip.scripts.train.main, write 'loss: ${piwsl:}' instead"
        )
