"""A pool's frames for a model: structures beside the training set, with labels and weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ase.data
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_
from nequip.data._key_registry import get_field_type
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper

from ..errors import SettingsError
from ..frames.entries import Entry
from ..frames.structure import Structure
from ..progress import shown
from .config import DataError
from .frames import Fields, frames_of, is_search, transformed
from .levels import Chosen, carrying, level_of
from .structures import WEIGHT, numbers_of
from .tables import energy_of, problem_of_frame, structure_of

_STRUCTURE = (
    AtomicDataDict.POSITIONS_KEY,
    AtomicDataDict.CELL_KEY,
    AtomicDataDict.PBC_KEY,
    AtomicDataDict.ATOMIC_NUMBERS_KEY,
)
_N_ELEMENTS = len(ase.data.chemical_symbols)


class PoolFrames(torch.utils.data.Dataset[Any]):
    """Frames of a pool for a model: with types, neighbour lists, labels and weights.

    The transforms of the training data act on them, so that labels have the same units and signs.

    Attributes:
        elements: atomic numbers that the model knows.
    """

    def __init__(
        self,
        path: str,
        frames: Any,
        model: Any,
        labels: Collection[str],
        transforms: Sequence[Any] = (),
        example: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            path: of the file.
            frames: as the file has them (:mod:`piwsl_plugins.nequip.pool_files`).
            model: NequIP's.
            labels: fields that are kept, where a frame has them.
            transforms: of the training data; neighbours are found here, and types, by the
                training data's map of elements or else by type names that are symbols.
            example: a training frame before the transforms, whose labels they may ask for.
        """
        self.path, self._frames = path, frames
        self._r_max = float(model.metadata["r_max"])
        self.type_names = list(model.type_names)
        self._inputs = [key for key in model.model_input_fields if not key.startswith("edge")]
        self._fields = {*_STRUCTURE, *labels, *self._inputs}
        self._transforms = [one for one in transforms if not (is_search(one) or _finds_types(one))]
        self._labels = {
            key: value
            for key, value in (example or {}).items()
            if value.is_floating_point() and key not in (*_STRUCTURE, *self._inputs)
        }
        self._types = _types(self.type_names, list(filter(_finds_types, transforms)))
        self.elements = torch.nonzero(self._types >= 0).view(-1).tolist()
        self._structures: list[Structure] = []

    def __len__(self) -> int:
        return len(self._frames)

    def structures(self) -> list[Structure]:
        """What the model is given, from :meth:`entries`."""
        return self._structures

    def __getitem__(self, index: int) -> Fields:
        raw = self._frames[index]
        made: Fields = self._transformed(raw)
        kept = {*self._fields, *level_of(raw, made)}
        frame = {key: value for key, value in made.items() if key in kept}
        frame[WEIGHT] = torch.full((1, 1), _weight(raw), dtype=torch.float64)
        made = AtomicDataDict.with_batch_(compute_neighborlist_(frame, self._r_max))
        return made

    def _transformed(self, raw: Fields) -> Fields:
        """A frame with types, after the transforms, for which a label that lacks is NaN."""
        frame = {key: value for key, value in raw.items() if key != "weight"}
        if AtomicDataDict.ATOMIC_NUMBERS_KEY in raw or AtomicDataDict.ATOM_TYPE_KEY not in raw:
            frame[AtomicDataDict.ATOM_TYPE_KEY] = self._types[numbers_of(raw, self.type_names)]
        if not self._transforms:
            return frame
        counts = {"graph": 1, "node": AtomicDataDict.num_nodes(frame)}
        for key, example in self._labels.items():
            kind = get_field_type(key, error_on_unregistered=False)
            if key not in frame and kind in counts:
                frame[key] = example.new_full((counts[kind], *example.shape[1:]), torch.nan)
        return transformed(frame, self._transforms)

    def entries(
        self, unweighted: Sequence[str], read: Collection[str], levels: Chosen | None
    ) -> list[Entry]:
        """The frames as the file has them, each of which is looked at.

        Args:
            unweighted: names of supervised terms in which frames can have no weight but 1.
            read: labels that the supervised loss reads.
            levels: of theory, those whose frames carry terms.

        Raises:
            SettingsError: naming ``pool_file`` and the frame, for one that cannot be trained on.
        """
        found: list[Entry] = []
        self._structures = []
        frames = shown(frames_of(self._frames), "looking through the pool", len(self))
        for number, raw in frames:
            problem = problem_of_frame(raw) or _problem_of_weight(_weight(raw), unweighted)
            if problem:
                raise self._refused(number, problem)
            structure, made = structure_of(raw, self.type_names), raw
            if set(structure.numbers.tolist()) <= set(self.elements):  # else it is refused later
                made = self._made(number, raw, levels)
                self._structures.append(structure_of(made, self.type_names))
            labels = _labelled(made, read)
            found.append(Entry(structure, "the pool", number, labels, energy_of(made)))
        return found

    def _made(self, number: int, raw: Fields, levels: Chosen | None) -> Fields:
        """A frame after the transforms.

        Raises:
            SettingsError: if one fails, or if the frame lacks what the model reads.
        """
        try:
            made: Fields = self._transformed(raw)
        except DataError as error:
            remedy = (
                "what is done to the training data is done to the pool, too: give this frame "
                "what the transform reads, or remove it"
            )
            raise self._refused(number, f"{error}; {remedy}") from error
        asked = {AtomicDataDict.TOTAL_CHARGE_KEY, AtomicDataDict.TOTAL_SPIN_KEY}
        lacking = [key for key in asked & set(self._inputs) if key not in made]
        if lacking:
            raise self._refused(number, f"it has no '{lacking[0]}', which the model reads")
        absent = [name for name in levels or () if name not in made]
        if absent:
            raise self._refused(
                number, f"nothing says of what level of theory it is: it has no '{absent[0]}'"
            )
        if not carrying(made, levels or {}, 1).all():
            raise self._refused(
                number, f"it is of another level of theory than levels = {dict(levels or {})}"
            )
        return made

    def _refused(self, number: int, problem: str) -> SettingsError:
        return SettingsError("pool_file", self.path, f"frame {number} (from 0): {problem}")


def _types(type_names: Sequence[str], mappers: Sequence[Any]) -> torch.Tensor:
    """The type of each atomic number, ``(n_elements,)``; -1 where there is none."""
    types = torch.full((_N_ELEMENTS,), -1)
    if mappers:
        table = mappers[0].lookup_table[:_N_ELEMENTS]
        types[: len(table)] = table
        return types
    for index, name in enumerate(type_names):
        if name in ase.data.atomic_numbers:
            types[ase.data.atomic_numbers[name]] = index
    return types


def _finds_types(transform: Any) -> bool:
    return isinstance(transform, ChemicalSpeciesToAtomTypeMapper)


def _labelled(fields: Fields, read: Collection[str]) -> frozenset[str]:
    """The labels that count: known of an atom at least, for all its components."""
    return frozenset(
        name
        for name in read
        if name in fields
        and bool(fields[name].reshape(len(fields[name]), -1).isfinite().all(dim=-1).any())
    )


def _weight(fields: Fields) -> float:
    return float(fields.get("weight", 1.0))


def _problem_of_weight(weight: float, unweighted: Sequence[str]) -> str | None:
    if not (math.isfinite(weight) and weight >= 0):
        return f"its weight is {weight}; allowed is a number of at least 0"
    if weight != 1.0 and unweighted:
        return (
            f"its weight is {weight:g}, but weights multiply squared errors, and the loss' "
            f"term {unweighted[0]!r} is none; remove 'weight' from the file, or use "
            "nequip.train.MeanSquaredError"
        )
    return None
