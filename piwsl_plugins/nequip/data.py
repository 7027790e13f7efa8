"""What NequIP's datamodule holds, checked before training, and its Hessian labels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import ase.io
from hydra.utils import instantiate
from nequip.data import AtomicDataDict
from nequip.data.datamodule import NequIPDataModule
from nequip.utils import RankedLogger

from ..core.hessian_lookup import HessianLabels
from ..core.hessian_targets import Geometry, matched_labels
from ..core.pool import Pool
from ..core.progress import shown
from ..core.settings import Settings
from ..errors import SettingsError
from ..frames.checks import problem_of, problem_of_atoms
from .config import DataError
from .frames import Frame, frames_of, seen_frames
from .ranks import all_or_none
from .structures import numbers_of

logger = RankedLogger(__name__, rank_zero_only=True)

Datasets = Mapping[str, list[tuple[str, Any]]]


def datasets_of(datamodule: Any) -> Datasets:
    """Name and dataset of each training ("train"), validation ("val") and "test" set.

    Those that the datamodule does not hold at the moment are read here: NequIP reads those of
    tests after training only.

    Raises:
        DataError: for one that cannot be read.
    """
    found: dict[str, list[tuple[str, Any]]] = {}
    for split in ("train", "val", "test"):
        configs = getattr(datamodule, f"{split}_dataset_config", None) or []
        made = getattr(datamodule, f"{split}_dataset", None) or [None] * len(configs)
        found[split] = []
        for config, dataset in zip(configs, made):
            path = config.get("file_path", config.get("dataset", {}).get("file_path"))
            name = f"{split} data" if path is None else f"{split} data '{path}'"
            given = _read(name, config, path) if dataset is None else dataset
            found[split].append((name, given))
    return found


def _read(name: str, config: Mapping[str, Any], path: str | None) -> Any:
    try:
        return instantiate(config)
    except Exception as error:  # datasets raise errors of every kind
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        raise DataError(f"{name}: {_unreadable(path, reason)}") from error


def _unreadable(path: str | None, reason: BaseException) -> str:
    """Why a file cannot be read, in words; with the frame, where ASE reads it."""
    n_read, why = 0, str(reason) or type(reason).__name__
    try:
        for atoms in ase.io.iread(path) if path is not None else ():
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


def check_data(datasets: Datasets, labels: Mapping[str, Collection[str]] | None = None) -> None:
    """Refuse data that cannot be right.

    Args:
        datasets: from :func:`datasets_of`.
        labels: for "train", "val" and "test" the fields that must be finite where they are.

    Raises:
        DataError: naming file, frame and remedy.
    """
    for split, named in datasets.items():
        for name, dataset in named:
            if len(dataset) == 0:
                raise DataError(f"{name}: there is no frame in it")
            for number, frame in shown(frames_of(dataset), f"checking the {name}", len(dataset)):
                problem = problem_of_frame(frame, (labels or {}).get(split, ()))
                if problem:
                    raise DataError(f"{name}, frame {number} (from 0): {problem}")


def problem_of_frame(frame: Frame, labels: Collection[str] = ()) -> str | None:
    """What is wrong with a frame, in words; None if nothing is.

    Args:
        frame: its fields.
        labels: names of those that must be finite.
    """
    cell, pbc = frame.get(AtomicDataDict.CELL_KEY), frame.get(AtomicDataDict.PBC_KEY)
    positions = frame[AtomicDataDict.POSITIONS_KEY]
    numbers = frame.get(AtomicDataDict.ATOMIC_NUMBERS_KEY)
    if numbers is None:  # types count from 0, which as an atomic number is a dummy atom
        numbers = frame[AtomicDataDict.ATOM_TYPE_KEY] + 1
    return problem_of(
        numbers,
        positions,
        None if cell is None else cell.view(3, 3),
        None if pbc is None else pbc.view(3),
        **{name: frame[name] for name in labels if name in frame},
    )


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
                check_data(datasets_of(datamodule))
                raise

    return explained


def geometries(frames: Iterable[Frame], type_names: list[str]) -> Iterator[Geometry]:
    """Atomic numbers and positions (Å) of frames."""
    for frame in frames:
        yield numbers_of(frame, type_names), frame[AtomicDataDict.POSITIONS_KEY]


def hessian_labels(
    settings: Settings, datasets: Datasets, pool: Pool | None, type_names: list[str]
) -> HessianLabels | None:
    """The Hessian labels, if there is a weight on them, for structures as training sees them.

    Args:
        settings: decided.
        datasets: of the datamodule.
        pool: structures beside the training set, from files that have labels as well.
        type_names: of the model; element symbols, where data has no atomic numbers.

    Raises:
        SettingsError: naming ``hessian_file``, if it cannot be used or matches no structure.
    """
    if settings.hessian.hessian_file is None or not settings.hessian.hessian_weight:
        return None
    in_pool = geometries(pool.dataset.seen() if pool else (), type_names)
    return _matched("hessian_file", "train", settings, datasets, type_names, in_pool)


def valid_labels(
    settings: Settings, datasets: Datasets, type_names: list[str]
) -> HessianLabels | None:
    """The Hessian labels of validation structures, if there are any; likewise."""
    if settings.hessian.hessian_valid_file is None:
        return None
    return _matched("hessian_valid_file", "val", settings, datasets, type_names)


def _matched(
    option: str,
    split: str,
    settings: Settings,
    datasets: Datasets,
    type_names: list[str],
    in_pool: Iterable[Geometry] = (),
) -> HessianLabels:
    frames = (frame for name, dataset in datasets[split] for frame in seen_frames(name, dataset))
    of_split: Iterable[Geometry] = geometries(frames, type_names)
    n_frames = sum(len(dataset) for _, dataset in datasets[split])
    of_split = shown(of_split, "matching Hessian labels", n_frames)
    labels, found = matched_labels(settings.hessian, option, of_split, in_pool)
    logger.info(found)
    return labels
