"""Replay on pseudolabels: whether MACE has put them in the place of the file's labels.

MACE 0.3.16 (mace/tools/multihead_tools.py) logs success even where it has not.
"""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from mace.tools import AtomicNumberTable
from mace.tools.multihead_tools import generate_pseudolabels_for_configs
from mace.tools.scripts_utils import check_path_ase_read

from .files import TRAINING, VALIDATION, data_files
from .host import REPLAY_HEAD
from .labels import labels_of, weighed
from .process import fail

_OPTION = "--pseudolabel_replay=True"


def check_pseudolabels(args: Namespace, heads: Sequence[Any], model: Any) -> None:
    """End the run if replayed structures keep the labels of their file, or learn none.

    Args:
        args: MACE's.
        heads: MACE's ``HeadConfig`` of all heads of the run.
        model: the pretrained one.
    """
    if not (args.pseudolabel_replay and args.multiheads_finetuning):
        return
    (head,) = (head for head in heads if head.head_name == REPLAY_HEAD)
    paths = data_files(vars(head), (*TRAINING, *VALIDATION))
    lazy = [path for path in paths if not check_path_ase_read(path)]
    if lazy:
        fail(
            f"{_OPTION}: MACE 0.3.16 keeps the labels of HDF5 and LMDB files, here of "
            f"{', '.join(lazy)}; give the replayed structures as extended XYZ, or leave it out"
        )
    replayed = [*head.collections.train, *(head.collections.valid or ())]
    # MACE asks the pretrained model for virials, too, of every structure
    unlabelled = [config for config in replayed if config.properties.get("virials") is None]
    unlabelled += _that_fail(args, model, [c for c in replayed if _had_virials(c)])
    failed = len(unlabelled)
    if failed:
        fail(
            f"{_OPTION}: MACE could not label {failed} of {len(replayed)} replayed structures with "
            "the pretrained model, and keeps the labels of the file; its error is in the log above "
            f"(of dtypes: the model must have --default_dtype={args.default_dtype})"
        )
    names = weighed(args) & {"energy", "forces"}
    without = sum(labels_of(config, names) != names for config in replayed)
    if without:
        keys = head.key_specification
        wanted = [keys.info_keys["energy"]] * ("energy" in names)
        wanted += [keys.arrays_keys["forces"]] * ("forces" in names)
        fail(
            f"{_OPTION}: {without} of {len(replayed)} replayed structures have no "
            f"{' and '.join(wanted)} in their file; MACE 0.3.16 gives their pseudolabels the "
            "weight 0, so that nothing is replayed; write any numbers there, they are replaced"
        )


def _had_virials(config: Any) -> bool:
    """Whether a structure's file gave its virials: those of pseudolabels have no weight."""
    return bool(config.property_weights.get("virials"))


def _that_fail(args: Namespace, model: Any, configs: Sequence[Any]) -> list[Any]:
    """Those of some structures that MACE cannot label; asked again, without their virials."""
    if not configs:
        return []
    bare = [
        dataclasses.replace(config, properties={**config.properties, "virials": None})
        for config in configs
    ]
    z_table = AtomicNumberTable(sorted(model.atomic_numbers.tolist()))
    device = next(model.parameters()).device
    found = generate_pseudolabels_for_configs(
        model, bare, z_table, args.r_max, device, args.batch_size
    )
    return [config for config in found if config.properties["virials"] is None]
