"""The pool as structures of MACE, looked through before training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from ase.data import chemical_symbols
from mace import data
from mace.tools.scripts_utils import check_path_ase_read, get_config_type_weights
from mace.tools.torch_geometric.batch import Batch

from ..core.frame_checks import geometry_digest
from ..core.hessian_targets import Geometry
from ..core.options import SettingsError
from ..core.pool import Pool
from ..core.pool_checks import PoolFrame, TrainingFrames, look_through
from . import files
from .arguments import MaceSettings
from .lazy_files import dataset_of, disregard_missing

#: by base loss of MACE 0.3.16 (mace/modules/loss.py): weights of structures that it ignores,
#: "l1l2energyforces" in the forces alone
_IGNORED_WEIGHTS = {
    "huber": ("weight", "energy_weight", "forces_weight"),
    "l1l2energyforces": ("weight", "forces_weight"),
    "universal": ("weight",),
}


class PoolFile:
    """The pool's file: to be looked through first, then to be trained on."""

    def __init__(self, settings: MaceSettings, given: dict[str, Any], head: str) -> None:
        """
        Args:
            settings: name the file.
            given: the arguments of MACE's ``configure_model`` by name.
            head: of its structures, whose keys and weights MACE reads their labels with.
        """
        self._settings, self._given, self._head = settings, given, head
        self._path = str(settings.pool.pool_file)
        self._heads = {config.head_name: config for config in given["head_configs"]}
        self._in_memory: list[tuple[int, Any]] | None = None
        try:
            read_by_ase = check_path_ase_read(self._path)
        except RuntimeError as error:  # a folder without files of structures
            raise SettingsError("pool_file", self._path, str(error)) from error
        if read_by_ase:
            every = enumerate(_read(self._path, self._heads[head]))
            self._in_memory = list(self._without_references(every))

    def look_through(self, training: TrainingFrames) -> Iterator[Geometry]:
        """The geometries of its structures, which are looked at on the way.

        Args:
            training: the training data, complete when the iteration begins.

        Raises:
            SettingsError: naming ``pool_file``, if it cannot be used.
        """
        held_out = {
            digest_of(config): (place, index)
            for place, index, config in files.held_out_data(self._heads.values())
        }
        given = self._one_by_one() if self._in_memory is None else self._in_memory
        without_E0 = self._without_E0() if self._settings.pool.pool_weight else set()
        frames = (self._frame(index, one, without_E0) for index, one in given)
        elements = self._given["z_table"].zs
        summary = yield from look_through(self._path, frames, elements, held_out, training)
        logging.info(summary)
        per_batch = self._settings.pool.pool_per_batch
        logging.info(f"PIWSL: {per_batch} of them with each batch, as of head '{self._head}'")

    def _without_E0(self) -> set[int]:
        """Elements of other heads' data alone, for which MACE 0.3.16 takes an E0 of 0 eV.

        It fills them in (``dict_to_array`` in mace/tools/scripts_utils.py) where neither data nor
        ``--E0s`` of a head have them.
        """
        energies = self._given["atomic_energies"][self._given["heads"].index(self._head)]
        by_element = zip(self._given["z_table"].zs, energies, strict=False)
        known = self._heads[self._head].z_table.zs
        return {int(z) for z, energy in by_element if energy == 0.0 and z not in known}

    def _frame(self, index: int, config: Any, without_E0: set[int]) -> PoolFrame:
        lacking = without_E0.intersection(config.atomic_numbers.tolist())
        if lacking and config.properties.get("energy") is not None:
            symbols = ", ".join(chemical_symbols[z] for z in sorted(lacking))
            raise SettingsError(
                "pool_file",
                self._path,
                f"frame {index} (from 0) has an energy, but head '{self._head}', to which the pool "
                f"belongs, has no E0 of {symbols}; add it to the E0s of this head, or remove the "
                "energies of such frames",
            )
        given = config.atomic_numbers, config.positions, _is_labelled(config), energy_of(config)
        return PoolFrame(index, *given)

    def _one_by_one(self) -> Iterator[tuple[int, Any]]:
        """Number and configuration of the structures of an HDF5 or LMDB file."""
        try:
            every = files.checked(self._path, "looking through the pool")
            yield from self._without_references(every)
        except SettingsError:
            raise
        except ValueError as error:
            raise SettingsError("pool_file", self._path, str(error)) from error

    def _without_references(self, every: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """The numbered configurations, but for isolated atoms, which MACE trains no model on."""
        n_left_out, found = 0, False
        for index, config in every:
            if _is_reference(config):
                n_left_out += 1
            else:
                found = True
                yield index, config
        if n_left_out and not found:
            raise SettingsError(
                "pool_file",
                self._path,
                f"all of its {n_left_out} frames are isolated atoms (config_type IsolatedAtom), on "
                "which MACE trains no model; they belong into the training file, or into --E0s",
            )

    def pool(self) -> Pool:
        """Its structures, dealt to ranks and loader workers."""
        args, heads, z_table = (self._given[name] for name in ("args", "heads", "z_table"))
        dataset: Any = (
            dataset_of(self._path, args.r_max, z_table, heads, self._head)
            if self._in_memory is None
            else [
                data.AtomicData.from_config(one, z_table=z_table, cutoff=args.r_max, heads=heads)
                for _, one in self._in_memory
            ]
        )
        if self._settings.pool.pool_weight:
            # of data that is read structure by structure the first ones stand for all
            n = len(dataset) if self._in_memory is not None else min(len(dataset), 10)
            warn_of_weights(args.loss, [dataset[index] for index in range(n)])
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        return Pool(
            dataset,
            Batch.from_data_list,
            self._settings.pool.pool_per_batch,
            self._settings.run.seed or 0,
            torch.distributed.get_rank() if distributed else 0,
            torch.distributed.get_world_size() if distributed else 1,
            args.num_workers,
        )


def geometries(configs: Iterable[Any]) -> Iterator[Geometry]:
    """Atomic numbers and positions of MACE's configurations."""
    for config in configs:
        yield torch.from_numpy(config.atomic_numbers), torch.from_numpy(config.positions)


def digest_of(config: Any) -> bytes:
    """Tells whether two of MACE's configurations are of the same geometry."""
    return geometry_digest(config.atomic_numbers, config.positions)


def energy_of(config: Any) -> float | None:
    """The energy of a configuration of MACE's (eV), if it has one that counts."""
    energy = config.properties.get("energy")
    counts = energy is not None and config.property_weights.get("energy", 1.0)
    return float(energy) if counts else None


def noted(configs: Iterable[Any], frames: TrainingFrames, energies: bool) -> Iterator[Any]:
    """The same configurations; they are added on the way, with energies or without."""
    for config in configs:
        energy = energy_of(config) if energies else None
        frames.add(config.atomic_numbers, config.positions, energy)
        yield config


def _read(path: str, head: Any) -> list[Any]:
    """The configurations of a file that ASE reads, with labels."""
    _, configs = data.utils.load_from_xyz(
        path,
        key_specification=head.key_specification,
        head_name=head.head_name,
        config_type_weights=get_config_type_weights(head.config_type_weights),
        no_data_ok=True,
    )
    for config in configs:
        disregard_missing(config)
    return configs


def _is_reference(config: Any) -> bool:
    """Whether it is an isolated atom, which MACE trains no model on."""
    return len(config.atomic_numbers) == 1 and config.config_type == "IsolatedAtom"


def warn_of_weights(loss: str, structures: Sequence[Any]) -> None:
    """Log if labelled structures have weights that a base loss ignores.

    Args:
        loss: its name.
        structures: MACE's AtomicData; missing labels have weight 0.
    """
    labelled = [one for one in structures if one.energy_weight > 0 or one.forces_weight > 0]
    ignored = [
        f"config_{name}"
        for name in _IGNORED_WEIGHTS.get(loss, ())
        if any(one[name] != 1 and (one[name] != 0 or name == "weight") for one in labelled)
    ]
    if ignored:
        remedy = (
            "give config_energy_weight and config_forces_weight instead"
            if loss == "universal"
            else "choose --piwsl_base_loss=weighted, stress or virials"
        )
        part = " in the forces" if loss == "l1l2energyforces" else ""
        logging.warning(
            f"PIWSL: structures of the pool have {', '.join(ignored)} other than 1, but the base "
            f"loss '{loss}' ignores this{part}; if it should count, {remedy}"
        )


def _is_labelled(config: Any) -> bool:
    return any(config.properties.get(name) is not None for name in ("energy", "forces"))
