"""The pool of a training with NequIP."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from nequip.data import AtomicDataDict

from ..core.pool import Pool
from ..core.settings import PoolOptions
from ..errors import SettingsError
from .data import Datasets
from .frames import frames_of, sources_of
from .pool_frames import KEYS, PoolFrames
from .structures import join


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
        options: ``pool_file``, ``pool_per_batch`` and ``pool_weight`` are used.
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
    configs = _file_configs(getattr(datamodule, "train_dataset_config", None) or [])
    transforms = _common_transforms(options.pool_file, configs, datasets)
    example = next((frame for _, one in datasets["train"] for _, frame in frames_of(one)), None)
    reading = _reading_of(configs)
    frames = PoolFrames(options.pool_file, model, fields, reading, transforms, example)
    energies = bool(options.pool_weight) and AtomicDataDict.TOTAL_ENERGY_KEY in labels
    deque(frames.look_through(datasets, unweighted, energies), maxlen=0)
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


def _file_configs(configs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The configs of datasets that read files, of those that may be parts or sums of them."""
    found: list[Mapping[str, Any]] = []
    for config in configs:
        inner = [config["dataset"]] if "dataset" in config else config.get("datasets") or ()
        inner = [one for one in inner if isinstance(one, Mapping)]
        found += _file_configs(inner) or [config]
    return found


def _common_transforms(
    path: str, configs: Sequence[Mapping[str, Any]], datasets: Datasets
) -> list[Any]:
    """The transforms of all training data.

    Raises:
        SettingsError: naming ``pool_file``, if there are different ones.
    """
    given = [config.get("transforms") or [] for config in configs]
    if any(one != given[0] for one in given):
        raise SettingsError(
            "pool_file",
            path,
            "the training datasets have different data transforms, of which the pool's frames can "
            "have but one; give all of them the same 'transforms'",
        )
    sources = [source for _, dataset in datasets["train"] for source in sources_of(dataset)]
    return list(getattr(sources[0], "transforms", ())) if sources else []


def _reading_of(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What labels are called in the training data's files: arguments of ``from_ase``."""
    config = configs[0] if configs else {}
    names = ("key_mapping", "include_keys", "exclude_keys")
    given = {name: config[name] for name in names if config.get(name)}
    return {"key_mapping": KEYS, **given}
