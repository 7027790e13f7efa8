"""The file of a pool as one of NequIP's data sets, before data transforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import torch
from nequip.data import AtomicDataDict, from_ase
from nequip.data.dataset import HDF5Dataset, NequIPLMDBDataset, NPZDataset
from omegaconf import OmegaConf

from ..errors import SettingsError
from ..frames.reading import check_exists, read_atoms
from .frames import Fields, left_closed

#: names of labels in files where the training data has no key_mapping
KEYS = {
    "REF_energy": AtomicDataDict.TOTAL_ENERGY_KEY,
    "REF_forces": AtomicDataDict.FORCE_KEY,
    "REF_stress": AtomicDataDict.STRESS_KEY,
    "total_energy": AtomicDataDict.TOTAL_ENERGY_KEY,
}
#: NequIP's datasets by the ending of a file's name; ASE reads all others
_DATASETS = {
    ".lmdb": NequIPLMDBDataset,
    ".h5": HDF5Dataset,
    ".hdf5": HDF5Dataset,
    ".npz": NPZDataset,
}


class AtomsFrames:
    """A file that ASE reads, in memory; frames have a field ``weight`` if the file gives any."""

    def __init__(
        self, path: str, reading: Mapping[str, Any], given: Sequence[ase.Atoms] | None = None
    ) -> None:
        """
        Args:
            path: of the file, ``file@2:11`` for some of its frames.
            reading: arguments of NequIP's ``ASEDataset``: how the training data is read.
            given: structures in place of a file.

        Raises:
            SettingsError: naming ``pool_file``.
        """
        arguments = dict(reading)
        of_file = arguments.pop("ase_args", {})
        structures = read_atoms(path, "pool_file", **of_file) if given is None else given
        self._frames = [_from_ase(atoms, arguments) for atoms in structures]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Fields:
        return self._frames[index]


def open_pool(path: str, configs: Sequence[Mapping[str, Any]]) -> Any:
    """The frames of a pool's file, without data transforms.

    Args:
        path: a file of NequIP's (LMDB, HDF5, NPZ, by the ending of its name), read frame by frame,
            or one that ASE reads.
        configs: of the training data's datasets; the first that reads files of this kind says how
            they are read.

    Raises:
        SettingsError: naming ``pool_file``, if it cannot be read.
    """
    kind = _DATASETS.get(Path(path).suffix)
    reading = _reading_of(kind, configs)
    if kind is None:
        return AtomsFrames(path, {"key_mapping": KEYS, **reading})
    check_exists(path, "pool_file")
    try:
        frames = kind(path, **reading)
        with left_closed(frames):
            frames[0]
    except Exception as error:  # of h5py, numpy, the lmdb package or pickle
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SettingsError(
            "pool_file",
            path,
            f"it cannot be read as a {kind.__name__} of NequIP ({reason}); for data of another "
            "kind, write a file that ASE reads, or an LMDB with "
            "nequip.data.dataset.NequIPLMDBDataset.save_from_iterator",
        ) from error
    return frames


def _reading_of(kind: type | None, configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the training data of a kind is read: arguments of NequIP's datasets."""
    known = {one.__name__ for one in _DATASETS.values()}
    for config in configs:
        target = str(config.get("_target_")).rpartition(".")[2]
        if target == kind.__name__ if kind is not None else target not in known:
            names = ("key_mapping", "include_keys", "exclude_keys", "ase_args")
            return {name: _plain(config[name]) for name in names if config.get(name)}
    return {}


def _plain(value: Any) -> Any:
    """A value of a config, as which it is looked up faster for each frame."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _from_ase(atoms: ase.Atoms, reading: Mapping[str, Any]) -> Fields:
    fields = from_ase(atoms, **reading)
    return {**fields, "weight": torch.tensor(float(atoms.info.get("weight", 1.0)))}
