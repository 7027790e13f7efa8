"""What a model file is, by its name or, of other names, by its content, which is not executed."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

#: file name endings by kind; NequIP's are compiled, or loaded eagerly
ENDINGS = {
    "mace": (".model",),
    "nequip-compiled": (".nequip.pt2", ".nequip.pth"),
    "nequip-saved": (".nequip.zip", ".ckpt"),
}
#: torch's format before 1.6 has four pickles before its numbers
_LEGACY_PICKLES = 4
_LAMMPS = "is made for LAMMPS; give the .model that it was made from"
_BY_ENDING = "; NequIP goes by the names of files, so name it *{}"


def kind_by_name(path: str) -> str | None:
    """Of :data:`ENDINGS`, or None."""
    return next((kind for kind, endings in ENDINGS.items() if path.endswith(endings)), None)


def kind_by_content(path: Path) -> str | None:
    """Kind of a file of any name: "mace", or None for what is no model.

    Raises:
        ValueError: in words, for a model that cannot be used as it is.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _kind_of_archive(archive)
    with path.open("rb") as file:
        return _kind_of_pickle(file, _LEGACY_PICKLES) if file.peek(1)[:1] == b"\x80" else None


def _kind_of_archive(archive: zipfile.ZipFile) -> str | None:
    names = archive.namelist()

    def holds(part: str) -> bool:
        return any(part in name for name in names)

    if holds("/code/__torch__/mace/calculators/lammps"):
        raise ValueError(_LAMMPS)
    if holds("/code/__torch__/mace/"):
        return "mace"
    if holds("/code/__torch__/nequip") or holds("/code/__torch__/allegro"):
        raise ValueError("is a compiled NequIP model" + _BY_ENDING.format(".nequip.pth"))
    if holds("aotinductor"):
        raise ValueError("is a model compiled by torch" + _BY_ENDING.format(".nequip.pt2"))
    if holds(".data/extern_modules"):
        raise ValueError("is a packaged model" + _BY_ENDING.format(".nequip.zip"))
    pickled = [name for name in names if name.endswith("/data.pkl")]
    if not pickled:
        return None
    with archive.open(pickled[0]) as file:
        return _kind_of_pickle(file, 1)


def _kind_of_pickle(file: IO[bytes], n_pickles: int) -> str | None:
    texts = set(_texts(file, n_pickles))
    if any(text.startswith("mace.calculators.lammps") for text in texts):
        raise ValueError(_LAMMPS)
    if any(text.startswith("mace.") for text in texts):
        return "mace"
    if "pytorch-lightning_version" in texts:
        raise ValueError("is a checkpoint of NequIP's trainer" + _BY_ENDING.format(".ckpt"))
    if any("_rebuild_tensor" in text for text in texts):
        raise ValueError(
            "holds weights without their model, as MACE's checkpoints do; give the .model that "
            "mace_run_train writes at its end"
        )
    return None


def _texts(file: IO[bytes], n_pickles: int) -> Iterator[str]:
    """Names of classes and other text in pickles, of which nothing is executed."""
    try:
        for _ in range(n_pickles):
            for _, argument, _ in pickletools.genops(file):
                if isinstance(argument, str):
                    yield argument
    except (ValueError, pickle.UnpicklingError):
        return
