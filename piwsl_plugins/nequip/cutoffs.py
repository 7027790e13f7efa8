"""Whether training frames have the neighbours that displaced structures are given.

Displaced structures have all neighbours within the model's cutoff, those of frames come from the
data's transforms. Where they differ, so does the energy at a displacement of zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.data.transforms import NeighborListTransform
from nequip.nn.embedding import EdgeLengthNormalizer
from nequip.nn.embedding.utils import cutoff_str_to_fulldict
from nequip.nn.graph_model import PER_EDGE_TYPE_CUTOFF_KEY, R_MAX_KEY

from .config import DataError
from .data import Datasets
from .frames import Fields, left_closed, sources_of

#: frames of each data set that are looked at
_N_FRAMES = 4
#: relative to the cutoff: nearer to it, whether an edge is there is a matter of rounding
_ROUNDING = 1e-5
_STRUCTURE = (
    AtomicDataDict.POSITIONS_KEY,
    AtomicDataDict.CELL_KEY,
    AtomicDataDict.PBC_KEY,
    AtomicDataDict.ATOM_TYPE_KEY,
)


def check_cutoffs(datasets: Datasets, model: Any) -> None:
    """Refuse training frames that lack neighbours within the model's cutoff.

    Edges beyond it are left alone: its cutoff function makes them nothing. So are those beyond
    the model's own cutoffs by types of atoms, which data may leave out or hold.

    Args:
        datasets: those of "train" are looked at, a few frames of each.
        model: NequIP's.

    Raises:
        DataError: naming the data, both cutoffs and the remedy.
    """
    names, r_max = list(model.type_names), float(model.metadata[R_MAX_KEY])
    by_types = cutoff_str_to_fulldict(model.metadata.get(PER_EDGE_TYPE_CUTOFF_KEY), names)
    relative = EdgeLengthNormalizer(r_max, names, by_types)
    search = NeighborListTransform(r_max)
    for name, dataset in datasets["train"]:
        with left_closed(dataset):
            for frame in _some_frames(dataset):
                if AtomicDataDict.EDGE_INDEX_KEY not in frame:  # the model looks for them
                    continue
                given, longest = _edges(frame, relative)
                structure = {key: frame[key] for key in _STRUCTURE if key in frame}
                structure.setdefault(AtomicDataDict.PBC_KEY, torch.zeros(3, dtype=torch.bool))
                within, _ = _edges(search(structure), relative)
                if given != within:
                    found = f"of {within} edges of a frame it has {given}, up to {longest:.3g} Å"
                    raise _refused(name, found, r_max, by_types is not None)
        # frames that are looked at may have no atoms between two cutoffs
        for stated in _stated(dataset) if by_types is None else ():
            if stated < r_max * (1 - _ROUNDING):
                raise _refused(name, f"it has edges up to {stated:g} Å", r_max, False)


def _refused(name: str, found: str, r_max: float, by_types: bool) -> DataError:
    if by_types:
        pruning = "and the per_edge_type_cutoff of the model, or none"
    else:
        pruning = "and no per_edge_type_cutoff, and leave NeighborListPruneTransform out"
    return DataError(
        f"{name}: {found}, where the model's cutoff is r_max {r_max:g} Å; PIWSL would compare "
        "frames with displaced structures of other neighbours; give the data's "
        f"NeighborListTransform r_max: {r_max:g} {pruning}"
    )


def _stated(dataset: Any) -> Iterator[float]:
    """The cutoff of the last search among the transforms of each part of a dataset, in Å."""
    for source in sources_of(dataset):
        transforms = getattr(source, "transforms", ())
        searches = [one.r_max for one in transforms if isinstance(one, NeighborListTransform)]
        yield from searches[-1:]


def _some_frames(dataset: Any) -> Iterator[Fields]:
    """Frames after all transforms, evenly spaced in each part of a dataset."""
    if isinstance(dataset, torch.utils.data.ConcatDataset):
        for part in dataset.datasets:
            yield from _some_frames(part)
        return
    n_frames = len(dataset)
    for place in sorted({i * (n_frames - 1) // (_N_FRAMES - 1) for i in range(_N_FRAMES)}):
        yield dataset[place]


def _edges(frame: Fields, relative: EdgeLengthNormalizer) -> tuple[int, float]:
    """Number of edges within the model's cutoff, and length of the longest of all in Å."""
    measured = relative(dict(frame))
    lengths = measured[AtomicDataDict.EDGE_LENGTH_KEY]
    near = measured[AtomicDataDict.NORM_LENGTH_KEY] < 1 - _ROUNDING
    return int(near.sum()), float(lengths.max()) if len(lengths) else 0.0
