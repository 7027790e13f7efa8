"""The pool as NequIP's frames: structures beside the training set, with labels and weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import ase
import ase.data
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.data.dataset import NequIPLMDBDataset

from ..core.frame_checks import first_shared
from ..core.options import SettingsError
from ..core.pool import Pool
from ..core.settings import PoolOptions
from ..core.structures import check_exists, read_structures
from .data import Datasets, Frame, frames_of, geometries, number_of, problem_of_frame
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

    def check(self, datasets: Datasets) -> None:
        """Refuse a pool that cannot be trained on, or that the model is validated or tested on.

        Args:
            datasets: of NequIP's datamodule.

        Raises:
            SettingsError: naming ``pool_file`` and the frame.
        """
        for index, frame in enumerate(self.raw()):
            problem = problem_of_frame(frame) or self._problem_of(frame)
            if problem:
                raise SettingsError("pool_file", self.path, f"frame {index} (from 0): {problem}")
        for split, what in (("val", "validation"), ("test", "test")):
            for name, dataset in datasets[split]:
                held = (frame for _, frame in frames_of(dataset))
                shared = first_shared(
                    geometries(held, self.type_names), geometries(self.raw(), self.type_names)
                )
                if shared is not None:
                    number = number_of(dataset, shared[0])
                    raise SettingsError(
                        "pool_file",
                        self.path,
                        f"frame {shared[1]} (from 0) is frame {number} of the {name}: "
                        f"{what} would no longer tell how the model does on what it has not seen; "
                        "leave the frame out of one of them",
                    )

    def _problem_of(self, frame: Frame) -> str | None:
        numbers = numbers_of(frame, self.type_names)
        unknown = numbers[self._types[numbers] < 0]
        if len(unknown):
            return (
                f"it holds the element {ase.data.chemical_symbols[int(unknown[0])]}, but the "
                f"model's types are {', '.join(self.type_names)}; leave such structures out"
            )
        weight = _weight(frame)
        if not (math.isfinite(weight) and weight >= 0):
            return f"its weight is {weight}; allowed is a number of at least 0"
        return None


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
) -> Pool:
    """The pool of a training, checked, dealt to ranks and loader workers.

    Args:
        options: ``pool_file`` and ``pool_per_batch`` are used.
        model: NequIP's.
        labels: fields that the supervised loss reads.
        trainer: Lightning's; its datamodule says what labels are called in files.
        datasets: of the datamodule.
        seed: of the order.

    Raises:
        SettingsError: naming ``pool_file``.
    """
    assert options.pool_file is not None
    datamodule = trainer.datamodule
    fields = {*labels, AtomicDataDict.FORCE_KEY}
    frames = PoolFrames(options.pool_file, model, fields, _reading_of(datamodule))
    frames.check(datasets)
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
