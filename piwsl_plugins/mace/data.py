"""What PIWSL needs beside MACE's batches, read and checked once, before training."""

from __future__ import annotations

import dataclasses
import logging
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from ..core.hessian_labels import HessianLabels
from ..core.hessian_targets import Geometry, matched_labels
from ..core.options import SettingsError
from ..core.pool import Pool
from ..core.term_table import weights_of
from . import arguments, files
from .arguments import ENERGY, MaceSettings
from .host import carrying_heads
from .loss import has_label
from .pool import geometries, read_pool


@dataclasses.dataclass(frozen=True)
class Companions:
    """What goes with the training data, attached to MACE's training loader.

    So nothing of it passes through MACE's datasets and collation, model files or checkpoints.

    Attributes:
        labels: Hessian labels, if they have a weight.
        pool: structures beside the training set, if there is use for them.
        valid_labels: Hessian labels of validation structures.
    """

    labels: HessianLabels | None = None
    pool: Pool | None = None
    valid_labels: HessianLabels | None = None


def prepare(run: Callable[[], Any], given: dict[str, Any]) -> Any:
    """Read and check what the settings need, before MACE's ``configure_model``.

    Args:
        run: MACE's function (mace/tools/model_script_utils.py) with its arguments bound.
        given: these by name.
    """
    args, loader = given["args"], given["train_loader"]
    settings = arguments.settings_of(args)
    stages = (settings, settings.stage_two()) if args.swa else (settings,)
    heads = carrying_heads(settings.mace.heads, given["heads"])
    _check_force_labels(args, settings, loader.dataset)
    labels = pool = valid_labels = None
    in_pool: Iterable[Geometry] = ()
    try:
        if settings.pool.pool_file and (settings.pool.pool_weight or any(map(weights_of, stages))):
            pool, in_pool = read_pool(settings, given, heads[0])
        if any(stage.hessian.hessian_weight for stage in stages):
            chosen = [given["heads"].index(head) for head in heads]
            training = _structures(loader.dataset, chosen, given["z_table"].zs)
            labels, found = matched_labels(settings.hessian, "hessian_file", training, in_pool)
            logging.info(found)
        if settings.hessian.hessian_valid_file is not None:
            configs = [config for config in given["head_configs"] if config.head_name in heads]
            held_out = geometries(files.validation_data(configs))
            valid_labels, found = matched_labels(settings.hessian, "hessian_valid_file", held_out)
            logging.info(found)
    except SettingsError as error:
        arguments.refuse(error)
    loader.piwsl_companions = Companions(labels, pool, valid_labels)
    return run()


def _structures(dataset: Any, heads: list[int], zs: list[int]) -> Iterator[Geometry]:
    """Numbers and positions of the structures of these heads."""
    numbers = torch.tensor([int(z) for z in zs])
    for structure in dataset:
        if int(structure["head"]) in heads:
            yield numbers[structure["node_attrs"].argmax(dim=-1)], structure["positions"]


def _check_force_labels(args: Namespace, settings: MaceSettings, dataset: Any) -> None:
    """End the run if an option needs force labels and no structure has them.

    If the base loss could use them, a warning says so: it then trains on energies alone.
    """
    adversarial = settings.consistency.displacement == "adversarial"
    if not adversarial and args.loss == ENERGY:
        return
    if any(bool(has_label(structure, "forces")) for structure in dataset):
        return
    absent = f"the training data has no force labels under --forces_key={args.forces_key}"
    if adversarial:
        arguments.fail(
            f"--piwsl_displacement=adversarial needs force labels, but {absent}; correct this key "
            "or choose another value"
        )
    logging.warning(
        f"PIWSL: {absent}: the base loss '{args.loss}' trains on the other labels alone, and every "
        "step still pays for the forces. If there are labels, correct --forces_key; if not, choose "
        "--piwsl_base_loss=energy"
    )
