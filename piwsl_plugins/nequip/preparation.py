"""What happens to a training's data before its first step: read, checked, matched, logged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nequip.train import NequIPLightningModule
from nequip.utils import RankedLogger

from ..errors import SettingsError
from ..frames.structure import Structure
from ..frames.unread import unread_state
from ..labels.hessian_lookup import HessianLabels
from ..labels.hessian_matching import matched_labels
from ..terms.displacements import bond_warning
from ..terms.pool import Pool
from .atom_types import check_atom_types
from .config import DataError
from .cutoffs import check_cutoffs
from .data import Datasets, paths_of
from .labels import Reads
from .levels import Levels
from .pool import make_pool
from .settings import NequIPSettings
from .tables import Reader, Table

if TYPE_CHECKING:
    from .loss import PIWSLLoss

logger = RankedLogger(__name__, rank_zero_only=True)

_READ_THEM = (
    "let it read those of its files by include_keys: [charge, spin], or by key_mapping: "
    "{total_charge: charge, total_spin: spin}"
)


class Prepared(NamedTuple):
    """What a training has beside NequIP's own data.

    Attributes:
        labels: Hessian labels, if there is a weight on them.
        valid_labels: those of validation structures, if there are any.
        pool: structures beside the training set, if there are any and something has a weight.
    """

    labels: HessianLabels | None
    valid_labels: HessianLabels | None
    pool: Pool | None


def prepare(trainer: Any, module: Any, loss: PIWSLLoss, datasets: Datasets, seed: int) -> Prepared:
    """Check all data that a training reads, and find what belongs to it.

    Args:
        trainer: Lightning's.
        module: NequIP's training module.
        loss: its loss.
        datasets: of the datamodule.
        seed: of the pool's order.

    Raises:
        DataError: for data that cannot be trained on, naming file, frame and remedy.
        SettingsError: for labels and pools that do not fit it, naming the option.
    """
    settings, model = loss.settings, next(iter(module.model.values()))
    hessian = settings.hessian
    file = hessian.hessian_file if hessian.hessian_weight else None
    valid_file = hessian.hessian_valid_file
    has_pool = loss.is_on and settings.pool.pool_file is not None
    by_levels = loss.is_on and settings.nequip.levels is not None
    names = list(model.type_names)
    for one in module.model.values():
        check_atom_types(datasets, one)

    levels, valid_levels = Levels(settings.nequip.levels), Levels(settings.nequip.levels)
    of = reads_of(trainer, module, loss)
    reader = Reader(names, levels)
    train = reader.read(datasets["train"], of["train"], has_pool, bool(file) or by_levels)
    valid = Reader(names, valid_levels).read(
        datasets["val"], of["val"], has_pool, valid_file is not None
    )
    test = Reader(names, Levels(None)).read(datasets["test"], of["test"], has_pool)
    if file or by_levels:
        levels.check("hessian_file", file, "training data")
    if valid_file is not None:
        valid_levels.check("hessian_valid_file", valid_file, "validation data")

    if file or valid_file is not None or has_pool:
        of_training = [*train.seen, *(entry.structure for entry in train.entries)]
        pool_file = settings.pool.pool_file if has_pool else None
        _check_states(of_training, trainer.datamodule, datasets, pool_file)
    pool = None
    if has_pool:
        held_out = [*valid.entries, *test.entries]
        pool = make_pool(loss, model, trainer, datasets, train.entries, held_out, seed)
    labels = valid_labels = None
    if file and datasets["train"]:
        in_pool = pool.dataset.structures() if pool is not None else []
        labels = _matched(settings, "hessian_file", train, in_pool)
    if valid_file is not None:
        valid_labels = _matched(settings, "hessian_valid_file", valid, [])
    for one in module.model.values():
        _check_neighbours(datasets, one, loss.is_on)
    known = [entry.structure for entry in train.entries] or train.carrying
    given = known or _structures(reader, datasets)
    warning = bond_warning(settings.consistency, given) if loss.is_on else None
    if warning:
        logger.warning(warning)
    return Prepared(labels, valid_labels, pool)


def _check_states(
    known: Sequence[Structure], datamodule: Any, datasets: Datasets, pool_file: str | None
) -> None:
    """Refuse files with charges or spins that the data does not read: they tell structures apart.

    Args:
        known: training structures, as far as they are known.
        datamodule: NequIP's.
        datasets: those that are read; files of other splits are left alone.
        pool_file: if it is used.

    Raises:
        DataError: naming file, frame and remedy.
    """
    if any(one.charge or one.spin is not None for one in known):
        return
    splits = [split for split, read in datasets.items() if read]
    configs = [getattr(datamodule, f"{split}_dataset_config", None) for split in splits]
    paths = [path for config in configs for path in paths_of(config)]
    if pool_file is not None:
        paths.append(pool_file)
    for path in dict.fromkeys(paths):
        found = unread_state(path.partition("@")[0], ())
        if found is not None:
            number, given = found
            raise DataError(
                f"{path}, frame {number} (from 0) has {given}, which the data does not read, so "
                f"that ions and neutral structures would be taken for the same; {_READ_THEM}"
            )


def _structures(reader: Reader, datasets: Datasets) -> Iterator[Structure]:
    """Those of the training data, read when they are asked for."""
    table = reader.read(datasets["train"], Reads(""), entries=True)
    yield from (entry.structure for entry in table.entries)


def reads_of(trainer: Any, module: Any, loss: PIWSLLoss) -> dict[str, Reads]:
    """The labels that are read of each split."""
    if type(module).process_target is not NequIPLightningModule.process_target:
        return {split: Reads("") for split in ("train", "val", "test")}  # labels of its own making
    valid = module.val_metrics if trainer.limit_val_batches else ()
    return {
        "train": Reads.of("training_module.loss", [loss, module.train_metrics]),
        "val": Reads.of("training_module.val_metrics", valid),
        "test": Reads.of("training_module.test_metrics", module.test_metrics),
    }


def _check_neighbours(datasets: Datasets, model: Any, is_on: bool) -> None:
    """As :func:`check_cutoffs`; without displaced structures, a warning."""
    try:
        check_cutoffs(datasets, model)
    except DataError as error:
        if is_on:
            raise
        logger.warning(
            f"PIWSL: WARNING: {error} (no term has a weight, but the model will be used with "
            "neighbours that it is not trained with)"
        )


def _matched(
    settings: NequIPSettings, option: str, table: Table, in_pool: list[Any]
) -> HessianLabels:
    try:
        labels, found = matched_labels(
            settings.hessian, option, table.carrying, in_pool, table.others
        )
    except SettingsError as error:
        hint = _charges_hint(table, error.remedy)
        raise SettingsError(error.name, error.value, error.remedy + hint) from error
    logger.info(found + _charges_hint(table, found))
    return labels


def _charges_hint(table: Table, words: str) -> str:
    """How NequIP's data gets charges, where labels have them and no frame has."""
    charged = any(one.charge or one.spin is not None for one in table.seen)
    if charged or not ("another charge" in words or "another spin" in words):
        return ""
    return f"; NequIP's data has no charges: {_READ_THEM}"
