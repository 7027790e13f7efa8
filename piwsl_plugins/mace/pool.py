"""The pool as structures of MACE, looked through before training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from mace import data
from mace.tools.scripts_utils import check_path_ase_read, get_config_type_weights
from mace.tools.torch_geometric.batch import Batch

from ..core.frame_checks import geometry_key
from ..core.hessian_targets import Geometry
from ..core.pool import Pool
from ..core.pool_checks import PoolFrame, look_through
from . import files
from .arguments import MaceSettings


def read_pool(
    settings: MaceSettings, given: dict[str, Any], head: str
) -> tuple[Pool, Iterator[Geometry]]:
    """The pool, and the geometries of its structures.

    Args:
        settings: names the file.
        given: the arguments of MACE's ``configure_model`` by name.
        head: of its structures, whose keys and weights MACE reads their labels with.

    Raises:
        SettingsError: naming ``pool_file``, if it cannot be used.
    """
    path, per_batch = str(settings.pool.pool_file), settings.pool.pool_per_batch
    args, heads, z_table = given["args"], given["heads"], given["z_table"]
    configs = {config.head_name: config for config in given["head_configs"]}
    lazily = not check_path_ase_read(path)
    pool = [] if lazily else _read(path, configs[head])

    def frames() -> Iterator[tuple[int, Any]]:
        every = enumerate(files.configurations(path) if lazily else pool)
        return ((index, config) for index, config in every if not _is_reference(config))

    held_out = {
        _key(config): f"frame {index} (from 0) of {place}"
        for place, index, config in files.held_out_data(configs.values())
    }
    training = set(map(_key, files.training_data(configs.values())))
    looked_at = (
        PoolFrame(index, one.atomic_numbers, one.positions, _is_labelled(one))
        for index, one in frames()
    )
    logging.info(look_through(path, looked_at, z_table.zs, held_out, training))
    logging.info(f"PIWSL: {per_batch} of them with each batch, as of head '{head}'")
    dataset: Any = (
        files.dataset_of(path, args.r_max, z_table, heads, head)
        if lazily
        else [
            data.AtomicData.from_config(one, z_table=z_table, cutoff=args.r_max, heads=heads)
            for _, one in frames()
        ]
    )
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    dealt = Pool(
        dataset,
        Batch.from_data_list,
        per_batch,
        settings.run.seed or 0,
        torch.distributed.get_rank() if distributed else 0,
        torch.distributed.get_world_size() if distributed else 1,
        args.num_workers,
    )
    return dealt, geometries(config for _, config in frames())


def geometries(configs: Iterable[Any]) -> Iterator[Geometry]:
    """Atomic numbers and positions of MACE's configurations."""
    for config in configs:
        yield torch.from_numpy(config.atomic_numbers), torch.from_numpy(config.positions)


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
        for name, value in config.properties.items():
            if value is None:  # MACE 0.3.16 gives it a weight where the key is "energy"
                config.property_weights[name] = 0.0
    return configs


def _is_reference(config: Any) -> bool:
    """Whether it is an isolated atom, which MACE trains no model on."""
    return len(config.atomic_numbers) == 1 and config.config_type == "IsolatedAtom"


def _is_labelled(config: Any) -> bool:
    return any(config.properties.get(name) is not None for name in ("energy", "forces"))


def _key(config: Any) -> bytes:
    return geometry_key(config.atomic_numbers, config.positions)
