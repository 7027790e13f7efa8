"""The pool as NequIP's frames: structures beside the training set, with labels and weights."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import ase
import ase.data
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.data.dataset import NequIPLMDBDataset

from ..core.frame_checks import geometry_digest
from ..core.hessian_targets import Geometry
from ..core.options import SettingsError
from ..core.pool import Pool
from ..core.pool_checks import PoolFrame, look_through
from ..core.progress import shown
from ..core.settings import PoolOptions
from ..core.structures import check_exists, read_structures
from .data import Datasets, logger, problem_of_frame
from .frames import Frame, frames_of
from .structures import WEIGHT, join, numbers_of

#: names of labels in files where the training data has no key_mapping
_KEYS = {
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
    """Frames of a pool for a model: with types, neighbour lists, labels and weights."""

    def __init__(
        self, path: str, model: Any, labels: Collection[str], reading: Mapping[str, Any]
    ) -> None:
        """
        Args:
            path: an LMDB file of NequIP (\\*.lmdb), read frame by frame, or one that ASE reads.
            model: NequIP's; its types are element symbols.
            labels: fields that are kept, where a frame has them.
            reading: arguments of NequIP's ``from_ase``, which say what labels are called.

        Raises:
            SettingsError: naming ``pool_file``, if it cannot be used.
        """
        self.path, self._r_max = path, float(model.metadata["r_max"])
        self.type_names = list(model.type_names)
        inputs = [key for key in model.model_input_fields if not key.startswith("edge")]
        self._fields = {*_STRUCTURE, *labels, *inputs}
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

    def raw(self) -> Iterator[Frame]:
        """The frames as they are in the file, one after the other."""
        return (self._frames[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        raw = self._frames[index]
        frame = {key: value for key, value in raw.items() if key in self._fields}
        frame[AtomicDataDict.ATOM_TYPE_KEY] = self._types[numbers_of(raw, self.type_names)]
        frame[WEIGHT] = torch.full((1, 1), _weight(raw), dtype=torch.float64)
        return AtomicDataDict.with_batch_(compute_neighborlist_(frame, self._r_max))

    def look_through(
        self, datasets: Datasets, unweighted: Sequence[str] = ()
    ) -> Iterator[Geometry]:
        """The geometries of the frames, which are looked at on the way.

        Args:
            datasets: of NequIP's datamodule.
            unweighted: names of supervised terms in which frames can have no weight but 1.

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
        training = {
            self._digest(frame)
            for _, dataset in datasets["train"]
            for _, frame in frames_of(dataset)
        }
        elements = [
            ase.data.atomic_numbers[name]
            for name in self.type_names
            if name in ase.data.atomic_numbers
        ]
        frames = self._frames_to_check(unweighted)
        logger.info((yield from look_through(self.path, frames, elements, held_out, training)))

    def _frames_to_check(self, unweighted: Sequence[str]) -> Iterator[PoolFrame]:
        raw = shown(self.raw(), "looking through the pool", len(self))
        for index, frame in enumerate(raw):
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
            numbers = numbers_of(frame, self.type_names).numpy()
            positions = frame[AtomicDataDict.POSITIONS_KEY].numpy()
            yield PoolFrame(index, numbers, positions, labelled)

    def _digest(self, frame: Frame) -> bytes:
        positions = frame[AtomicDataDict.POSITIONS_KEY]
        return geometry_digest(numbers_of(frame, self.type_names), positions)


def _weight(frame: Frame) -> float:
    return float(frame.get("weight", 1.0))


def _from_ase(atoms: ase.Atoms, reading: Mapping[str, Any]) -> Frame:
    frame = from_ase(atoms, **reading)
    return {**frame, "weight": torch.tensor(float(atoms.info.get("weight", 1.0)))}


def make_pool(
    options: PoolOptions,
    model: Any,
    labels: Collection[str],
    trainer: Any,
    datasets: Datasets,
    seed: int,
    unweighted: Sequence[str] = (),
) -> Pool:
    """The pool of a training, looked through, dealt to ranks and loader workers.

    Args:
        options: ``pool_file`` and ``pool_per_batch`` are used.
        model: NequIP's.
        labels: fields that the supervised loss reads.
        trainer: Lightning's; its datamodule says what labels are called in files.
        datasets: of the datamodule.
        seed: of the order.
        unweighted: names of supervised terms in which frames can have no weight but 1.

    Raises:
        SettingsError: naming ``pool_file``.
    """
    assert options.pool_file is not None
    datamodule = trainer.datamodule
    fields = {*labels, AtomicDataDict.FORCE_KEY}
    frames = PoolFrames(options.pool_file, model, fields, _reading_of(datamodule))
    deque(frames.look_through(datasets, unweighted), maxlen=0)
    loader = getattr(datamodule, "train_dataloader_config", {})
    return Pool(
        frames,
        join,
        options.pool_per_batch,
        seed,
        trainer.global_rank,
        trainer.world_size,
        loader.get("num_workers", 0),
    )


def _reading_of(datamodule: Any) -> dict[str, Any]:
    """What labels are called in the training data's files: arguments of ``from_ase``."""
    config = (getattr(datamodule, "train_dataset_config", None) or [{}])[0]
    config = config.get("dataset", config)
    names = ("key_mapping", "include_keys", "exclude_keys")
    given = {name: config[name] for name in names if config.get(name)}
    return {"key_mapping": _KEYS, **given}
