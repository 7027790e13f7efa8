"""The folder of a run: what it was made with, and whether the output file is its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..runs import RunFolder, require_same
from ..storage import read_json, write_json, written_whole


class Stages:
    """Files of the stages of one run, which stay for a later run of the same command."""

    def __init__(self, folder: Path, out: Path, overwrite: bool) -> None:
        """Open the folder.

        Args:
            folder: it need not exist.
            out: the file to be written at the end.
            overwrite: whether what another run left in both is thrown away.

        Raises:
            InputError: if ``out`` is not from this folder, or the folder holds something else.
        """
        self.folder, self.out, self.overwrite = folder, out, overwrite
        self._digest = folder / "labels.json"
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--folder={folder}: this is a file; give the name of a folder")
        self._run = RunFolder(folder, overwrite)
        own = (".writing", ".partial", ".lock")
        foreign = folder.exists() and any(not p.name.endswith(own) for p in folder.iterdir())
        # these are there before the head, where a run was killed in between
        heads = (self._run.head, folder / "cheap.json", self._digest)
        if foreign and not any(head.is_file() for head in heads):
            raise InputError(f"{folder} is not the folder of a run of piwsl weak; give another")
        self._made_with = dict(self._run.made_with)
        if out.exists() and not overwrite and not self._wrote(out):
            raise InputError(
                f"{out} exists and was not written from {folder}; give another --out, or "
                "--overwrite to replace it"
            )

    @property
    def cheap_file(self) -> Path:
        """The labels of the cheap method, if it is a calculator."""
        return self.folder / "cheap.xyz"

    def clear(self) -> None:
        """Throw away what another run left in the folder, once, if the user wants that.

        The output file stays until it is replaced; it counts as of this folder, so that the command
        goes on without ``--overwrite``, which would begin anew.
        """
        if self._run.clear() and self.out.is_file():
            write_json(self._digest, {"sha256": [_digest_of(self.out)]})

    def enter(self, stage: str, settings: Mapping[str, Any]) -> None:
        """Say what a stage is made with; :meth:`keep` notes it in the folder.

        Raises:
            InputError: if the folder holds it, made with other settings.
        """
        wanted = json.loads(json.dumps(dict(settings)))
        there = self._made_with.setdefault(stage, wanted)
        require_same(there, wanted, self.folder, "was made with other settings", "--folder")

    def keep(self) -> None:
        """Note what the stages so far are made with."""
        self.clear()
        self._run.note(self._made_with)

    def write_out(self, write: Callable[[Path], None]) -> None:
        """Write the output file whole, and note that it is of this folder."""
        self.keep()
        with written_whole(self.out) as partial:
            write(partial)
            # before the file gets its name, so that an interruption leaves no file of nobody's
            write_json(self._digest, {"sha256": [*self._written(), _digest_of(partial)]})

    def _wrote(self, out: Path) -> bool:
        return _digest_of(out) in self._written()

    def _written(self) -> list[str]:
        return read_json(self._digest)["sha256"] if self._digest.is_file() else []


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
