"""QCSchema's results (``AtomicResult`` as JSON), as Psi4, QCEngine and QCFractal write them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from ase.data import atomic_numbers

from ...errors import InputError, reason_of
from .frequency_jobs import FrequencyJob


def is_qcschema(text: str) -> bool:
    """Whether this is JSON with a result of QCSchema, or a list of them."""
    return is_json(text) and re.search(r'"(schema_name|molecule|driver)"\s*:', text) is not None


def is_json(text: str) -> bool:
    """Whether this begins as an object of JSON, or a list of objects, does."""
    return re.match(r"\s*(\[\s*)?\{\s*[\"}]", text) is not None


def read_qcschema(path: Path, text: str) -> list[FrequencyJob]:
    """The jobs of one result, or of a list of them.

    Raises:
        InputError: for JSON of another kind, and results that failed or are no Hessians.
    """
    try:
        content = json.loads(text)
        results = content if isinstance(content, list) else [content]
        return [_job(path, number, result) for number, result in enumerate(results)]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a result of QCSchema with a Hessian ({reason_of(error)})"
        ) from error


def _job(path: Path, number: int, result: dict[str, Any]) -> FrequencyJob:
    where = f"{path} result {number}"
    if result.get("success") is False:
        raise InputError(f"{where}: the calculation failed; leave it out")
    molecule, properties = result["molecule"], result.get("properties") or {}
    numbers = np.array([atomic_numbers[symbol.capitalize()] for symbol in molecule["symbols"]])
    if not all(molecule.get("real") or [True]) or (numbers == 0).any():
        raise InputError(f"{where}: has ghost or dummy atoms, which no model knows")
    driver = _driver(result)
    hessian = result.get("return_result") if driver == "hessian" else None
    hessian = properties.get("return_hessian") if hessian is None else hessian
    if hessian is None:
        raise InputError(
            f"{where}: is of driver '{driver}' and has no Hessian; give a result of "
            "driver 'hessian'"
        )
    size = 3 * len(numbers)
    gradient = properties.get("return_gradient")
    energy = properties.get("return_energy")
    masses = molecule.get("masses")
    return FrequencyJob(
        numbers,
        np.array(molecule["geometry"], dtype=float).reshape(1, -1, 3) * units.Bohr,
        np.array(hessian, dtype=float).reshape(size, size) * units.Hartree / units.Bohr**2,
        None if energy is None else float(energy) * units.Hartree,
        None
        if gradient is None
        else -np.array(gradient, float).reshape(-1, 3) * units.Hartree / units.Bohr,
        None if masses is None else np.array(masses, float),
        charge=_whole(molecule.get("molecular_charge")),
        multiplicity=_whole(molecule.get("molecular_multiplicity")),
    )


def _driver(result: dict[str, Any]) -> str | None:
    """The kind of calculation, where version 1 of the schema, version 2 and QCFractal state it."""
    given = result.get("input_data") or {}
    for place in (result, given.get("specification"), given, result.get("specification")):
        if place and "driver" in place:
            return str(place["driver"])
    return None


def _whole(value: float | None) -> int | None:
    """A charge or multiplicity; None if none is given, or a broken one."""
    return int(value) if value is not None and float(value).is_integer() else None
