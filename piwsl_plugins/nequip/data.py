"""NequIP's data sets: which there are, and what is wrong with a file that NequIP cannot read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import ase.io
from hydra.utils import instantiate
from nequip.data.datamodule import NequIPDataModule
from nequip.utils import RankedLogger

from ..errors import SettingsError
from ..frames.checks import problem_of_atoms
from ..options.settings import Settings
from .config import DataError
from .labels import Reads
from .levels import Levels
from .ranks import all_or_none
from .tables import Reader

logger = RankedLogger(__name__, rank_zero_only=True)

Datasets = Mapping[str, list[tuple[str, Any]]]

#: the data sets that each stage of Lightning's trainer reads
_SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}


def datasets_of(datamodule: Any, splits: Collection[str] = ("train", "val", "test")) -> Datasets:
    """Name and dataset of each training ("train"), validation ("val") and "test" set.

    Those that the datamodule does not hold at the moment are read here: NequIP reads those of
    tests after training only.

    Args:
        datamodule: NequIP's.
        splits: which are asked for; of the others there are none.

    Raises:
        DataError: for one that cannot be read.
    """
    found: dict[str, list[tuple[str, Any]]] = {}
    for split in ("train", "val", "test"):
        configs = getattr(datamodule, f"{split}_dataset_config", None) or []
        made = getattr(datamodule, f"{split}_dataset", None) or [None] * len(configs)
        found[split] = []
        for config, dataset in zip(configs, made) if split in splits else ():
            paths = list(dict.fromkeys(paths_of(config)))
            name = f"{split} data"
            if paths:
                name += " '{}'".format("', '".join(paths))
            given = _read(name, config, paths) if dataset is None else dataset
            found[split].append((name, given))
    return found


def splits_read(module: Any, datamodule: Any) -> tuple[str, ...]:
    """The splits that a run reads: tests are not opened by one that only trains.

    ``nequip-train`` (``nequip/scripts/train.py``) tells the training module what is to be run.
    From Python nobody knows: tests are read if they can be.
    """
    information = module.hparams.get("info_dict") or {}
    runs = information.get("runs")
    if runs is not None:
        return ("train", "val", "test") if "test" in runs else ("train", "val")
    try:
        datasets_of(datamodule, ("test",))
    except DataError as error:
        logger.warning(f"PIWSL: WARNING: test data is not looked at: {error}")
        return ("train", "val")
    return ("train", "val", "test")


def paths_of(config: Any) -> Iterator[str]:
    """The files that the config of a dataset names, those of its parts too."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key in ("file_path", "file_name") and isinstance(value, str):
                yield value
            elif key in ("dataset", "datasets"):
                yield from paths_of(value)
    elif isinstance(config, list):
        for one in config:
            yield from paths_of(one)


def _read(name: str, config: Mapping[str, Any], paths: list[str]) -> Any:
    try:
        return instantiate(config)
    except Exception as error:  # datasets raise errors of every kind
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        raise DataError(f"{name}: {_unreadable(paths, reason)}") from error


def _unreadable(paths: list[str], reason: BaseException) -> str:
    """Why a file cannot be read, in words; with the frame, where ASE reads it."""
    n_read, why = 0, str(reason) or type(reason).__name__
    try:
        for atoms in ase.io.iread(paths[0]) if len(paths) == 1 else ():
            problem = problem_of_atoms(atoms)
            if problem:
                return f"frame {n_read} (from 0): {problem}"
            n_read += 1
    except Exception:  # of ASE's readers, of every kind
        return f"it cannot be read after {n_read} frames ({why})"
    return f"it cannot be used ({why})"


def check_datamodule(settings: Settings, datamodule: Any) -> None:
    """Refuse options that need a datamodule if there is none, but loaders alone.

    Raises:
        SettingsError: naming the option.
    """
    for name in ("hessian_file", "hessian_valid_file", "pool_file"):
        value = settings.values()[name]
        if value is not None and datamodule is None:
            raise SettingsError(
                name,
                value,
                "it needs the data's files, which loaders do not name; give the trainer a "
                "datamodule of NequIP: trainer.fit(module, datamodule=…)",
            )


def check_data(datasets: Datasets, reads: Mapping[str, Reads] | None = None) -> None:
    """Refuse data that cannot be right.

    Args:
        datasets: from :func:`datasets_of`.
        reads: the labels that are read of "train", "val" and "test".

    Raises:
        DataError: naming file, frame and remedy.
    """
    reader = Reader([], Levels(None))
    for split, named in datasets.items():
        reader.read(named, (reads or {}).get(split, Reads("")))


def explain_errors() -> None:
    """Let NequIP's datamodules say which file and frame cannot be read.

    NequIP 0.19 reads data for its statistics before there is a trainer
    (``nequip/scripts/train.py``), and errors come from Hydra, ASE or a neighbour list.
    """
    for name in ("setup", "get_statistics"):
        method = getattr(NequIPDataModule, name)
        if not hasattr(method, "__wrapped__"):
            setattr(NequIPDataModule, name, _explained(method))


def _explained(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def explained(datamodule: Any, *arguments: Any, **keywords: Any) -> Any:
        with all_or_none():
            try:
                return method(datamodule, *arguments, **keywords)
            except DataError:
                raise
            except Exception:
                stage = next(iter((*arguments, *keywords.values())), "train")
                check_data(datasets_of(datamodule, _SPLITS.get(stage, (stage,))))
                raise

    return explained
