"""The pool as structures of MACE, looked through before training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from ase.data import chemical_symbols
from mace import data
from mace.tools.scripts_utils import check_path_ase_read, get_config_type_weights
from mace.tools.torch_geometric.batch import Batch

from ..core.frame_checks import geometry_key
from ..core.hessian_labels import HessianLabels
from ..core.options import SettingsError
from ..core.pool import Pool
from . import files
from .arguments import MaceSettings


def read_pool(
    settings: MaceSettings, given: dict[str, Any], head: str, labels: HessianLabels | None
) -> tuple[Pool, int]:
    """The pool, and how many of its structures have a Hessian label.

    Args:
        settings: names the file.
        given: the arguments of MACE's ``configure_model`` by name.
        head: of its structures, whose keys and weights MACE reads their labels with.
        labels: Hessian labels, if there are any.

    Raises:
        SettingsError: naming ``pool_file``, if it cannot be used.
    """
    path, per_batch = str(settings.pool.pool_file), settings.pool.pool_per_batch
    args, heads, z_table = given["args"], given["heads"], given["z_table"]
    (config,) = (config for config in given["head_configs"] if config.head_name == head)
    if check_path_ase_read(path):
        configs = _read(path, config)
        n_hessians = _look_through(configs, path, given["head_configs"], z_table.zs, labels)
        dataset = [
            data.AtomicData.from_config(one, z_table=z_table, cutoff=args.r_max, heads=heads)
            for one in configs
            if not _is_reference(one)
        ]
    else:
        configs = files.configurations(path)
        n_hessians = _look_through(configs, path, given["head_configs"], z_table.zs, labels)
        dataset = files.dataset_of(path, args.r_max, z_table, heads, head)
    logging.info(f"PIWSL: {per_batch} of them with each batch, as of head '{head}'")
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    pool = Pool(
        dataset,
        Batch.from_data_list,
        per_batch,
        settings.run.seed or 0,
        torch.distributed.get_rank() if distributed else 0,
        torch.distributed.get_world_size() if distributed else 1,
        args.num_workers,
    )
    return pool, n_hessians


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


def _look_through(
    configs: Iterable[Any],
    path: str,
    heads: list[Any],
    elements: Iterable[int],
    labels: HessianLabels | None,
) -> int:
    """Check the pool's structures and log what they are; the number with a Hessian label.

    Args:
        configs: MACE's configurations of the pool.
        path: its file.
        heads: MACE's configurations of the heads.
        elements: atomic numbers that the model knows.
        labels: Hessian labels, if there are any.
    """
    known, unknown = {int(z) for z in elements}, set()
    held_out, training = _held_out(heads), _training(heads)
    n = n_labelled = n_shared = n_hessians = 0
    for index, config in enumerate(configs):
        if _is_reference(config):
            continue
        numbers, positions = config.atomic_numbers, config.positions
        key = geometry_key(numbers, positions)
        if key in held_out:
            raise SettingsError(
                "pool_file",
                path,
                f"frame {index} (from 0) is {held_out[key]}; remove it from the pool, or errors "
                "on such data mean nothing",
            )
        n += 1
        n_shared += key in training
        n_labelled += any(config.properties.get(k) is not None for k in ("energy", "forces"))
        unknown |= set(numbers.tolist()) - known
        if labels is not None:
            geometry = torch.from_numpy(numbers), torch.from_numpy(positions)
            n_hessians += labels.find(*geometry) is not None
    if unknown:
        raise SettingsError(
            "pool_file",
            path,
            f"it holds {_symbols(unknown)}, but the model knows {_symbols(known)} only, the "
            "elements of the training data; remove these structures from the file",
        )
    if n == 0:
        raise SettingsError("pool_file", path, "there is no structure in this file")
    hessians = "" if labels is None else f", {n_hessians} with Hessian labels"
    logging.info(
        f"PIWSL: pool of {n} structures, {n_labelled} with labels{hessians}; {n_shared} of them "
        "are in the training data too"
    )
    return n_hessians


def _symbols(numbers: Iterable[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in sorted(numbers))


def _held_out(heads: list[Any]) -> dict[bytes, str]:
    """Where each geometry of all validation and test data stands, in words."""
    places = {}
    for head in heads:
        sets = dict(_lazily_read(head, files.HELD_OUT))
        if head.collections is not None:
            tests = [config for _, configs in head.collections.tests or () for config in configs]
            sets |= {"the validation data": head.collections.valid or (), "the test data": tests}
        for name, configs in sets.items():
            for index, config in enumerate(configs):
                key = geometry_key(config.atomic_numbers, config.positions)
                places[key] = f"frame {index} (from 0) of {name}, head '{head.head_name}'"
    return places


def _training(heads: list[Any]) -> set[bytes]:
    """The geometries of all training data."""
    sets = [configs for head in heads for _, configs in _lazily_read(head, files.TRAINING)]
    sets += [head.collections.train for head in heads if head.collections is not None]
    return {geometry_key(c.atomic_numbers, c.positions) for configs in sets for c in configs}


def _lazily_read(head: Any, options: Iterable[str]) -> Iterator[tuple[str, Iterator[Any]]]:
    """Paths and configurations of a head's data of HDF5 and LMDB."""
    for path in files.data_files(vars(head), options):
        if not check_path_ase_read(path):
            yield path, files.configurations(path)
