"""What a report computes: every choice with its default, written once for library and command.

Here stand the choices that all parts share; a part's own are with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...options.option import option
from ..states import StateNames
from . import parts
from .part import PartOptions

_DTYPES = {"float64": "", "float32": "", "model": "as stored"}


def _parts_help() -> str:
    """With the options that add a part which needs files."""
    flags: dict[str, list[str]] = {}
    for part in parts.PARTS:
        if part.file is not None and part.needs_file:
            flags.setdefault(part.choice, []).append(part.file.flag)
    needs = [f"{name} need {' or '.join(several)}" for name, several in flags.items()]
    return "; ".join(["what to compute", *needs]) + (", and come with them" if needs else "")


@dataclasses.dataclass(frozen=True)
class ReportSettings(StateNames):
    """Choices of one report; each says in its help what it is."""

    energy_key: str = option("REF_energy", "key of the energy label (eV)", kind=str)
    forces_key: str = option(
        "REF_forces", "key of the force label (eV/Å), 'none' for data without", kind=str
    )
    stress_key: str = option("REF_stress", "key of the stress label (eV/Å³, ASE's sign)", kind=str)
    dipole_key: str = option("REF_dipole", "key of the dipole label (e·Å)", kind=str)
    max_frames: int = option(0, "evenly spaced frames to evaluate, 0 for all", kind=int, minimum=0)
    fit_energy_offset: bool = option(
        False,
        "fit one energy per element to the energy errors and take it off (model and data of "
        "different levels of theory)",
        kind=bool,
    )
    device: str = option("cpu", "torch device of the models", kind=str)
    dtype: str = option(
        "float64", "precision of MACE models ('model': as stored)", kind=str, choices=_DTYPES
    )
    parts: tuple[str, ...] = option(
        tuple(dict.fromkeys(part.choice for part in parts.PARTS if not part.needs_file)),
        _parts_help(),
        kind=str,
        choices=parts.choices(),
    )
    resamples: int = option(1000, "bootstrap resamples over frames", kind=int, minimum=100)
    seed: int = option(0, "seed of displacements, velocities and bootstrap", kind=int, minimum=0)

    @classmethod
    def create(cls, given: Mapping[str, Any], quick: bool = False) -> ReportSettings:
        """Settings from the options a user gave; with ``quick`` the others are small."""
        return cls(**{**(QUICK if quick else {}), **given})


#: about a minute for two small MACE models and a molecule of nine atoms on one core; dynamics that
#: are short enough for that say nothing
QUICK: dict[str, Any] = {
    "parts": tuple(
        dict.fromkeys(p.choice for p in parts.PARTS if p.when_quick and not p.needs_file)
    ),
    "max_frames": 60,
}

#: the options of the parts, by their class
OwnOptions = Mapping[type[PartOptions], PartOptions]


def own_options(given: Mapping[str, Any] | None = None, quick: bool = False) -> OwnOptions:
    """The options of all parts.

    Args:
        given: values that a user gave, by name; others are ignored.
        quick: whether the others are small.

    Raises:
        InputError: for a value that is not allowed.
    """
    found: dict[type[PartOptions], PartOptions] = {}
    for part in parts.PARTS:
        if part.options is not None:
            names = {field.name for field in dataclasses.fields(part.options)}
            values = {name: value for name, value in (given or {}).items() if name in names}
            found[part.options] = part.options(**{**(part.quick if quick else {}), **values})
    return found


def as_dict(settings: ReportSettings, own: OwnOptions) -> dict[str, Any]:
    """All choices by name, as the report's index keeps them: those on statistics last."""
    shared = dataclasses.asdict(settings)
    last = {name: shared.pop(name) for name in ("resamples", "seed")}
    for options in own.values():
        shared |= dataclasses.asdict(options)
    return shared | last
