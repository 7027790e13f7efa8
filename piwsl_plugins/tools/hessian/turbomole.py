"""Charge and multiplicity in the file ``control`` of Turbomole."""

from __future__ import annotations

import re

_CHARGE = re.compile(r"^\$charge from \w+ *\n +(-?\d+\.\d+)", re.MULTILINE)
_SHELLS = r"^\${} shells *\n((?: +\S[^\n]*\n)+)"
_OCCUPIED = re.compile(r"^ +([ab]\S*) +([\d,\- ]+?) +\( *[\d.]+ *\)", re.MULTILINE)


def state_of_control(text: str) -> tuple[int | None, int | None]:
    """Charge and multiplicity, None where they are not stated.

    Args:
        text: of the file ``control``, after an energy.
    """
    stated = _CHARGE.search(text)
    charge = None if stated is None else round(float(stated[1]))
    if charge is not None and stated is not None and abs(charge - float(stated[1])) > 1e-3:
        charge = None
    if not re.search(r"^\$uhf\b", text, re.MULTILINE):
        closed = "$closed shells" in text and "$open shells" not in text
        return charge, 1 if closed else None
    up, down = (_electrons(text, spin) for spin in ("alpha", "beta"))
    return charge, None if up is None or down is None else up - down + 1


def _electrons(text: str, spin: str) -> int | None:
    """Number of occupied orbitals; None if some are of degenerate irreducible representations."""
    group = re.search(_SHELLS.format(spin), text, re.MULTILINE)
    if group is None:
        return None
    lines = _OCCUPIED.findall(group[1])
    if len(lines) < group[1].count("\n"):
        return None
    count = 0
    for _, orbitals in lines:
        for part in orbitals.replace(" ", "").split(","):
            first, _, last = part.partition("-")
            count += int(last or first) - int(first) + 1
    return count
