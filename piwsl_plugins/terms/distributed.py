"""The ranks of a training."""

from __future__ import annotations

import torch


def n_ranks() -> int:
    """Number of ranks, 1 without torch.distributed."""
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if several else 1


def rank() -> int:
    """That of this process, 0 without torch.distributed."""
    return torch.distributed.get_rank() if n_ranks() > 1 else 0
