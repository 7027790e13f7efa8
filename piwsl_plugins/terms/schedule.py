"""When the PIWSL terms act: start epoch, linear ramp, every k-th step."""

from __future__ import annotations

from ..options.settings import Schedule


def weight_factor(options: Schedule, epoch: int, step: int) -> float:
    """Factor by which the PIWSL weights are multiplied.

    Args:
        options: when the terms act.
        epoch: current epoch, from 0.
        step: optimiser step since the start of training, from 0.

    Returns:
        0 before ``start_epoch`` and in the steps that ``interval`` leaves out; then
        k/(ramp_epochs + 1) in the k-th epoch of the ramp, and 1 after it.
    """
    if epoch < options.start_epoch or step % options.interval != 0:
        return 0.0
    return min(1.0, (epoch - options.start_epoch + 1) / (options.ramp_epochs + 1))
