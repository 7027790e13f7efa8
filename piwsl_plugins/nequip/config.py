"""The forms in which a NequIP config names the PIWSL loss, and their checks.

Importing this module costs nothing but the standard library.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.settings import Settings, SettingsError, options

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
#: options that name files
_FILES = ("curvature_file", "reference_model", "unlabeled_file")
DEFAULT_COEFFS = {"total_energy": 1.0, "forces": 1.0}


def is_piwsl(loss: Any) -> bool:
    """Whether an expanded ``training_module.loss`` is the PIWSL loss."""
    return isinstance(loss, Mapping) and loss.get("_target_") in TARGETS


def settings_from(given: Mapping[str, Any]) -> Settings:
    """Settings from the options of a config, MACE's own refused.

    Raises:
        SettingsError: naming the option, the value and the remedy.
    """
    here = options("nequip")
    for name, value in given.items():
        if name in options() and name not in here:
            raise SettingsError(name, value, "this option exists for MACE only; remove it")
    settings = Settings.create(given)
    _check_combinations(settings)
    return settings


def _check_combinations(settings: Settings) -> None:
    if settings.pitc_target == "curvature" and settings.curvature_file is None:
        raise SettingsError(
            "curvature_file",
            None,
            "pitc_target 'curvature' needs curvature labels; give the file that piwsl-curvature "
            "made, or choose another pitc_target",
        )
    if settings.unlabeled_file is not None and settings.needs_labels():
        name = settings.needs_labels()
        raise SettingsError(
            "unlabeled_file",
            settings.unlabeled_file,
            f"structures without labels carry no terms with {name} '{getattr(settings, name)}'; "
            f"choose another {name}, or leave the file out",
        )


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
    open_ones = [name for name, value in named.items() if isinstance(value, str) and "${" in value]
    if not open_ones:
        return settings_from(named)
    for name, value in named.items():
        if name not in options("nequip"):
            settings_from({name: value})
        elif name not in open_ones and value is not None:
            options()[name].parse(name, value)
    return None


def _options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in given.items()
        if name not in SUPERVISED and not name.startswith("_")
    }


def check_files(settings: Settings) -> None:
    """Check that the files of a config exist.

    Raises:
        SettingsError: naming the option.
    """
    for name in _FILES:
        path = getattr(settings, name)
        if path is not None and not path.startswith("nequip.net:") and not Path(path).is_file():
            raise SettingsError(name, path, "there is no such file")


def check_coeffs(given: Mapping[str, Any]) -> None:
    """Check the description of the supervised loss.

    Raises:
        SettingsError: for ``coeffs`` beside ``metrics``, or ``coeffs`` of unknown fields or
            without the energy.
    """
    coeffs = given.get("coeffs")
    if coeffs is None:
        return
    if given.get("metrics") is not None:
        raise SettingsError("metrics", "…", "give either 'coeffs' or 'metrics', not both")
    known = ("total_energy", "forces", "stress")
    if not isinstance(coeffs, Mapping) or "total_energy" not in coeffs or set(coeffs) - set(known):
        raise SettingsError(
            "coeffs",
            coeffs if not isinstance(coeffs, Mapping) else dict(coeffs),
            "allowed is a mapping of total_energy (always) and forces and stress (as you have "
            "labels) to coefficients; for other supervised losses use 'metrics'",
        )


def expand(given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The full form of the loss, with every option written out, as checkpoints store it.

    Args:
        given: options and arguments that differ from the defaults.

    Raises:
        SettingsError: naming the option, the value and the remedy.
    """
    given = {} if given is None else dict(given)
    check_coeffs(given)
    settings = settings_from(_options_of(given))
    supervised = {name: given[name] for name in SUPERVISED if name in given}
    if "coeffs" not in supervised and "metrics" not in supervised:
        supervised["coeffs"] = dict(DEFAULT_COEFFS)
    values = {name: getattr(settings, name) for name in options("nequip")}
    written = {name: value for name, value in values.items() if value is not None}
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
