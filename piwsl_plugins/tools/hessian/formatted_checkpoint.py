"""Formatted checkpoints (``.fchk``) of Gaussian, Q-Chem and Psi4: the blocks that are needed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from ase import units

from ...errors import InputError, reason_of
from .frequency_jobs import FrequencyJob, from_lower_triangle

_HEADER = re.compile(r"^(\S[^\n]{0,39}?) {2,}([IR])(?: +N= +(\d+)| +(\S+)) *$", re.MULTILINE)
#: of blocks that no checkpoint lacks, also if it is trimmed
_BLOCK = re.compile(
    r"^(?:Number of atoms {10,}I +\d+|(?:Atomic numbers|Cartesian Force Constants) {5,}[IR] +N=)",
    re.MULTILINE,
)
_HESSIAN = "Cartesian Force Constants"
#: jobs whose force constants are those of the optimiser, or of a job before in the same checkpoint
_OTHER_JOBS = (
    *("SP", "FORCE", "SCAN", "IRC", "STABILITY", "ADMP", "BOMD", "MIXED", "GUESS"),
    *("FOPT", "POPT", "FTS", "PTS", "FSADDLE", "PSADDLE"),
)


def is_formatted_checkpoint(text: str) -> bool:
    """Whether this is a formatted checkpoint."""
    return bool(_BLOCK.search(text))


def read_formatted_checkpoint(path: Path, text: str) -> FrequencyJob:
    """The frequency job of a formatted checkpoint.

    Args:
        path: for messages.
        text: of the file; blocks other than those of the job may be missing or cut off.

    Raises:
        InputError: for one without Hessian, of another job than one of frequencies, or damaged.
    """
    headers = {match[1]: match for match in _HEADER.finditer(text)}
    if _HESSIAN not in headers:
        raise InputError(
            f"{path}: this formatted checkpoint has no block '{_HESSIAN}'; give that of a "
            "frequency job (Gaussian: freq, then formchk; Q-Chem: jobtype freq, GUI 2)"
        )
    lines = text.split("\n", 2)
    kind = lines[1].split()[0].upper() if len(lines) > 1 and lines[1].split() else ""
    modes = _whole_array(text, headers, "Vib-E2")
    other = kind in _OTHER_JOBS
    if other and modes is None:
        raise InputError(
            f"{path}: this formatted checkpoint is of a job '{kind}', whose force constants may be "
            "an estimate, or of a job before; give that of a frequency job"
        )
    try:
        numbers = _array(text, headers, "Atomic numbers").astype(int)
        positions = _array(text, headers, "Current cartesian coordinates").reshape(-1, 3)
        elements = _array(text, headers, _HESSIAN)
        size = 3 * len(numbers)
        hessian = from_lower_triangle(elements, size)
        gradient = _whole_array(text, headers, "Cartesian Gradient")
        if gradient is not None:
            gradient = gradient.reshape(len(numbers), 3)
        charge = _scalar(headers, "Charge")
        multiplicity = _scalar(headers, "Multiplicity")
        energy = _scalar(headers, "Total Energy")
        nuclear = _whole_array(text, headers, "Nuclear charges")
        masses = _whole_array(text, headers, "Real atomic weights")
    except (KeyError, ValueError, IndexError) as error:
        reason = reason_of(error)
        raise InputError(f"{path}: not a whole formatted checkpoint ({reason})") from error
    if (numbers < 1).any() or (nuclear is not None and (nuclear == 0).any()):
        raise InputError(f"{path}: has ghost or dummy atoms, which no model knows")
    n_modes = _scalar(headers, "Number of Normal Modes")
    if modes is not None:
        # frequencies come first; each mode has 14 numbers, and had 13 before
        per_mode = 14 if n_modes is None else max(1, modes.size // max(1, int(n_modes)))
        modes = modes[: modes.size // per_mode]
    return FrequencyJob(
        numbers,
        positions[None] * units.Bohr,
        hessian * units.Hartree / units.Bohr**2,
        None if energy is None or other else energy * units.Hartree,
        None if gradient is None or other else -gradient * units.Hartree / units.Bohr,
        masses if masses is not None and len(masses) == len(numbers) else None,
        modes,
        None if charge is None else int(charge),
        None if multiplicity is None else int(multiplicity),
    )


def _scalar(headers: dict[str, re.Match[str]], name: str) -> float | None:
    if name not in headers or headers[name][4] is None:
        return None
    return float(headers[name][4].upper().replace("D", "E"))


def _whole_array(text: str, headers: dict[str, re.Match[str]], name: str) -> np.ndarray | None:
    """The numbers of a block; None if it is missing or cut off."""
    try:
        return _array(text, headers, name)
    except (KeyError, ValueError):
        return None


def _array(text: str, headers: dict[str, re.Match[str]], name: str) -> np.ndarray:
    """The numbers of a block.

    Raises:
        KeyError: if it is missing.
        ValueError: if it is cut off or holds something else.
    """
    if name not in headers or headers[name][3] is None:
        raise KeyError(f"no block '{name}'")
    count = int(headers[name][3])
    # a line has six integers of 12 characters or five real numbers of 16
    body = text[headers[name].end() : headers[name].end() + 20 * count + 100]
    words = body.upper().replace("D", "E").split()[:count]
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.array([])
    if len(values) < count:
        raise ValueError(f"block '{name}' is cut off")
    return values
