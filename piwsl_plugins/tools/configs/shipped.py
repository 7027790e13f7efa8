"""The configs that come with this package: where they are, and what each says of itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from ...errors import InputError

_PACKAGE = Path(__file__).parents[2]
#: in an installed wheel, and in a checkout
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def read_configs() -> dict[str, str]:
    """The text of each config by its name, as in ``mace/weak``.

    Raises:
        InputError: if this installation has none.
    """
    for folder in _FOLDERS:
        files = sorted(folder.glob("*/*.yaml"))
        if files:
            return {f"{file.parent.name}/{file.stem}": file.read_text("utf-8") for file in files}
    raise InputError(
        f"there are no configs in {_FOLDERS[0]}: install piwsl-plugins again, as a wheel or from a "
        "whole checkout"
    )


def find(name: str, names: Iterable[str]) -> str:
    """The name of a config, from that or the end of a path, as in ``configs/mace/weak.yaml``.

    Raises:
        InputError: if there is none, naming those that are alike.
    """
    known = list(names)
    short = name.removeprefix("configs/").removesuffix(".yaml")
    if short in known:
        return short
    alike = [one for one in known if one.partition("/")[2] == short]
    alike = alike or difflib.get_close_matches(short, known, 3)
    hint = f"did you mean {' or '.join(alike)}?" if alike else "piwsl configs lists them"
    raise InputError(f"there is no config {name!r}; {hint}")


def first_sentence(text: str) -> str:
    """What a config's comment begins with, up to the first full stop or colon."""
    comment = re.match(r"(?:#.*\n)+", text)
    words = " ".join(re.sub("^# ?", "", comment[0], flags=re.MULTILINE).split()) if comment else ""
    return re.split(r"[.:](?= |$)", words, maxsplit=1)[0]


def bundled_files(text: str) -> list[str]:
    """The files that a config names below ``data/``, which a checkout has and a wheel has not."""
    without_comments = re.sub(r"#.*", "", text)
    return sorted(set(re.findall(r"\bdata/[\w./]+\.\w+", without_comments)))
