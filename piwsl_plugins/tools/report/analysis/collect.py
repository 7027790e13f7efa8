"""The parts of a report, read back from disk and put together model by model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..parts import read_index, read_part
from . import consistency, labels, phonons, vibrations


@dataclasses.dataclass
class ModelParts:
    """What is known of one model.

    Attributes:
        source: file or factory, as given.
        kind: how it was loaded.
        predicted: on the labelled frames, or None.
        seconds: of each evaluation of a labelled frame.
        measured: its consistency, or None.
        scans: its scans by name.
        runs: its molecular dynamics.
        vibrations: on the Hessian-labelled structures.
        phonons: of the crystals.
    """

    source: str
    kind: str
    predicted: labels.Predicted | None = None
    seconds: list[float] = dataclasses.field(default_factory=list)
    measured: consistency.Measured | None = None
    scans: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    vibrations: list[vibrations.Vibrations] = dataclasses.field(default_factory=list)
    phonons: list[phonons.Phonons] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Collected:
    """One report: its index and its models, in the order given; the first is the baseline."""

    index: dict[str, Any]
    models: dict[str, ModelParts]

    @property
    def settings(self) -> dict[str, Any]:
        """The report's settings."""
        return self.index["settings"]

    @property
    def baseline(self) -> str:
        """Name of the first model, against which the others are compared."""
        return next(iter(self.models))

    def scan_names(self) -> list[str]:
        """Names of all scans."""
        names = dict.fromkeys(name for model in self.models.values() for name in model.scans)
        return list(names)


def collect(folder: Path) -> Collected:
    """Read the report in ``folder``.

    Raises:
        InputError: if there is none, or a part of it cannot be read.
    """
    index = read_index(folder)
    models = {
        model["name"]: ModelParts(source=model["source"], kind=model["kind"])
        for model in index["models"]
    }
    for part, names in index["parts"].items():
        for name in names:
            result = read_part(folder, part, name)["result"]
            _add(models[name], part, result, index)
    return Collected(index, models)


def _add(model: ModelParts, part: str, result: dict[str, Any], index: dict[str, Any]) -> None:
    if part == "labels":
        offset = index["settings"]["fit_energy_offset"]
        model.predicted = labels.compare(index["data"], result, offset)
        model.seconds = result["seconds"]
    elif part == "consistency":
        model.measured = consistency.measured(result)
    elif part.startswith("dynamics-"):
        model.runs.append(result)
    elif part.startswith("vibrations-"):
        model.vibrations.append(vibrations.analyse(result))
    elif part.startswith("phonons-"):
        model.phonons.append(phonons.analyse(result))
    else:
        model.scans[part] = result
