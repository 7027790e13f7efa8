"""Reading structures of a file that an option names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .settings import SettingsError


def read_structures(path: Path | str, option: str) -> list[Any]:
    """All structures of a file that ASE reads, as ``ase.Atoms``.

    Args:
        path: the file.
        option: name of the option that gave it.

    Raises:
        SettingsError: naming the option, if the file cannot be read.
    """
    import ase.io

    check_exists(path, option)
    try:
        return list(ase.io.iread(path, index=":"))
    except Exception as error:  # ASE's readers raise errors of every kind
        raise SettingsError(option, str(path), f"ASE cannot read this file ({error})") from error


def check_exists(path: Path | str, option: str) -> None:
    """Refuse a path at which there is no file.

    Raises:
        SettingsError: naming the option.
    """
    if not Path(path).is_file():
        raise SettingsError(option, str(path), "there is no such file")
