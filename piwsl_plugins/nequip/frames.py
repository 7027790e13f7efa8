"""Frames of NequIP's datasets before and after the data transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.data.dataset import AtomicDataset
from nequip.data.transforms import NeighborListPruneTransform, NeighborListTransform

from .config import DataError

Frame = AtomicDataDict.Type


def frames_of(dataset: Any) -> Iterator[tuple[int, Frame]]:
    """Number in its file and fields of each frame, before the transforms, which may fail on it."""
    for index in range(len(dataset)):
        source, number = _located(dataset, index)
        yield number, _raw(source, number)


def seen_frames(name: str, dataset: Any) -> Iterator[Frame]:
    """Fields of each frame after the transforms, as training sees them, but for neighbour lists.

    Args:
        name: of the dataset, for errors.
        dataset: any.

    Raises:
        DataError: naming a frame that a transform fails on.
    """
    for index in range(len(dataset)):
        source, number = _located(dataset, index)
        try:
            yield transformed(_raw(source, number), _needed(source))
        except DataError as error:
            raise DataError(f"{name}, frame {number} (from 0): {error}") from error


def transformed(frame: Frame, transforms: Iterable[Callable[[Frame], Frame]]) -> Frame:
    """A frame after data transforms, one after the other; the frame itself is left as it is.

    Raises:
        DataError: naming a transform that fails on it.
    """
    frame = {key: value.clone() for key, value in frame.items()}
    for transform in transforms:
        try:
            frame = transform(frame)
        except Exception as error:  # transforms raise errors of every kind
            reason = f"{type(error).__name__}: {error}"
            named = getattr(transform, "__name__", type(transform).__name__)
            raise DataError(f"the data transform {named} fails on it ({reason})") from error
    return frame


def is_search(transform: Any) -> bool:
    """Whether a transform looks for neighbours, which takes longer than all others."""
    return isinstance(transform, (NeighborListTransform, NeighborListPruneTransform))


def sources_of(dataset: Any) -> list[Any]:
    """The datasets that read files, of which a dataset is a part or the whole."""
    if isinstance(dataset, torch.utils.data.Subset):
        return sources_of(dataset.dataset)
    if isinstance(dataset, torch.utils.data.ConcatDataset):
        return [source for part in dataset.datasets for source in sources_of(part)]
    return [dataset]


def _needed(source: Any) -> list[Any]:
    """Transforms but for searches at the end; what follows a search may read its neighbours."""
    if not _reads_raw(source):
        return []
    transforms = list(source.transforms)
    while transforms and is_search(transforms[-1]):
        transforms.pop()
    return transforms


def _located(dataset: Any, index: int) -> tuple[Any, int]:
    """The dataset that reads a frame, and the frame's number in its file."""
    if isinstance(dataset, torch.utils.data.Subset):
        return _located(dataset.dataset, int(dataset.indices[index]))
    if isinstance(dataset, torch.utils.data.ConcatDataset):
        for part in dataset.datasets:
            if index < len(part):
                return _located(part, index)
            index -= len(part)
    return dataset, index


def _raw(source: Any, number: int) -> Frame:
    """A frame before the transforms, where it can be had."""
    return source._get_data_list([number])[0] if _reads_raw(source) else source[number]


def _reads_raw(source: Any) -> bool:
    """Whether a dataset gives frames before its transforms, as NequIP's own do."""
    method = getattr(type(source), "_get_data_list", None)
    return method not in (None, AtomicDataset._get_data_list)
