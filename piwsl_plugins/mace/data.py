"""What PIWSL needs beside MACE's batches, read and checked once, before training."""

from __future__ import annotations

import dataclasses
import logging
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from ..core.hessian_lookup import HessianLabels
from ..core.hessian_targets import Geometry, matched_labels
from ..core.neighbours import NeighbourLists
from ..core.options import SettingsError
from ..core.pool import Pool
from ..core.pool_checks import TrainingFrames
from ..core.progress import shown
from ..core.term_table import weights_of
from . import arguments, files, structures
from .arguments import ENERGY, MaceSettings
from .host import REPLAY_HEAD, carrying_heads
from .loss import has_label
from .pool import PoolFile, geometries, noted


@dataclasses.dataclass(frozen=True)
class Companions:
    """What goes with the training data, attached to MACE's training loader.

    So nothing of it passes through MACE's datasets and collation, model files or checkpoints.

    Attributes:
        labels: Hessian labels, if they have a weight.
        pool: structures beside the training set, if there is use for them.
        valid_labels: Hessian labels of validation structures.
        lists: neighbour lists of the training data and the pool.
    """

    labels: HessianLabels | None = None
    pool: Pool | None = None
    valid_labels: HessianLabels | None = None
    lists: NeighbourLists | None = None


def prepare(run: Callable[[], Any], given: dict[str, Any]) -> Any:
    """Read and check what the settings need, before MACE's ``configure_model``.

    Args:
        run: MACE's function (mace/tools/model_script_utils.py) with its arguments bound.
        given: these by name.
    """
    args, loader = given["args"], given["train_loader"]
    settings = arguments.settings_of(args)
    stages = (settings, settings.stage_two()) if args.swa else (settings,)
    _check_heads(settings, given["heads"])
    heads = carrying_heads(settings.mace.heads, given["heads"])
    _check_force_labels(args, loader.dataset)
    carrying = [config for config in given["head_configs"] if config.head_name in heads]
    training = files.training_data(carrying)
    labels = pool_file = valid_labels = None
    in_pool: Iterable[Geometry] = ()
    try:
        if settings.pool.pool_file and (settings.pool.pool_weight or any(map(weights_of, stages))):
            pool_file = PoolFile(settings, given, heads[0])
            others = [config for config in given["head_configs"] if config.head_name not in heads]
            in_training = TrainingFrames()
            deque(noted(files.training_data(others), in_training, energies=False), maxlen=0)
            trained = settings.pool.pool_weight and (args.energy_weight or args.swa)
            # of several heads nobody knows whether one method has made their labels
            compared = bool(trained) and len(carrying) == 1
            training = noted(training, in_training, energies=compared)
            in_pool = pool_file.look_through(in_training)
        if any(stage.hessian.hessian_weight for stage in stages):
            to_match = shown(geometries(training), "matching Hessian labels", len(loader.dataset))
            labels, found = matched_labels(settings.hessian, "hessian_file", to_match, in_pool)
            logging.info(found)
        elif pool_file is not None:
            deque(chain(training, in_pool), maxlen=0)
        pool = None if pool_file is None else pool_file.pool()
        if settings.hessian.hessian_valid_file is not None:
            held_out = geometries(files.validation_data(carrying))
            valid_labels, found = matched_labels(settings.hessian, "hessian_valid_file", held_out)
            logging.info(found)
    except SettingsError as error:
        arguments.refuse(error)
    lists = NeighbourLists(structures.search, args.r_max)
    loader.piwsl_companions = Companions(labels, pool, valid_labels, lists)
    return run()


def _check_heads(settings: MaceSettings, heads: Sequence[str]) -> None:
    """End the run if a chosen head is not there: MACE decides late whether there is replay."""
    chosen = settings.mace.heads or ()
    absent = [name for name in dict.fromkeys(chosen) if name not in heads]
    if absent:
        arguments.fail(
            f"--piwsl_heads={','.join(chosen)}: this run has no head {', '.join(absent)}, only "
            f"{', '.join(heads)}; remove it, or, for {REPLAY_HEAD}, give replay data "
            "(--multiheads_finetuning=True with --pt_train_file)"
        )


def _check_force_labels(args: Namespace, dataset: Any) -> None:
    """Warn if the base loss could use force labels and no structure has them."""
    if args.loss == ENERGY:
        return
    if any(bool(has_label(structure, "forces")) for structure in dataset):
        return
    logging.warning(
        f"PIWSL: the training data has no force labels under --forces_key={args.forces_key}: the "
        f"base loss '{args.loss}' trains on the other labels alone, and every "
        "step still pays for the forces. If there are labels, correct --forces_key; if not, choose "
        "--piwsl_base_loss=energy"
    )
