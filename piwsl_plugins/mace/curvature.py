"""Curvature labels beside MACE's data: where they are read, and whose they are."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

import torch
from mace.tools.scripts_utils import check_path_ase_read
from torch import Tensor

from ..core.curvature import HESSIAN_KEY, CurvatureLabel, CurvatureLabels, read_labels
from ..core.settings import SettingsError
from . import arguments


def read(args: Namespace, train_files: list[str]) -> CurvatureLabels:
    """The labels of ``--piwsl_curvature_file``, by default of the training files themselves.

    Args:
        args: MACE's arguments.
        train_files: training files of the heads whose structures carry terms.
    """
    given = arguments.settings_of(args).curvature_file
    labels = []
    for path in train_files if given is None else [given]:
        try:
            labels += read_labels(path)
        except (SettingsError, ValueError) as error:
            reason = error.remedy if isinstance(error, SettingsError) else str(error)
            if given is None:
                reason = (
                    f"there is no --piwsl_curvature_file, so that the Hessians ('{HESSIAN_KEY}') "
                    f"are looked for in the training data, but of {path}: {reason}; make labels "
                    "with piwsl-curvature and name them with --piwsl_curvature_file"
                )
                arguments.fail(f"--piwsl_pitc_target=curvature: {reason}")
            arguments.fail(f"--piwsl_curvature_file={given}: {reason}")
    return CurvatureLabels(labels)


def find_labels(
    labels: CurvatureLabels, batch: dict[str, Tensor], atomic_numbers: Tensor
) -> list[CurvatureLabel | None]:
    """The label of each structure of a batch, or None.

    Args:
        labels: all labels.
        batch: MACE's batch.
        atomic_numbers: ``(n_elements,)``, those of the model, in the order of ``node_attrs``.
    """
    sizes = batch["ptr"].diff().tolist()
    return labels.find_all(numbers_of(batch, atomic_numbers), batch["positions"], sizes)


def numbers_of(data: Any, atomic_numbers: Tensor) -> Tensor:
    """The atomic numbers that MACE's one-hot ``node_attrs`` stand for, ``(n_atoms,)``."""
    return atomic_numbers.to(data["node_attrs"].device)[data["node_attrs"].argmax(dim=-1)]


def check(
    args: Namespace,
    labels: CurvatureLabels,
    structures: Iterable[Any],
    atomic_numbers: Tensor,
    with_pool: bool,
) -> None:
    """Log how many training structures have a label, and end the run if none has.

    Args:
        args: MACE's arguments.
        labels: all labels.
        structures: the training structures whose head carries terms.
        atomic_numbers: ``(n_elements,)``, in the order of ``node_attrs``.
        with_pool: whether structures of the pool have labels, so that training ones need none.
    """
    n = n_hessians = n_probes = n_probed = 0
    for data in structures:
        n += 1
        label = labels.find(numbers_of(data, atomic_numbers).cpu(), data["positions"].cpu())
        if label is None:
            continue
        n_hessians += label.curvatures is None
        n_probed += label.curvatures is not None
        n_probes += 0 if label.curvatures is None else len(label.curvatures)
    if n_hessians + n_probed == 0 and not with_pool:
        given = arguments.settings_of(args).curvature_file
        named = f"--piwsl_curvature_file={given}" if given else "--piwsl_pitc_target=curvature"
        arguments.fail(
            f"{named}: none of the {n} training structures has a curvature label; labels belong to "
            "structures with the same atoms in the same order and positions (within 0.001 Å), so "
            "make them from the training file: piwsl-curvature train.xyz …"
        )
    logging.info(
        f"PIWSL: curvature labels for {n_hessians + n_probed} of {n} training structures "
        f"({n_hessians} Hessians, {n_probes} probes)"
    )


def labelled_frames(args: Namespace, labels: CurvatureLabels, frames: list[Any]) -> list[Any]:
    """Those ``ase.Atoms`` of the pool that have a label; none ends the run."""
    found = [
        atoms
        for atoms in frames
        if labels.find(torch.from_numpy(atoms.numbers), torch.from_numpy(atoms.positions))
    ]
    if not found:
        arguments.fail(
            f"--piwsl_unlabeled_file={arguments.settings_of(args).unlabeled_file}: none of its "
            f"{len(frames)} structures has a curvature label, which --piwsl_pitc_target=curvature "
            "needs; make labels of this file too and put all into one --piwsl_curvature_file, or "
            "leave the pool out"
        )
    logging.info(f"PIWSL: curvature labels for {len(found)} of {len(frames)} pool structures")
    return found


def ase_files(paths: Iterable[str]) -> list[str]:
    """Those of MACE's training files that ASE reads, without HDF5 and LMDB."""
    return [path for path in paths if check_path_ase_read(path)]
