"""What to give instead of a file of a known program from which no Hessian can be read."""

from __future__ import annotations

import re

_LABEL = "give its Hessian as a file of labels (docs/hessian.md), or label its geometry with "
_LABEL += "--calculator"
#: what the files of a program hold, its name, and what to give instead
_PROGRAMS = (
    (r"\* +O +R +C +A +\*", "ORCA", "give the .hess file of the job"),
    (r"Northwest Computational Chemistry", "NWChem", "give the .hess file of the job"),
    (r"GAMESS-UK", "GAMESS-UK", _LABEL),
    (
        r"GAMESS VERSION|GAMESS \(US\)|PC GAMESS|Firefly",
        "GAMESS",
        "give the .dat file of the job, with its $HESS",
    ),
    (
        r"(?i:psi4): An Open-Source",
        "Psi4",
        "give the .hess file (set hessian_write on) or the QCSchema JSON of the job",
    ),
    (r"x T B|xtb version", "xTB", "give the file named hessian of the job"),
    (r"TURBOMOLE|aoforce", "Turbomole", "give the file named hessian of the job"),
    (r"DFTB\+", "DFTB+", "give the hessian.out of the job (Driver = SecondDerivatives)"),
    (
        r"PROGRAM SYSTEM MOLPRO|Molpro",
        "Molpro",
        "give the output of a job of frequencies alone, with {frequencies;print,hessian}",
    ),
    (r"Q-Chem", "Q-Chem", "give the .fchk file of the job (GUI 2)"),
    (r"CFOUR", "CFOUR", "give the FCMFINAL file of the job"),
    (r"TeraChem", "TeraChem", _LABEL),
    (r"\bACES ?(?:II|2|III|3|4)\b", "ACES", _LABEL),
    (r"CPMD", "CPMD", _LABEL),
    (r"Serenity", "Serenity", _LABEL),
    (r"MOLCAS|OpenMolcas", "Molcas", _LABEL),
    (r"MOPAC", "MOPAC", _LABEL),
    (r"DALTON|Dalton", "Dalton", _LABEL),
    (r"Amsterdam Density Functional|\bAMS 20\d\d", "ADF", _LABEL),
    (r"Jaguar version", "Jaguar", _LABEL),
)


def advice_for(text: str) -> str | None:
    """What to do with an output without a Hessian that can be read, in words that follow its name.

    Args:
        text: of the output.

    Returns:
        None for files of no program that is known.
    """
    for signature, program, remedy in _PROGRAMS:
        if re.search(signature, text, re.MULTILINE):
            return f"no Hessian can be read from this output of {program}; {remedy}"
    return None


def remedy_for(text: str) -> str | None:
    """What to give instead of an output, or None for files of no program that is known."""
    return next(
        (remedy for signature, _, remedy in _PROGRAMS if re.search(signature, text, re.MULTILINE)),
        None,
    )
