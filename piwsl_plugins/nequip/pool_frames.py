"""A pool's file as NequIP's frames: structures beside the training set, with labels and weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import ase
import ase.data
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.data._key_registry import get_field_type
from nequip.data.dataset import NequIPLMDBDataset
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper

from ..core.hessian_targets import Geometry
from ..core.pool_checks import PoolFrame, TrainingFrames, look_through
from ..core.progress import shown
from ..core.structures import check_exists, read_structures
from ..errors import SettingsError
from ..frames.checks import geometry_digest
from .config import DataError
from .data import Datasets, logger, problem_of_frame
from .frames import Frame, frames_of, is_search, transformed
from .structures import WEIGHT, numbers_of

#: names of labels in files where the training data has no key_mapping
KEYS = {
    "REF_energy": AtomicDataDict.TOTAL_ENERGY_KEY,
    "REF_forces": AtomicDataDict.FORCE_KEY,
    "REF_stress": AtomicDataDict.STRESS_KEY,
    "total_energy": AtomicDataDict.TOTAL_ENERGY_KEY,
}
_STRUCTURE = (
    AtomicDataDict.POSITIONS_KEY,
    AtomicDataDict.CELL_KEY,
    AtomicDataDict.PBC_KEY,
    AtomicDataDict.ATOMIC_NUMBERS_KEY,
)


class PoolFrames(torch.utils.data.Dataset):
    """Frames of a pool for a model: with types, neighbour lists, labels and weights.

    The transforms of the training data act on them, so that labels have the same units and signs.
    """

    def __init__(
        self,
        path: str,
        model: Any,
        labels: Collection[str],
        reading: Mapping[str, Any],
        transforms: Sequence[Any] = (),
        example: Frame | None = None,
    ) -> None:
        """
        Args:
            path: an LMDB file of NequIP (\\*.lmdb), read frame by frame, or one that ASE reads.
            model: NequIP's; its types are element symbols.
            labels: fields that are kept, where a frame has them.
            reading: arguments of NequIP's ``from_ase``, which say what labels are called.
            transforms: of the training data; types and neighbours are found here.
            example: a training frame before the transforms, whose labels they may ask for.

        Raises:
            SettingsError: naming ``pool_file``, if it cannot be used.
        """
        self.path, self._r_max = path, float(model.metadata["r_max"])
        self.type_names = list(model.type_names)
        inputs = [key for key in model.model_input_fields if not key.startswith("edge")]
        self._fields = {*_STRUCTURE, *labels, *inputs}
        self._transforms = [one for one in transforms if not (is_search(one) or _finds_types(one))]
        self._labels = {
            key: value
            for key, value in (example or {}).items()
            if value.is_floating_point() and key not in (*_STRUCTURE, *inputs)
        }
        check_exists(path, "pool_file")
        if path.endswith(".lmdb"):
            try:
                self._frames: Any = NequIPLMDBDataset(path)
            except Exception as error:  # of the lmdb package, or of pickle
                raise SettingsError("pool_file", path, f"it cannot be read ({error})") from error
        else:
            structures = read_structures(path, "pool_file")
            self._frames = [_from_ase(atoms, reading) for atoms in structures]
        self._types = torch.full((len(ase.data.chemical_symbols),), -1)
        for index, name in enumerate(self.type_names):
            self._types[ase.data.atomic_numbers.get(name, 0)] = index

    def __len__(self) -> int:
        return len(self._frames)

    def seen(self) -> Iterator[Frame]:
        """The frames as the model is given them, but for neighbour lists."""
        return (self._transformed(self._frames[index]) for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        raw = self._frames[index]
        seen = self._transformed(raw)
        frame = {key: value for key, value in seen.items() if key in self._fields}
        frame[WEIGHT] = torch.full((1, 1), _weight(raw), dtype=torch.float64)
        return AtomicDataDict.with_batch_(compute_neighborlist_(frame, self._r_max))

    def _transformed(self, raw: Frame) -> Frame:
        """A frame with types, after the transforms, for which a label that lacks is NaN."""
        frame = {key: value for key, value in raw.items() if key != "weight"}
        frame[AtomicDataDict.ATOM_TYPE_KEY] = self._types[numbers_of(raw, self.type_names)]
        if not self._transforms:
            return frame
        counts = {"graph": 1, "node": AtomicDataDict.num_nodes(frame)}
        for key, example in self._labels.items():
            kind = get_field_type(key, error_on_unregistered=False)
            if key not in frame and kind in counts:
                frame[key] = example.new_full((counts[kind], *example.shape[1:]), torch.nan)
        return transformed(frame, self._transforms)

    def look_through(
        self, datasets: Datasets, unweighted: Sequence[str] = (), energies: bool = True
    ) -> Iterator[Geometry]:
        """The geometries of the frames, which are looked at on the way.

        Args:
            datasets: of NequIP's datamodule.
            unweighted: names of supervised terms in which frames can have no weight but 1.
            energies: whether theirs are trained on, and must be of the training frames' scale.

        Raises:
            SettingsError: naming ``pool_file`` and the frame, for a pool that cannot be trained
                on, or that the model is validated or tested on.
        """
        held_out = {
            self._digest(frame): (place, number)
            for split in ("val", "test")
            for place, dataset in ((f"the {name}", one) for name, one in datasets[split])
            for number, frame in frames_of(dataset)
        }
        training = TrainingFrames()
        for _, frame in (pair for _, dataset in datasets["train"] for pair in frames_of(dataset)):
            training.add(*self._geometry(frame), _energy(frame) if energies else None)
        elements = [
            ase.data.atomic_numbers[name]
            for name in self.type_names
            if name in ase.data.atomic_numbers
        ]
        frames = self._frames_to_check(unweighted)
        logger.info((yield from look_through(self.path, frames, elements, held_out, training)))

    def _frames_to_check(self, unweighted: Sequence[str]) -> Iterator[PoolFrame]:
        raw = (self._frames[index] for index in range(len(self)))
        for index, frame in enumerate(shown(raw, "looking through the pool", len(self))):
            problem, weight = problem_of_frame(frame), _weight(frame)
            if not problem and not (math.isfinite(weight) and weight >= 0):
                problem = f"its weight is {weight}; allowed is a number of at least 0"
            if not problem and weight != 1.0 and unweighted:
                problem = (
                    f"its weight is {weight:g}, but weights multiply squared errors, and the loss' "
                    f"term {unweighted[0]!r} is none; remove 'weight' from the file, or use "
                    "nequip.train.MeanSquaredError"
                )
            if problem:
                raise SettingsError("pool_file", self.path, f"frame {index} (from 0): {problem}")
            labels = (AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.FORCE_KEY)
            labelled = any(key in frame and not frame[key].isnan().any() for key in labels)
            yield PoolFrame(index, *self._geometry(frame), labelled, _energy(frame))
            try:  # now that its elements are known to be the model's
                self._transformed(frame)
            except DataError as error:
                remedy = (
                    "what is done to the training data is done to the pool, too: give this frame "
                    "what the transform reads, or remove it"
                )
                where = f"frame {index} (from 0): {error}"
                raise SettingsError("pool_file", self.path, f"{where}; {remedy}") from error

    def _digest(self, frame: Frame) -> bytes:
        return geometry_digest(*self._geometry(frame))

    def _geometry(self, frame: Frame) -> tuple[Any, Any]:
        """Atomic numbers and positions (Å)."""
        positions = frame[AtomicDataDict.POSITIONS_KEY]
        return numbers_of(frame, self.type_names).numpy(), positions.numpy()


def _finds_types(transform: Any) -> bool:
    return isinstance(transform, ChemicalSpeciesToAtomTypeMapper)


def _energy(frame: Frame) -> float | None:
    energy = frame.get(AtomicDataDict.TOTAL_ENERGY_KEY)
    return None if energy is None or bool(energy.isnan().any()) else float(energy)


def _weight(frame: Frame) -> float:
    return float(frame.get("weight", 1.0))


def _from_ase(atoms: ase.Atoms, reading: Mapping[str, Any]) -> Frame:
    frame = from_ase(atoms, **reading)
    return {**frame, "weight": torch.tensor(float(atoms.info.get("weight", 1.0)))}
