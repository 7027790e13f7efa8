"""Reading structures of a file that an option names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .frame_checks import problem_of_atoms
from .options import SettingsError


def read_structures(
    path: Path | str, option: str, keys: Mapping[str, str] | None = None
) -> list[Any]:
    """All structures of a file that ASE reads, as ``ase.Atoms``; none that cannot be right.

    Args:
        path: the file.
        option: name of the option that gave it.
        keys: labels to be checked, as name in the data by name in messages.

    Raises:
        SettingsError: naming the option and the frame, if the file cannot be used.
    """
    import ase.io

    check_exists(path, option)
    try:
        frames = list(ase.io.iread(path, index=":"))
    except Exception as error:  # ASE's readers raise errors of every kind
        reason = str(error) or type(error).__name__
        raise SettingsError(option, str(path), f"ASE cannot read this file ({reason})") from error
    if not frames:
        raise SettingsError(option, str(path), "there is no structure in this file")
    for index, atoms in enumerate(frames):
        labels = {name: label_of(atoms, key) for name, key in (keys or {}).items()}
        problem = problem_of_atoms(atoms, **labels)
        if problem:
            raise SettingsError(option, str(path), f"frame {index} (from 0): {problem}")
    return frames


def label_of(atoms: Any, key: str) -> Any:
    """A label of ``ase.Atoms``: of the frame, its atoms or its calculator; None if absent."""
    for place in (atoms.info, atoms.arrays, getattr(atoms.calc, "results", {})):
        if key in place:
            return place[key]
    return None


def check_exists(path: Path | str, option: str) -> None:
    """Refuse a path at which there is no file.

    Raises:
        SettingsError: naming the option.
    """
    if not Path(path).is_file():
        raise SettingsError(option, str(path), "there is no such file")
