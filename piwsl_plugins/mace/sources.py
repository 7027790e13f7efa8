"""What PIWSL uses beside MACE's batches: curvature labels, a frozen reference model, a pool.

All is read and checked once, before training, and goes with MACE's training loader, so that
nothing of it passes through MACE's datasets and collation, model files or checkpoints.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..core.curvature import CurvatureLabels
from ..core.settings import Settings
from . import arguments, curvature
from .pool import Pool, read_structures
from .reference import Reference, load

REPLAY_HEAD = "pt_head"


@dataclasses.dataclass(frozen=True)
class Sources:
    """What the terms use beside the batch; None where the settings do not need it.

    Attributes:
        labels: curvature labels, for target "curvature".
        reference: frozen model, for target "reference" or as a bound.
        pool: unlabelled structures.
    """

    labels: CurvatureLabels | None = None
    reference: Reference | None = None
    pool: Pool | None = None


def carrying_heads(settings: Settings, heads: Sequence[str]) -> list[str]:
    """The heads whose structures carry terms: those chosen, else all but the replay head."""
    default = [name for name in heads if name != REPLAY_HEAD or len(heads) == 1]
    return list(settings.heads or default)


def prepare(
    args: Namespace,
    train_loader: Any,
    model_foundation: torch.nn.Module | None,
    heads: list[str],
    z_table: Any,
    head_configs: list[Any],
) -> None:
    """Read and check what the settings need, before training; it goes with ``train_loader``.

    The arguments are those of MACE's ``configure_model`` (mace/tools/model_script_utils.py),
    the one function that sees the data, the foundation model and the element table together.
    It is called before LoRA layers or new heads change the foundation model.
    """
    settings = arguments.settings_of(args)
    stages = (settings, settings.stage_two()) if args.swa else (settings,)
    if not any(stage.uses(term) for stage in stages for term in ("pitc", "pisc")):
        train_loader.piwsl_sources = Sources()
        return
    carrying = carrying_heads(settings, heads)
    configs = [config for config in head_configs if config.head_name in carrying]
    elements = {int(z) for config in configs for z in config.atomic_numbers}
    frames = None
    if settings.unlabeled_file is not None:
        frames = read_structures(settings, z_table.zs)
        elements |= {int(z) for atoms in frames for z in atoms.numbers}
    labels = None
    if settings.pitc_target == "curvature":
        files = curvature.ase_files(path for config in configs for path in config.train_file)
        labels = curvature.read(args, files)
        if frames is not None:
            frames = curvature.labelled_frames(args, labels, frames)
        chosen = [heads.index(name) for name in carrying]
        structures = _carrying(train_loader.dataset, chosen)
        zs = torch.tensor([int(z) for z in z_table.zs])
        curvature.check(args, labels, structures, zs, with_pool=frames is not None)
    reference = None
    if settings.needs_reference():
        reference = _reference(args, settings, model_foundation)
        reference.check_elements(elements)
    pool = None
    if frames is not None:
        config = configs[0]
        pool = Pool.of_frames(frames, config, heads, z_table, args.r_max)
        logging.info(
            f"PIWSL: pool of {len(frames)} structures without labels, "
            f"{settings.unlabeled_per_batch} with each batch, as of head '{config.head_name}'"
        )
    train_loader.piwsl_sources = Sources(labels, reference, pool)


def _carrying(dataset: Any, heads: list[int]) -> Iterator[Any]:
    """The structures whose head carries terms, of two atoms or more."""
    for data in dataset:
        if int(data["head"]) in heads and len(data["positions"]) > 1:
            yield data


def _reference(
    args: Namespace, settings: Settings, model_foundation: torch.nn.Module | None
) -> Reference:
    if settings.reference_model is not None:
        return load(settings.reference_model, args.foundation_head)
    if model_foundation is None:
        arguments.fail(
            f"--piwsl_pitc_target={settings.pitc_target} needs a frozen model: give its file with "
            "--piwsl_reference_model, or fine-tune with --foundation_model, which is the default"
        )
    return Reference(
        copy.deepcopy(model_foundation),
        name=f"--foundation_model={args.foundation_model}",
        head=args.foundation_head,
    )


def of_loader(train_loader: Any, settings: Settings) -> Sources:
    """What :func:`prepare` found.

    Raises:
        RuntimeError: if the settings need something and it has not been called.
    """
    sources: Sources | None = getattr(train_loader, "piwsl_sources", None)
    needed = (
        settings.pitc_target == "curvature"
        or settings.needs_reference()
        or settings.unlabeled_file is not None
    )
    if sources is None and needed:
        raise RuntimeError(
            f"the PIWSL target '{settings.pitc_target}' or pool has not been prepared; train with "
            "mace_run_train, or call piwsl_plugins.mace.sources.prepare before training"
        )
    return sources or Sources()
