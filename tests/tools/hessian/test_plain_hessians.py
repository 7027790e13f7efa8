"""Files of force constants alone: which geometry they get, and that it must fit."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from ase.units import Bohr, Hartree
from scipy.spatial.transform import Rotation

from piwsl_plugins.tools.hessian.turbomole import state_of_control

from . import water_job as water
from .spring_job import IN_ATOMIC_UNITS, bent

NUMBERS, POSITIONS, HESSIAN = bent()
ATOMS = Atoms(NUMBERS, POSITIONS)
ROTATION = Rotation.from_euler("xyz", [70, -40, 110], degrees=True).as_matrix()


def rows(hessian=HESSIAN, per_line=5, form="15.10f", numbered=False):
    """The rows one after the other, in hartree/bohr²."""
    lines = []
    for index, row in enumerate(hessian * IN_ATOMIC_UNITS, 1):
        for part, start in enumerate(range(0, len(row), per_line), 1):
            head = f"{index:2d}{part:3d}" if numbered else ""
            values = row[start : start + per_line]
            lines.append(head + "".join(f"{value:{form}}" for value in values))
    return "\n".join(lines) + "\n"


def triangle(hessian=HESSIAN):
    """One element a line, as Fortran writes double precision."""
    values = hessian[np.tril_indices(len(hessian))] * IN_ATOMIC_UNITS
    return "".join(f"{value:20.10E}\n".replace("E", "D") for value in values)


def is_right(label, tolerance=1e-6):
    return (
        np.array_equal(label.numbers, NUMBERS)
        and np.abs(label.hessian - HESSIAN).max() < tolerance
        and np.abs(label.positions - POSITIONS).max() < tolerance
    )


def xtb(folder, energy=-5.0):
    (folder / "hessian").write_text(" $hessian\n" + rows(form="15.8f"))
    comment = f" energy: {energy:.12f} gnorm: 0.000103 xtb: 6.6.1 (8d0f1dd)"
    write(folder / "xtbopt.xyz", ATOMS, format="xyz", comment=comment)
    return folder / "hessian"


def test_xtb(labelled, tmp_path):
    path, frames = xtb(tmp_path), tmp_path / "train.xyz"
    (label,), printed = labelled("--from_output", path, "--frames", frames)
    assert is_right(label, 1e-5)
    assert f"{path}: with the geometry of {tmp_path / 'xtbopt.xyz'}" in printed
    assert read(frames).info["REF_energy"] == pytest.approx(-5.0 * Hartree, abs=1e-8)
    assert not {"charge", "spin"} & read(frames).info.keys()
    assert "no charge or no multiplicity" in printed


@pytest.mark.parametrize("stated", ["files", "output", "both, differently"])
def test_xtb_states_charge_and_unpaired_electrons(labelled, tmp_path, stated):
    path, frames = xtb(tmp_path), tmp_path / "train.xyz"
    if stated != "output":
        (tmp_path / ".CHRG").write_text("-1\n")
        (tmp_path / ".UHF").write_text("2\n")
    if stated != "files":
        charge = "-1" if stated == "output" else "0"
        lines = ["x T B", f" :  net charge          {charge}  :", " :  unpaired electrons  2  :"]
        (tmp_path / "xtb.out").write_text("\n".join(lines))
    labelled("--from_output", path, "--frames", frames)
    expected = {"files": (-1, 3), "output": (-1, 3)}.get(stated, (None, 3))
    info = read(frames).info
    assert (info.get("charge"), info.get("spin")) == expected


def test_turbomole_with_its_gradient(labelled, tmp_path):
    """Rows are numbered; energy and gradient are of the same geometry only if the file says so."""
    frames = tmp_path / "train.xyz"
    text = rows(water.HESSIAN / IN_ATOMIC_UNITS, numbered=True)
    (tmp_path / "hessian").write_text(f"$nprhessian\n{text}$end\n")
    write(tmp_path / "coord", Atoms(water.NUMBERS, water.POSITIONS * Bohr), format="turbomole")
    places = [f"{x:20.14f}{y:20.14f}{z:20.14f}" for x, y, z in water.POSITIONS]
    cycle = "  cycle =      1    SCF energy =  -74.9616222652   |dE/dxyz| =  0.1\n"
    slopes = "\n".join("".join(f"{g:22.13E}" for g in row) for row in water.GRADIENT)
    for moved in (False, True):
        first = places[0] if not moved else f"{0.3:20.14f}{0.3:20.14f}{0.3:20.14f}"
        atoms = "\n".join(f"{p}  {s}" for p, s in zip([first, *places[1:]], "ohh"))
        (tmp_path / "gradient").write_text(f"$grad\n{cycle}{atoms}\n{slopes}\n$end\n")
        if moved:
            (tmp_path / "vibspectrum").write_text(
                "$vibrational spectrum\n"
                + "".join(f"{n:6d}{'':9}{0.0:12.2f}\n" for n in range(1, 7))
                + "".join(f"{n:6d}   a{x:17.2f}  YES\n" for n, x in enumerate(water.FREQUENCIES, 7))
                + "$end\n"
            )
        options = ("--from_output", tmp_path / "hessian", "--frames", frames, "--overwrite")
        (label,), _ = labelled(*options)
        assert np.abs(label.hessian - water.HESSIAN * water.IN_EV).max() < 1e-6
        atoms = read(frames)
        assert ("REF_forces" in atoms.arrays) == ("REF_energy" in atoms.info) == (not moved)
        if not moved:
            forces = -water.GRADIENT * Hartree / Bohr
            assert np.abs(atoms.arrays["REF_forces"] - forces).max() < 1e-5
            assert atoms.info["REF_energy"] == pytest.approx(-74.9616222652 * Hartree, abs=1e-4)


CLOSED = "$closed shells\n a1   1-17        ( 2 )\n b1   1-4,6       ( 2 )\n"
OPEN = "$uhf\n$alpha shells\n a   1-6   ( 1 )\n$beta shells\n a   1-3,5   ( 1 )\n$end\n"


@pytest.mark.parametrize(
    ("control", "state"),
    [
        ("$charge from ridft\n   1.000 (not to be modified here)\n" + CLOSED, (1, 1)),
        ("$charge from dscf\n  -0.000 (not to be modified here)\n" + CLOSED + OPEN, (0, 3)),
        ("$closed shells\n$open shells type=1\n", (None, None)),
        (OPEN.replace(" a ", " e "), (None, None)),
    ],
)
def test_charge_and_multiplicity_of_turbomoles_control(control, state):
    assert state_of_control(control) == state


@pytest.mark.parametrize("periodic", [False, True])
def test_dftb_molecules_and_crystals(labelled, refused, tmp_path, periodic):
    atoms = Atoms(NUMBERS, POSITIONS, cell=np.diag([5.0, 6.0, 7.0]), pbc=True)
    write(tmp_path / "geo_end.gen", atoms if periodic else ATOMS)
    (tmp_path / "hessian.out").write_text(rows(per_line=4, form="16.10f"))
    (label,), _ = labelled("--from_output", tmp_path / "hessian.out")
    assert is_right(label)
    assert label.pbc.all() == periodic and label.cell[2, 2] == (7.0 if periodic else 0.0)
    if periodic:
        atoms.cell[2, 2] = 7.5
        write(tmp_path / "other.traj", atoms)
        options = ("--from_output", tmp_path / "hessian.out")
        error = refused(tmp_path / "other.traj", *options, out="none.npz")
        assert "none of the given structures" in error


def test_nwchem_with_the_geometry_of_its_output(labelled, tmp_path):
    (tmp_path / "job.hess").write_text(triangle())
    places = "".join(
        f"    {s:8}{n}".ljust(15)
        + "".join(f"{x:17.7E}".replace("E", "D") for x in [*row, 1.0])
        + "\n"
        for n, (s, row) in enumerate(zip("OHF", POSITIONS / Bohr), 1)
    )
    (tmp_path / "nwchem.out").write_text(
        "Northwest Computational Chemistry Package\n          Charge           :    -1\n"
        "          Spin multiplicity:     2\n --- Atom information ---\n"
        "     atom    #  X  Y  Z  mass\n"
        f" -----\n{places} -----\n"
    )
    frames = tmp_path / "train.xyz"
    (label,), _ = labelled("--from_output", tmp_path / "job.hess", "--frames", frames)
    assert is_right(label, 1e-5)
    assert (read(frames).info["charge"], read(frames).info["spin"]) == (-1, 2)


def test_psi4_and_a_named_geometry(labelled, refused, tmp_path):
    path = tmp_path / "psi.hess"
    columns = (HESSIAN * IN_ATOMIC_UNITS).reshape(-1, 3)
    path.write_text(
        "    3   18\n" + "".join("".join(f"{x:20.10f}" for x in r) + "\n" for r in columns)
    )
    assert "name the file of its structure with --geometry" in refused("--from_output", path)
    named = ATOMS.copy()
    named.info |= {"charge": 1, "spin": 2}
    write(tmp_path / "named.xyz", named, format="extxyz")
    options = ("--from_output", path, "--geometry", tmp_path / "named.xyz")
    (label,), printed = labelled(*options, "--frames", tmp_path / "train.xyz")
    assert is_right(label) and "with the geometry of" not in printed
    assert read(tmp_path / "train.xyz").info["charge"] == 1
    write(tmp_path / "two.xyz", [ATOMS, named])
    error = refused("--from_output", path, "--geometry", tmp_path / "two.xyz", out="none.npz")
    assert "holds 2 structures" in error
    error = refused(*options, tmp_path / "named.xyz", out="none.npz")
    assert "--geometry names 2 files, but 1 of --from_output" in error
    error = refused(tmp_path / "named.xyz", "--from_frames", *options[2:], out="none.npz")
    assert "--geometry has no use" in error


def test_a_geometry_that_is_not_that_of_the_hessian(refused, tmp_path):
    path = xtb(tmp_path)
    write(tmp_path / "xtbopt.xyz", Atoms(NUMBERS, POSITIONS @ ROTATION))
    error = refused("--from_output", path)
    assert "with the geometry of xtbopt.xyz: turning the molecule" in error
    write(tmp_path / "xtbopt.xyz", Atoms("OHFH", [*POSITIONS, [3, 3, 3]]))
    assert "of another size: xtbopt.xyz with 4 atoms" in refused("--from_output", path)


def test_two_geometries_that_both_fit(refused, labelled, tmp_path):
    """Of a molecule stretched as a whole, moving and turning says nothing."""
    path = xtb(tmp_path)
    write(tmp_path / "coord", Atoms(NUMBERS, 1.05 * POSITIONS), format="turbomole")
    error = refused("--from_output", path)
    assert "xtbopt.xyz" in error and "coord" in error and "name one with --geometry" in error
    options = ("--from_output", path, "--geometry", tmp_path / "xtbopt.xyz")
    assert is_right(labelled(*options)[0][0], 1e-5)


def test_g98_out_is_written_with_the_hessian_of_xtb(labelled, tmp_path):
    """So it decides between itself and an xtbopt.xyz of a run before."""
    path, frames = xtb(tmp_path), tmp_path / "train.xyz"
    table = "".join(
        f"{n:5d}{number:11d}{0:14d}    " + "".join(f"{x:12.6f}" for x in row) + "\n"
        for n, (number, row) in enumerate(zip(NUMBERS, POSITIONS), 1)
    )
    rule = " " + "-" * 60 + "\n"
    head = f" Standard orientation:\n{rule} Center Atomic Atomic Coordinates\n Number\n{rule}"
    (tmp_path / "g98.out").write_text(f" Entering Gaussian System\n{head}{table}{rule}")
    labelled("--from_output", path, "--frames", frames)
    assert read(frames).info["REF_energy"] == pytest.approx(-5.0 * Hartree, abs=1e-8)
    write(tmp_path / "xtbopt.xyz", Atoms(NUMBERS, 1.05 * POSITIONS))
    (label,), printed = labelled("--from_output", path, "--frames", frames, "--overwrite")
    assert is_right(label, 1e-5) and "g98.out" in printed
    assert "REF_energy" not in read(frames).info
