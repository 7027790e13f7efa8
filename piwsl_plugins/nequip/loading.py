"""The loader of training data, which says what the terms need to know of its batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..terms.loading import Describing, describing
from ..terms.training import Training
from .host import NequIPHost


@contextlib.contextmanager
def described(datamodule: Any, host: NequIPHost, training: Training) -> Iterator[None]:
    """Let the loaders of training data and pool describe their batches, inside the context.

    Lightning 2.6 (``lightning/pytorch/loops/fit_loop.py``, ``setup_data``) asks the datamodule for
    the loader and starts its workers at once, with no callback between, so that for this time
    the datamodule has a ``train_dataloader`` of its own.

    Args:
        datamodule: Lightning's.
        host: with the model.
        training: with terms and pool.
    """
    make, arguments = datamodule.train_dataloader, (host.description, host.lists, training.terms)
    with contextlib.ExitStack() as loading:

        def train_dataloader() -> Any:
            loader = make()
            if not isinstance(loader.collate_fn, Describing):
                loading.enter_context(describing([loader], *arguments))
            return loader

        datamodule.train_dataloader = train_dataloader
        loading.callback(delattr, datamodule, "train_dataloader")
        if training.pool is not None:
            loading.enter_context(describing([training.pool], *arguments))
        yield
