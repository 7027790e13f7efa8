"""The pool of a training with NequIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger

from ..errors import SettingsError
from ..frames.entries import Entry
from ..frames.pool_checks import look_through
from ..terms.pool import Pool
from .data import Datasets
from .frames import frames_of, seen, sources_of
from .labels import Reads
from .levels import Chosen, carrying
from .pool_files import open_pool
from .pool_frames import PoolFrames
from .structures import join

if TYPE_CHECKING:
    from .loss import PIWSLLoss

logger = RankedLogger(__name__, rank_zero_only=True)


def make_pool(
    loss: PIWSLLoss,
    model: Any,
    trainer: Any,
    datasets: Datasets,
    training: Sequence[Entry],
    held_out: Sequence[Entry],
    seed: int,
) -> Pool:
    """The pool of a training, looked through, dealt to ranks and loader workers.

    Args:
        loss: of the training; it has a pool.
        model: NequIP's.
        trainer: Lightning's; its datamodule says how files are read.
        datasets: of the datamodule.
        training: its training data.
        held_out: its validation and test data.
        seed: of the order.

    Raises:
        SettingsError: naming ``pool_file``.
    """
    options, levels = loss.settings.pool, loss.settings.nequip.levels
    assert options.pool_file is not None
    path, datamodule = options.pool_file, trainer.datamodule
    configs = _file_configs(getattr(datamodule, "train_dataset_config", None) or [])
    supervised = Reads.of("the loss", [loss]).weighted
    example = next((frame for _, one in datasets["train"] for _, frame in frames_of(one)), None)
    frames = PoolFrames(
        path,
        open_pool(path, configs),
        model,
        {*supervised, AtomicDataDict.FORCE_KEY},
        _common_transforms(path, configs, datasets, levels),
        example,
    )
    entries = frames.entries(loss.unweighted, supervised, levels)
    energies = bool(options.pool_weight) and AtomicDataDict.TOTAL_ENERGY_KEY in supervised
    logger.info(look_through(path, entries, frames.elements, held_out, training, energies))
    if options.pool_weight and not any(entry.labels for entry in entries):
        raise SettingsError(
            "pool_file",
            path,
            f"no frame has a label that the loss reads ({', '.join(sorted(supervised))}), though "
            f"pool_weight is {options.pool_weight:g}; name the file's keys as the training data's "
            "key_mapping does, or set pool_weight: 0 for a pool without labels",
        )
    loader = getattr(datamodule, "train_dataloader_config", {})
    return Pool(
        frames,
        join,
        options.pool_per_batch,
        seed,
        trainer.global_rank,
        trainer.world_size,
        loader.get("num_workers", 0),
        loader.get("multiprocessing_context"),
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
    path: str, configs: Sequence[Mapping[str, Any]], datasets: Datasets, levels: Chosen | None
) -> list[Any]:
    """The transforms of all training data that is of the levels of theory of the pool.

    Raises:
        SettingsError: naming ``pool_file``, if there are different ones.
    """
    sources = [source for _, dataset in datasets["train"] for source in sources_of(dataset)]
    pairs = list(zip(configs, sources)) if len(configs) == len(sources) else []
    if levels:
        pairs = [pair for pair in pairs if _is_of(levels, pair[1])] or pairs
    given = [config.get("transforms") or [] for config, _ in pairs]
    if any(one != given[0] for one in given):
        raise SettingsError(
            "pool_file",
            path,
            "the training datasets have different data transforms, of which the pool's frames can "
            "have but one; give all of them the same 'transforms', or say with levels which level "
            "of theory the pool is of",
        )
    chosen = pairs[0][1] if pairs else next(iter(sources), None)
    return list(getattr(chosen, "transforms", ()))


def _is_of(levels: Chosen, source: Any) -> bool:
    """Whether the first frame of a dataset carries terms."""
    raw = next((fields for _, fields in frames_of(source)), None)
    return raw is not None and bool(carrying(seen(raw, source), levels, 1).all())
