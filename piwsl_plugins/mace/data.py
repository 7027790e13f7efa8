"""What PIWSL needs beside MACE's batches, read and checked once, before training."""

from __future__ import annotations

import dataclasses
import logging
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..core.hessian_labels import HessianLabels, read_labels
from ..core.hessian_targets import check_labels
from ..core.options import SettingsError
from ..core.pool import Pool
from ..core.term_table import weights_of
from . import arguments
from .arguments import ENERGY, MaceSettings
from .host import carrying_heads
from .loss import has_label
from .pool import read_pool


@dataclasses.dataclass(frozen=True)
class Companions:
    """What goes with the training data, attached to MACE's training loader.

    So nothing of it passes through MACE's datasets and collation, model files or checkpoints.

    Attributes:
        labels: Hessian labels, if they have a weight.
        pool: structures beside the training set, if there is use for them.
    """

    labels: HessianLabels | None = None
    pool: Pool | None = None


def prepare(run: Callable[[], Any], given: dict[str, Any]) -> Any:
    """Read and check what the settings need, before MACE's ``configure_model``.

    Args:
        run: MACE's function (mace/tools/model_script_utils.py) with its arguments bound.
        given: these by name.
    """
    args, loader, z_table = given["args"], given["train_loader"], given["z_table"]
    settings = arguments.settings_of(args)
    stages = (settings, settings.stage_two()) if args.swa else (settings,)
    heads = carrying_heads(settings.mace.heads, given["heads"])
    _check_force_labels(args, settings, loader.dataset)
    labels = pool = None
    n_hessians = 0
    try:
        if any(stage.hessian.hessian_weight for stage in stages):
            known = read_labels(str(settings.hessian.hessian_file))
            check_labels(settings.hessian, known)
            labels = HessianLabels(known)
            chosen = [given["heads"].index(head) for head in heads]
            n_hessians, n = labels.summary(_structures(loader.dataset, chosen, z_table.zs))
            logging.info(f"PIWSL: Hessian labels for {n_hessians} of {n} training structures")
        if settings.pool.pool_file and (settings.pool.pool_weight or any(map(weights_of, stages))):
            pool, n_in_pool = read_pool(settings, given, heads[0], labels)
            n_hessians += n_in_pool
        if labels is not None and n_hessians == 0:
            raise SettingsError(
                "hessian_file",
                settings.hessian.hessian_file,
                f"none of the {n} training structures has a label; labels belong to structures "
                "with the same atoms in the same order and positions (within 0.001 Å), so make "
                "them from the training file with 'piwsl hessian'",
            )
    except SettingsError as error:
        arguments.refuse(error)
    loader.piwsl_companions = Companions(labels, pool)
    return run()


def _structures(dataset: Any, heads: list[int], zs: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
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
