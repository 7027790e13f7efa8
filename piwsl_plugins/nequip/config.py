"""The forms in which a NequIP config names the PIWSL loss, and their checks.

Importing this module costs nothing but the standard library.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, SettingsError
from ..options.settings import Settings
from .settings import NequIPSettings

SUPPORTED_VERSIONS = "nequip >= 0.19.1, < 0.20"
_LOWEST, _BELOW = (0, 19, 1), (0, 20)

TARGET = "piwsl_plugins.nequip.PIWSLLoss"
TARGETS = (TARGET, "piwsl_plugins.nequip.loss.PIWSLLoss")

#: arguments of the loss that describe its supervised part
SUPERVISED = (
    "coeffs",
    "per_atom_energy",
    "per_type_forces_coeffs",
    "ignore_nan",
    "metrics",
    "extra_metrics",
)
DEFAULT_COEFFS = {"total_energy": 1.0, "forces": 1.0}


#: the loss of this process' config, expanded, where ``nequip-train`` has been given ours
present: dict[str, Any] | None = None


class DataError(InputError):
    """Data that cannot be trained on; names the file, the frame and the remedy."""


def is_piwsl(loss: Any) -> bool:
    """Whether an expanded ``training_module.loss`` is the PIWSL loss."""
    return isinstance(loss, Mapping) and loss.get("_target_") in TARGETS


def check(given: Mapping[str, Any]) -> Settings | None:
    """Check the arguments of a config's loss.

    Args:
        given: the arguments; where one is an interpolation (``${…}``), options are checked one
            by one, and their combinations later.

    Returns:
        the settings, or None if there are interpolations.

    Raises:
        SettingsError: naming the option, the value and the remedy.
    """
    check_coeffs(given)
    named = _options_of(given)
    open_ones = [name for name, value in named.items() if "${" in str(value)]
    if not open_ones:
        return NequIPSettings.create(named)
    known = NequIPSettings.options()
    for name, value in named.items():
        if name not in known:
            NequIPSettings.create({name: value})
        elif name not in open_ones and value is not None:
            known[name].parse(name, value)
    return None


def _options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in given.items()
        if name not in SUPERVISED and not name.startswith("_")
    }


def check_files(settings: Settings, folder: Path | None = None) -> None:
    """Check that the files of a config exist.

    Args:
        settings: of the config.
        folder: in which relative paths begin, if it is not the current one; it need not exist.

    Raises:
        SettingsError: naming the option.
    """
    for name, value in files_of(settings).items():
        moved = folder is not None and not os.path.isabs(value)
        path = os.path.normpath(folder / value) if folder is not None else value
        if not is_there(path):
            of = f" relative to the output folder {folder}, as with data (hydra.job.chdir: true)"
            raise SettingsError(name, value, f"there is no such file{of if moved else ''}")


def files_of(settings: Settings) -> dict[str, str]:
    """The options that name files, with their values."""
    options = NequIPSettings.options()
    return {
        name: value
        for name, value in settings.values().items()
        if options[name].is_file and value is not None
    }


def is_there(path: str) -> bool:
    """Whether a path is that of a file, or of some frames of one (``pool.xyz@:100``)."""
    file = path.rpartition("@")[0]
    return Path(path).is_file() or bool(file and Path(file).is_file())


def check_coeffs(given: Mapping[str, Any]) -> None:
    """Check the description of the supervised loss.

    Raises:
        SettingsError: for ``coeffs`` beside ``metrics``, ``coeffs`` of unknown fields or without
            the energy, or a negative coefficient.
    """
    coeffs, metrics = given.get("coeffs"), given.get("metrics")
    if coeffs is not None and metrics is not None:
        raise SettingsError("metrics", "…", "give either 'coeffs' or 'metrics', not both")
    if coeffs is not None:
        known = ("total_energy", "forces", "stress")
        mapping = isinstance(coeffs, Mapping)
        if not mapping or "total_energy" not in coeffs or set(coeffs) - set(known):
            raise SettingsError(
                "coeffs",
                dict(coeffs) if mapping else coeffs,
                "allowed is a mapping of total_energy (always) and forces and stress (as you have "
                "labels) to coefficients; for other supervised losses use 'metrics'",
            )
    values = dict(coeffs or {})
    for entry in [*(metrics or ()), *(given.get("extra_metrics") or ())]:
        if isinstance(entry, Mapping):
            values[str(entry.get("name", entry.get("field")))] = entry.get("coeff")
    for name, value in values.items():
        if isinstance(value, (int, float)) and not value >= 0:
            raise SettingsError("coeffs", {name: value}, "allowed is a number of at least 0")


def expand(given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The full form of the loss, with every option written out, as checkpoints store it.

    Args:
        given: options and arguments that differ from the defaults.

    Raises:
        SettingsError: naming the option, the value and the remedy.
    """
    given = {} if given is None else dict(given)
    check_coeffs(given)
    settings = NequIPSettings.create(_options_of(given))
    supervised = {name: given[name] for name in SUPERVISED if name in given}
    if "coeffs" not in supervised and "metrics" not in supervised:
        supervised["coeffs"] = dict(DEFAULT_COEFFS)
    written = {name: value for name, value in settings.values().items() if value is not None}
    return {"_target_": TARGET, **supervised, **written}


def installation_problem() -> str | None:
    """Why PIWSL cannot run with the installed NequIP, in one sentence, or None."""
    version = importlib.metadata.version("nequip")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if _LOWEST <= numbers < _BELOW:
        return None
    return (
        f"the PIWSL loss cannot be used with nequip {version}: supported is {SUPPORTED_VERSIONS}; "
        'install a supported version with pip install "piwsl-plugins[nequip]", or choose another '
        "loss"
    )
