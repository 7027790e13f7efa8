"""MACE's own names of foundation models, and MACE's own loaders, which download and cache them."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

from ..errors import InputError

#: functions of mace.calculators.foundations_models
FAMILIES = ("mace_mp", "mace_off", "mace_omol", "mace_polar", "mace_anicc")
#: of these MACE has one model each
_SINGLE = ("mace_omol", "mace_anicc")
_FULL = re.compile(rf"({'|'.join(FAMILIES)}):([\w.-]+)")
#: what MACE's --foundation_model takes beside files (mace-torch 0.3.16, cli/run_train.py)
_BARE = (
    (re.compile(r"(small|medium|large)_off"), "mace_off"),
    (re.compile(r"polar-[\w-]+"), "mace_polar"),
    (re.compile(r"(small|medium|large)(-\w[\w-]*)?|mace-matpes-[\w-]+|mh-\d+"), "mace_mp"),
)


def canonical(text: str) -> str | None:
    """``family:name`` for a name of MACE's, ``family`` alone if it has one model; None for others.

    Whether MACE has such a model is only known where it is installed: :func:`raw_model`.
    """
    if text in _SINGLE:
        return text
    if _FULL.fullmatch(text):
        family, _, name = text.partition(":")
        return family if (family, name) == ("mace_omol", "extra_large") else text
    for pattern, family in _BARE:
        if pattern.fullmatch(text):
            return f"{family}:{text.removesuffix('_off') if family == 'mace_off' else text}"
    return None


def version() -> str:
    """MACE's, which says which file a name stands for."""
    try:
        return importlib.metadata.version("mace-torch")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def raw_model(name: str, device: str) -> Any:
    """The torch model of a :func:`canonical` name, from MACE's cache or downloaded into it.

    Raises:
        InputError: for a name that the installed MACE does not know.
        Exception: of MACE's, for a download that fails.
    """
    from mace.calculators import foundations_models

    family, _, model = name.partition(":")
    known = {
        "mace_mp": foundations_models.mace_mp_urls,
        "mace_off": foundations_models.mace_off_urls,
        "mace_polar": foundations_models.polar_model_urls,
    }.get(family, {})
    if model not in (known or ("",)):
        raise InputError(
            f"{name}: MACE {version()} has no such model; {family} has {', '.join(known)}"
            if known
            else f"{name}: {family} has one model; name it {family}"
        )
    given = {"model": model} if model else {}
    loader = getattr(foundations_models, family)
    return loader(**given, device=device, return_raw_model=True)
