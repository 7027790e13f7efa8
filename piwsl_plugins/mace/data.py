"""What PIWSL needs beside MACE's batches, read and checked once, before training."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InputError, SettingsError
from ..frames.entries import Entry
from ..frames.state import CHARGE_KEYS
from ..frames.unread import unread_state
from ..labels.hessian_lookup import HessianLabels
from ..labels.hessian_matching import matched_labels
from ..progress import shown
from ..terms.displacements import bond_warning
from ..terms.neighbours import NeighbourLists
from ..terms.term_table import weights_of
from . import arguments, files, structures
from .arguments import ENERGY, MaceSettings
from .companions import Companions, keep
from .first_energies import expected_energies
from .fitted_energies import require_labels_of_average_E0s, require_labels_of_scaling
from .host import REPLAY_HEAD, carrying_heads
from .ignored_weights import warn_of_weights
from .labels import read_by, weighed
from .missing_labels import has_label
from .pool import PoolFile, keys_of
from .process import fail
from .pseudolabels import check_pseudolabels
from .restart import check_checkpoints
from .sets import Sets


def prepare(run: Callable[[], Any], given: dict[str, Any]) -> Any:
    """Read and check what the settings need, before MACE's ``configure_model``.

    Args:
        run: MACE's function (mace/tools/model_script_utils.py) with its arguments bound.
        given: these by name.
    """
    args, loader, configs = given["args"], given["train_loader"], given["head_configs"]
    settings = arguments.settings_of(args)
    stages = (settings, settings.stage_two()) if args.swa else (settings,)
    _check_heads(settings, given["heads"])
    check_pseudolabels(args, configs, given["model_foundation"])
    require_labels_of_average_E0s(configs)
    require_labels_of_scaling(args, configs, given["model_foundation"] is not None)
    sets = Sets(configs)
    _check_validation(args, configs, sets)
    heads = carrying_heads(settings.mace.heads, given["heads"])
    carrying = [config for config in configs if config.head_name in heads]
    others = [config for config in configs if config.head_name not in heads]
    terms = any(map(weights_of, stages))
    with_hessians = any(stage.hessian.hessian_weight for stage in stages)
    with_valid_hessians = settings.hessian.hessian_valid_file is not None
    with_pool = settings.pool.pool_file and (settings.pool.pool_weight or terms)
    trained = settings.pool.pool_weight and (args.energy_weight or args.swa)
    # of several heads nobody knows whether one method has made their labels
    energies = bool(with_pool and trained and len(carrying) == 1)
    labels = valid_labels = of_pool = None
    in_pool: list[Entry] = []
    in_training: list[Entry] = []
    in_others: list[Entry] = []
    in_validation: list[Entry] = []
    in_others_validation: list[Entry] = []
    try:
        _check_levels(settings, heads, with_hessians)
        if with_pool or with_hessians or with_valid_hessians:
            _check_states(configs, settings.pool.pool_file)
        if with_pool:
            of_pool = PoolFile(settings, given, heads[0], read_by(args, args.loss))
            in_pool = of_pool.entries
        if with_pool or with_hessians:
            in_training, in_others = sets.training(carrying, energies), sets.training(others)
        if with_pool or with_valid_hessians:
            in_validation, in_others_validation = map(sets.validation, (carrying, others))
        if of_pool is not None:
            held_out = [*in_validation, *in_others_validation, *sets.test(configs)]
            every = [*in_training, *in_others]
            of_pool.look_through(held_out, every, energies, weighed(args), terms)
        if with_hessians:
            labels = _matched(settings, "hessian_file", in_training, in_pool, in_others)
        if with_valid_hessians:
            valid_labels = _matched(
                settings, "hessian_valid_file", in_validation, (), in_others_validation
            )
        pool = None if of_pool is None else of_pool.pool()
        for stage in stages:
            warning = bond_warning(stage.consistency, sets.structures(carrying), "--piwsl_")
            if warning:
                logging.warning(warning)
    except SettingsError as error:
        arguments.refuse(error)
    except InputError as error:
        fail(str(error))
    learned = () if pool is None or not settings.pool.pool_weight else pool.dataset
    _check_force_labels(args, loader.dataset, learned)
    warn_of_weights(args.loss, loader.dataset.datasets, "the training data")
    lists = NeighbourLists(structures.search, args.r_max)
    model, outputs = run()
    check_checkpoints(args, model)
    expected = expected_energies(given, model)
    keep(loader, Companions(labels, pool, valid_labels, lists, expected))
    return model, outputs


def _matched(
    settings: MaceSettings,
    option: str,
    entries: Sequence[Entry],
    pool: Sequence[Entry],
    others: Sequence[Entry],
) -> HessianLabels:
    """The labels of a file for structures, of which the log is told.

    Raises:
        SettingsError: naming the option.
    """
    to_match = shown([entry.structure for entry in entries], "matching Hessian labels")
    in_pool, in_others = ([entry.structure for entry in some] for some in (pool, others))
    try:
        labels, found = matched_labels(settings.hessian, option, to_match, in_pool, in_others)
    except SettingsError as error:
        raise SettingsError(error.name, error.value, _with_keys(error.remedy)) from error
    logging.info(_with_keys(found))
    return labels


def _with_keys(found: str) -> str:
    """What was found, with MACE's options for the charges that it may not have read."""
    if "and another charge" in found or "and another spin" in found:
        found += (
            "; MACE reads charge and multiplicity of a frame under the names that "
            "--total_charge_key and --total_spin_key give ('total_charge' and 'total_spin' by "
            "default)"
        )
    return found


def _check_levels(settings: MaceSettings, heads: Sequence[str], with_hessians: bool) -> None:
    """Ask which head Hessians are of, where there are several that could have them.

    Args:
        settings: name the files.
        heads: those whose structures carry terms.
        with_hessians: whether Hessian labels have a weight.

    Raises:
        SettingsError: naming the file.
    """
    if settings.mace.heads is not None or len(heads) < 2:
        return
    hessian = settings.hessian
    for option, used in (("hessian_file", with_hessians), ("hessian_valid_file", True)):
        path = getattr(hessian, option)
        if path is not None and used:
            raise SettingsError(
                option,
                path,
                f"this run has the heads {', '.join(heads)}, and Hessians are of one method; say "
                "which heads have these, and the PIWSL terms, with --piwsl_heads",
            )


def _check_states(heads: Sequence[Any], pool_file: str | None) -> None:
    """Refuse files with charges or spins that MACE does not read: they tell structures apart.

    Raises:
        InputError: naming file, frame and options.
    """
    for head in heads:
        names = head.key_specification.info_keys
        read = {key: names.get(key, key) for key in ("total_charge", "total_spin")}
        paths = files.data_files(vars(head), files.TRAINING + files.HELD_OUT)
        for path in [*paths, *([] if pool_file is None else [pool_file])]:
            found = unread_state(path, read.values())
            if found is None:
                continue
            number, given = found
            name = given.partition("=")[0]
            option = "total_charge" if name in CHARGE_KEYS else "total_spin"
            raise InputError(
                f"{path}: frame {number} (from 0) has {given}, but MACE reads '{read[option]}', so "
                "that ions and neutral structures would be taken for the same; give "
                f"--{option}_key={name} (a model that does not embed it stays as it is)"
            )


def _check_validation(args: Namespace, heads: Sequence[Any], sets: Sets) -> None:
    """End the run if a validation set measures nothing: its first model would be the best."""
    stages = (weighed(args), weighed(args, stage_two=True)) if args.swa else (weighed(args),)
    for head in heads:
        for names in stages:
            found = sets.labels_in_validation(head, names)
            if not names or any(labels for labels in found):
                continue
            paths = [head.valid_file] if isinstance(head.valid_file, str) else head.valid_file
            option = f"--valid_file={','.join(paths)}" if paths else "the part of --train_file"
            fail(
                f"{option}: no structure of the validation data of head '{head.head_name}' has a "
                f"label that the loss reads ({keys_of(head, names)}), so that every model would "
                "have loss 0, and the first be kept; correct these keys, or give such labels"
            )


def _check_heads(settings: MaceSettings, heads: Sequence[str]) -> None:
    """End the run if a chosen head is not there: MACE decides late whether there is replay."""
    chosen = settings.mace.heads or ()
    absent = [name for name in dict.fromkeys(chosen) if name not in heads]
    if absent:
        fail(
            f"--piwsl_heads={','.join(chosen)}: this run has no head {', '.join(absent)}, only "
            f"{', '.join(heads)}; remove it, or, for {REPLAY_HEAD}, give replay data "
            "(--multiheads_finetuning=True with --pt_train_file)"
        )


def _check_force_labels(args: Namespace, dataset: Any, pool: Sequence[Any]) -> None:
    """Warn of forces that are paid for and not there, or there, in a pool, and not read.

    Args:
        args: MACE's.
        dataset: the training structures.
        pool: structures whose labels are trained on beside these; the first stand for all.
    """
    in_pool = any(bool(has_label(pool[index], "forces")) for index in range(min(len(pool), 10)))
    if args.loss == ENERGY:
        if in_pool:
            logging.warning(
                "PIWSL: the pool has force labels, which the base loss 'energy' does not read; to "
                "learn them choose --piwsl_base_loss=weighted, in which training data without "
                "forces counts with its energies"
            )
        return
    if any(bool(has_label(structure, "forces")) for structure in dataset):
        return
    found = f"PIWSL: the training data has no force labels under --forces_key={args.forces_key}"
    if in_pool:
        logging.info(f"{found}: forces are learned from the pool alone")
        return
    logging.warning(
        f"{found}: the base loss '{args.loss}' trains on the other labels alone, and every step "
        "still pays for the forces. If there are labels, correct --forces_key; if not, choose "
        "--piwsl_base_loss=energy"
    )
