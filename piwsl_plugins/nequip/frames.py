"""Frames of NequIP's datasets before and after the data transforms."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from nequip.data.dataset import AtomicDataset, HDF5Dataset, NequIPLMDBDataset
from nequip.data.transforms import NeighborListPruneTransform, NeighborListTransform

from .config import DataError

#: frames that are read at a time
BLOCK = 256

#: the fields of a frame, by name
Fields = dict[str, torch.Tensor]


def frames_of(dataset: Any) -> Iterator[tuple[int, Fields]]:
    """Number in its file and fields of each frame, before the transforms, which may fail on it."""
    return ((number, fields) for _, number, fields in located_frames(dataset))


def located_frames(dataset: Any) -> Iterator[tuple[Any, int, Fields]]:
    """The dataset that reads it, number in its file and fields of each frame, likewise."""
    with left_closed(dataset):
        for first in range(0, len(dataset), BLOCK):
            indices = range(first, min(first + BLOCK, len(dataset)))
            places = [_located(dataset, index) for index in indices]
            for _, block in itertools.groupby(places, key=lambda place: id(place[0])):
                sources, numbers = zip(*block, strict=True)
                for number, fields in zip(numbers, _raw(sources[0], numbers), strict=True):
                    yield sources[0], number, fields


@contextlib.contextmanager
def left_closed(dataset: Any) -> Iterator[None]:
    """Read frames in the context, and leave files closed that were closed.

    Once they have read a frame, NequIP 0.19's ``HDF5Dataset``
    (``nequip/data/dataset/hdf5_dataset.py``) cannot be handed to workers of a loader that are
    spawned, and the file of a ``NequIPLMDBDataset`` (``lmdb_dataset.py``) cannot be opened by
    another one in this process.
    """
    closed = [source for source in sources_of(dataset) if _is_closed(source)]
    try:
        yield
    finally:
        for source in closed:
            if isinstance(source, HDF5Dataset):
                source.index = None
            elif source._env is not None:
                source._env.close()
                source._env = source._owner_pid = None


def _is_closed(source: Any) -> bool:
    if isinstance(source, HDF5Dataset):
        return source.index is None
    return isinstance(source, NequIPLMDBDataset) and source._env is None


def seen(raw: Fields, source: Any) -> Fields:
    """A frame after the transforms of its dataset, as training sees it, but for neighbour lists.

    Args:
        raw: before them; it is left as it is.
        source: the dataset that reads it.

    Raises:
        DataError: naming a transform that fails on it.
    """
    return transformed(raw, needed(source))


def transformed(frame: Fields, transforms: Iterable[Callable[[Fields], Fields]]) -> Fields:
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


def needed(source: Any) -> list[Any]:
    """The transforms of :func:`seen`; what follows a search may read its neighbours."""
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
        parts: Sequence[Any] = dataset.datasets
        for part in parts:
            if index < len(part):
                return _located(part, index)
            index -= len(part)
    return dataset, index


def _raw(source: Any, numbers: Sequence[int]) -> Iterable[Fields]:
    """Frames before the transforms, where they can be had.

    ``NPZDataset`` of NequIP 0.19 (``nequip/data/dataset/npz_dataset.py``) reads all its arrays for
    each list of frames that it is asked for.
    """
    if _reads_raw(source):
        return list(source._get_data_list(list(numbers)))
    return (source[number] for number in numbers)


def _reads_raw(source: Any) -> bool:
    """Whether a dataset gives frames before its transforms, as NequIP's own do."""
    method = getattr(type(source), "_get_data_list", None)
    return method not in (None, AtomicDataset._get_data_list)
