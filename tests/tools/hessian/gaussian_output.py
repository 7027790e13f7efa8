"""As much of Gaussian's output as its archive entries and what precedes them need."""

import numpy as np
from ase.data import atomic_masses, chemical_symbols


def output(*jobs):
    """The text of an output with these jobs, each of :func:`job`."""
    return " Entering Gaussian System, Link 0=g16\n" + "".join(jobs) + " Normal termination\n"


def job(
    numbers,
    positions,
    hessian,
    gradient=None,
    *,
    frequencies=None,
    state="0,1",
    energies=(("HF", -74.9616223),),
    total=None,
    method="RHF",
    kind="Freq",
    bar="\\",
    masses=None,
    geometry=None,
    before="",
):
    """One job: printed frequencies, masses and thermochemistry, and its archive entry.

    Args:
        positions: Å. Hessian and gradient are in atomic units, the gradient None to leave it out.
        energies: names and values of the entry in hartree.
        total: energy of thermochemistry in hartree, None to leave thermochemistry out.
        geometry: atoms of the entry in another form than Cartesian.
    """
    masses = atomic_masses[numbers] if masses is None else masses
    lines = [before]
    if frequencies is not None:
        for start in range(0, len(frequencies), 3):
            block = frequencies[start : start + 3]
            lines.append("".join(f"{start + n + 1:23d}" for n in range(len(block))))
            lines.append(f"{'A':>23}" * len(block))
            lines.append(
                " Frequencies --" + "".join(f"{value:12.4f}" + " " * 11 for value in block)
            )
            lines.append(" Red. masses --" + "".join(f"{1.0:12.4f}" + " " * 11 for value in block))
    for index, (number, mass) in enumerate(zip(numbers, masses), 1):
        lines.append(f" Atom {index:5d} has atomic number {number:2d} and mass {mass:9.5f}")
    if total is not None:
        lines.append(f" Zero-point correction= {0.021:31.6f} (Hartree/Particle)")
        lines.append(f" Sum of electronic and zero-point Energies= {total + 0.021:20.6f}")
    atoms = geometry or [
        f"{chemical_symbols[n]}," + ",".join(f"{x:.10f}" for x in row)
        for n, row in zip(numbers, positions)
    ]
    words = ["1", "1", "GINC-NODE", kind, method, "STO-3G", "X", "ME", "01-Jan-2020", "0"]
    results = ["Version=ES64L-G16RevB.01", *(f"{name}={value:.7f}" for name, value in energies)]
    parts = [bar.join(words), f"#p {method}/sto-3g freq", "1,2-a title", bar.join([state, *atoms])]
    if hessian is None:
        parts.append(bar.join([*results, "PG=C01"]))
    else:
        parts.append(bar.join([*results, "PG=C01", "NImag=0"]))
        parts.append(",".join(f"{x:.8f}" for x in hessian[np.tril_indices(len(hessian))]))
    if gradient is not None:
        parts.append(",".join(f"{x:.8f}" for x in np.ravel(gradient)))
    entry = (2 * bar).join(parts) + f"{3 * bar}@"
    lines += [f" {entry[start : start + 70]}" for start in range(0, len(entry), 70)]
    return "\n".join([*lines, "", ""])
