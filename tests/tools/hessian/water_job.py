"""A frequency job of water, written in formats of programs.

Numbers of PySCF, RHF/STO-3G, at a geometry that is neither a minimum nor along the axes.
"""

import numpy as np
from ase.data import atomic_masses
from ase.units import Bohr, Hartree

NUMBERS = np.array([8, 1, 1])
#: bohr, hartree, hartree/bohr, hartree/bohr²
POSITIONS = np.array(
    [
        [0.134895, 0.042797, 0.170654],
        [-1.389111, 0.908161, -0.281648],
        [0.430184, -1.254509, -1.064729],
    ]
)
ENERGY = -74.96162226523435
GRADIENT = np.array(
    [
        [-0.04240245, -0.01130576, -0.05402451],
        [0.03160901, -0.00550347, 0.02395636],
        [0.01079344, 0.01680924, 0.03006815],
    ]
)
HESSIAN = np.zeros((9, 9))
HESSIAN[np.tril_indices(9)] = [
    *(0.58784194, -0.41981013, 0.55084862, 0.13643996, 0.3177495, 0.43816164, -0.53296709),
    *(0.34677964, -0.13906709, 0.53868839, 0.27630517, -0.17897307, 0.01644808, -0.31962243),
    *(0.19459475, -0.22160632, 0.08423143, -0.08060082, 0.16578026, -0.05271789, 0.07483164),
    *(-0.05487485, 0.07303049, 0.00262713, -0.00572129, 0.04331726, 0.05582606, 0.06059614),
    *(0.14350496, -0.37187554, -0.33419758, -0.02715721, -0.01562168, -0.03151354, -0.11634775),
    *(0.38749722, 0.08516636, -0.40198093, -0.35756082, -0.02671317, 0.03626981, 0.00576918),
    *(-0.0584532, 0.36571112, 0.35179164),
]
HESSIAN += np.tril(HESSIAN, -1).T
#: cm⁻¹, of PySCF's own harmonic analysis
FREQUENCIES = np.array([1987.01668237, 4440.81565213, 4777.50135106])

IN_EV = Hartree / Bohr**2


def write_fchk(
    path, hessian=HESSIAN, positions=POSITIONS, gradient=GRADIENT, frequencies=None, energy=ENERGY
):
    """A formatted checkpoint of Gaussian; the Hessian's lower triangle is kept."""
    lines = ["water", f"{'Freq':10}{'RHF':60}{'STO-3G':30}", _scalar("Number of atoms", 3)]
    lines += [_scalar("Charge", 0), _scalar("Multiplicity", 1)]
    lines += _array("Atomic numbers", NUMBERS) + _array(
        "Real atomic weights", atomic_masses[NUMBERS]
    )
    lines += _array("Current cartesian coordinates", positions)
    lines += [_scalar("Number of electrons", 10), _scalar("Number of alpha electrons", 5)]
    lines += [_scalar("Number of beta electrons", 5)]
    lines += [_scalar("Number of independent functions", 1)]
    lines += _array("Alpha Orbital Energies", np.array([-20.25]))
    lines += [_scalar("SCF Energy", ENERGY), _scalar("Total Energy", float(energy))]
    if gradient is not None:
        lines += _array("Cartesian Gradient", gradient)
    if hessian is not None:
        lines += _array("Cartesian Force Constants", hessian[np.tril_indices(9)])
    if frequencies is not None:
        lines += [_scalar("Number of Normal Modes", len(frequencies))]
        lines += _array("Vib-E2", [*frequencies, *np.zeros(13 * len(frequencies))])
    path.write_text("\n".join(lines) + "\n")


def _scalar(name, value):
    integer = isinstance(value, int)
    return f"{name:40}   {'I' if integer else 'R'}     " + (
        f"{value:12d}" if integer else f"{value:22.15E}"
    )


def _array(name, values):
    values = np.ravel(values)
    integer = values.dtype.kind == "i"
    per_line, form = (6, "12d") if integer else (5, "16.8E")
    lines = [f"{name:40}   {'I' if integer else 'R'}   N={len(values):12d}"]
    for start in range(0, len(values), per_line):
        lines.append("".join(f"{value:{form}}" for value in values[start : start + per_line]))
    return lines


def write_orca_hess(path, hessian=HESSIAN, frequencies=FREQUENCIES):
    """ORCA's ``.hess`` file."""
    lines = ["", "$orca_hessian_file", "", "$act_energy", "        0.000000", "", "$hessian", "9"]
    for start in range(0, 9, 5):
        columns = range(start, min(start + 5, 9))
        lines.append("".join(f"{column:19d}" for column in columns))
        lines += [f"{r:5d}" + "".join(f"{hessian[r, c]:19.10E}" for c in columns) for r in range(9)]
    lines += ["", "$vibrational_frequencies", "9"]
    lines += [f"{i:5d}{value:16.6f}" for i, value in enumerate([*np.zeros(6), *frequencies])]
    lines += ["", "#", "# The atoms: label  mass x y z (in bohrs)", "#", "$atoms", "3"]
    for symbol, mass, place in zip("OHH", (15.999, 1.008, 1.008), POSITIONS):
        lines.append(f" {symbol}  {mass:12.5f}" + "".join(f"{x:18.12f}" for x in place))
    path.write_text("\n".join([*lines, "", "$end", ""]))


def write_orca_out(path, positions=POSITIONS, header=""):
    """As much of ORCA's output as ASE needs for geometry, energy and gradient."""
    rule = "-" * 33
    lines = ["* O   R   C   A *", " Program Version 5.0.1 - RELEASE -", "Number of atoms  .... 3"]
    lines += [rule, "CARTESIAN COORDINATES (ANGSTROEM)", rule]
    for symbol, place in zip("OHH", positions * Bohr):
        lines.append(f"  {symbol}  " + "".join(f"{x:12.6f}" for x in place))
    lines += ["", f"FINAL SINGLE POINT ENERGY {ENERGY:22.12f}", header]
    lines += ["", "------------------", "CARTESIAN GRADIENT", "------------------", ""]
    for index, (symbol, row) in enumerate(zip("OHH", GRADIENT), 1):
        lines.append(f"{index:4d}   {symbol}   :" + "".join(f"{x:15.9f}" for x in row))
    path.write_text("\n".join([*lines, "", "****ORCA TERMINATED NORMALLY****", ""]))
