"""Labelled structures of the small data sets in ``data``."""

from pathlib import Path

import ase
import ase.io

DATA = Path(__file__).parents[1] / "data"


def bundled(name: str, index: int) -> ase.Atoms:
    labelled = [a for a in ase.io.read(DATA / f"{name}.xyz", index=":40") if len(a) > 1]
    return labelled[index]
