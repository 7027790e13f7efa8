"""What a run writes to: no folder for a file or the reverse, no file it reads, no other process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..errors import InputError, RunError

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: endings of extended XYZ
XYZ = (".xyz", ".extxyz")


def check_file(path: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse a file to write that cannot be one, or that is read.

    Args:
        path: the file; None among ``inputs`` stands for one that is not given.
        inputs: files that are read.

    Raises:
        InputError: naming the file.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file to write")
    if path.resolve() in {one.resolve() for one in inputs if one is not None}:
        raise InputError(f"{path} is read; give what is written another name")


def require_ending(option: str, path: Path, endings: Sequence[str]) -> None:
    """Refuse a file to write whose name does not say what it is.

    Raises:
        InputError: naming the option and what is allowed.
    """
    if path.suffix not in endings:
        *others, last = endings
        allowed = f"{', '.join(others)} or {last}"
        raise InputError(f"{option}={path}: allowed is a name that ends in {allowed}")


def check_new(path: Path, overwrite: bool) -> None:
    """Refuse to write where a file is, unless it is to be replaced.

    Raises:
        InputError: naming it.
    """
    if path.exists() and not overwrite:
        refuse_existing(path)


def refuse_existing(path: Path) -> NoReturn:
    """Refuse to write where a file is.

    Raises:
        InputError: always.
    """
    raise InputError(f"{path} exists; give another name, or --overwrite to replace it")


def check_folder(path: Path) -> None:
    """Refuse a folder to write that is a file.

    Raises:
        InputError: naming it.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"--out={path}: this is a file; give the name of a folder")


@contextlib.contextmanager
def alone(*files: Path, folder: Path | None = None) -> Iterator[None]:
    """Write without another process that writes to the same place.

    A file ``OUT.lock`` beside each file, and ``.lock`` in the folder, is locked as long as this
    lasts. It goes with its lock; of a process that is killed, the system lifts the lock. It is made
    before any work, so that a place that cannot be written is known in time.

    Args:
        files: to write.
        folder: likewise. Folders that do not exist are made, and removed if nothing is written.

    Raises:
        InputError: if one is to be in what is a file.
        RunError: if another process writes to one of them.
        OSError: if one cannot be written.
    """
    locks = {file: file.with_name(file.name + ".lock") for file in files}
    if folder is not None:
        locks[folder] = folder / ".lock"
    with contextlib.ExitStack() as stack:
        for output, lock in locks.items():
            stack.enter_context(_locked(lock, output))
        yield


@contextlib.contextmanager
def _locked(lock: Path, output: Path) -> Iterator[None]:
    made = [folder for folder in lock.parents if not folder.exists()]
    there = lock.parents[len(made)]
    if not there.is_dir():
        raise InputError(f"{output}: {there} is a file, not a folder; give another name")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = _held(lock, output)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # of Windows, where it goes with its release
                lock.unlink()
            held.release()
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


def _held(lock: Path, output: Path) -> BaseFileLock:
    """The lock of that file, which another process may have removed in between."""
    from filelock import FileLock, Timeout

    while True:
        lock.touch()
        held = FileLock(lock)
        with contextlib.suppress(FileNotFoundError):
            before = lock.stat()
            try:
                held.acquire(timeout=0)
            except Timeout:
                raise RunError(
                    f"{output}: another process writes to it; wait for its end, or give another "
                    "--out"
                ) from None
            except FileNotFoundError:
                continue
            except (OSError, NotImplementedError):  # a file system without locks
                return held
            if os.path.samestat(before, lock.stat()):
                return held
        held.release()
