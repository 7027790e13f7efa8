"""Files of programs for solids, written here as they write them, against EMT's differences."""

import gzip

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write

from piwsl_plugins.tools.hessian.differences import hessian
from piwsl_plugins.tools.hessian.frequencies import WAVENUMBER


@pytest.fixture
def crystal():
    """Three atoms of two kinds in a skewed cell, off their places, with forces."""
    atoms = bulk("Cu", "fcc", a=3.7) * (3, 1, 1)
    atoms.symbols[2] = "Au"
    atoms.positions[1] += [0.1, -0.05, 0.08]
    atoms.positions += 0.3
    atoms.wrap()
    atoms.calc = EMT()
    return atoms


@pytest.fixture
def second(crystal):
    """Its Hessian in eV/Å²."""
    return hessian(crystal, 0.005)[0]


MASSES = {"Cu": 63.546, "Au": 196.967}


def root_of(atoms):
    return np.repeat(np.sqrt([MASSES[symbol] for symbol in atoms.symbols]), 3)


def wavenumbers(atoms, matrix):
    """In cm⁻¹ of 3 n modes, imaginary ones negative, and their vectors as rows."""
    root = root_of(atoms)
    squares, vectors = np.linalg.eigh(matrix / np.outer(root, root))
    return np.sign(squares) * np.sqrt(abs(squares)) * WAVENUMBER, vectors.T


def rows(matrix, form="{:.10f}", before="<v>", after="</v>"):
    return "\n".join(before + " ".join(map(form.format, row)) + after for row in matrix)


def write_vasprun(path, atoms, matrix, flags=None, thz=False):
    """Of the rows and columns whose flags are T."""
    root = root_of(atoms)
    weighted = -matrix / np.outer(root, root)
    if thz:
        weighted *= 15.633302300230191**2
    selective = ""
    if flags is not None:
        chosen = np.array(flags).ravel() == "T"
        weighted = weighted[np.ix_(chosen, chosen)]
        lines = "\n".join(f'<v type="logical">{" ".join(flag)}</v>' for flag in flags)
        selective = f'<varray name="selective">{lines}</varray>'
    structure = (
        f'<crystal><varray name="basis">{rows(atoms.cell)}</varray></crystal>'
        f'<varray name="positions">{rows(atoms.get_scaled_positions())}</varray>'
    )
    energy = atoms.get_potential_energy()
    energies = (
        f'<energy><i name="e_fr_energy">{energy:.8f}</i><i name="e_0_energy">{energy:.8f}</i>'
        "</energy>"
    )
    step = (
        f"<calculation><scstep>{energies}</scstep><structure>{structure}</structure>"
        f'<varray name="forces">{rows(atoms.get_forces())}</varray>{energies}</calculation>'
    )
    kinds = "".join(
        f"<rc><c>{list(atoms.symbols).count(symbol)}</c><c>{symbol}</c><c>{MASSES[symbol]}</c>"
        "<c>11.0</c><c>PAW</c></rc>"
        for symbol in dict.fromkeys(atoms.symbols)
    )
    names = "".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in atoms.symbols)
    unit = '<i name="unit" type="string">THz^2 </i>' if thz else ""
    text = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n'
        '<kpoints><varray name="kpointlist"><v>0 0 0</v></varray>'
        '<varray name="weights"><v>1</v></varray></kpoints>'
        f'<atominfo><array name="atoms"><set>{names}</set></array>'
        f'<array name="atomtypes"><set>{kinds}</set></array></atominfo>'
        f'<structure name="initialpos">{structure}{selective}</structure>\n{step}\n'
        + step.replace(f"{energy:.8f}", "0.0")  # a displaced one
        + f'<dynmat>{unit}<varray name="hessian">{rows(weighted)}</varray></dynmat></modeling>\n'
    )
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.write(text)


@pytest.mark.parametrize(("name", "thz"), [("vasprun.xml", False), ("vasprun.xml.gz", True)])
def test_vasprun(labelled, tmp_path, crystal, second, name, thz):
    write_vasprun(tmp_path / name, crystal, second, thz=thz)
    frames = ("--frames", tmp_path / "frames.xyz")
    (label,), printed = labelled("--from_output", tmp_path / name, *frames)
    assert label.atoms is None and label.pbc.all()
    assert np.abs(label.positions - crystal.positions).max() < 1e-8
    assert np.abs(label.hessian - second).max() < (1e-4 if thz else 1e-6)
    frame = read(tmp_path / "frames.xyz")
    assert frame.info["REF_energy"] == pytest.approx(crystal.get_potential_energy(), abs=1e-7)
    assert np.abs(frame.arrays["REF_forces"] - crystal.get_forces()).max() < 1e-7
    assert "1 with REF_energy" in printed


def test_vasprun_of_some_atoms(labelled, refused, tmp_path, crystal, second):
    flags = [list("FFF"), list("TTT"), list("TTT")]
    write_vasprun(tmp_path / "vasprun.xml", crystal, second, flags)
    (label,), _ = labelled("--from_output", tmp_path / "vasprun.xml")
    assert label.atoms.tolist() == [1, 2]
    assert np.abs(label.hessian - second[3:, 3:]).max() < 1e-6
    write_vasprun(tmp_path / "vasprun.xml", crystal, second, [list("FFT"), *flags[1:]])
    error = refused("--from_output", tmp_path / "vasprun.xml", "--overwrite")
    assert "atom 1 moves in some components alone" in error


def test_a_run_without_hessian(refused, tmp_path, crystal, second):
    write_vasprun(tmp_path / "vasprun.xml", crystal, second)
    text = (tmp_path / "vasprun.xml").read_text()
    (tmp_path / "vasprun.xml").write_text(text.replace("dynmat", "other"))
    assert "IBRION = 5, 6, 7 or 8" in refused("--from_output", tmp_path / "vasprun.xml")
    (tmp_path / "vasprun.xml").write_text(text[: text.index("<dynmat>")])
    assert "cannot be read" in refused("--from_output", tmp_path / "vasprun.xml")


@pytest.mark.parametrize(
    ("program", "part", "words"),
    [
        ("vasp", 0.02, "IBRION = 5, 6, 7 or 8"),
        ("vasp", 0.9, "IBRION = 5, 6, 7 or 8"),
        ("espresso", 0.8, "at q = 0 is not whole"),
        ("castep", 0.8, "give the .phonon file of a run that has ended"),
    ],
)
def test_a_run_that_was_cut_off(refused, tmp_path, crystal, second, program, part, words):
    path = tmp_path / "output"
    if program == "vasp":
        write_vasprun(path, crystal, second)
    elif program == "espresso":
        write_dyn(path, crystal, second, (0, 7.0, 0, 0, 0, 0, 0))
    else:
        write_phonon(path, crystal, second, [""])
    text = path.read_text()
    path.write_text(text[: int(part * len(text))])
    error = refused("--from_output", path)
    assert "did the run end?" in error and words in error


def test_structures_that_are_given(labelled, refused, tmp_path, crystal, second):
    """The same atoms in other cells of the lattice get the label; in another order they do not."""
    write_vasprun(tmp_path / "vasprun.xml", crystal, second)
    moved = crystal.copy()
    moved.positions[1] -= moved.cell[2]
    write(tmp_path / "train.xyz", [bulk("Au", cubic=True), moved])
    (label,), _ = labelled(tmp_path / "train.xyz", "--from_output", tmp_path / "vasprun.xml")
    assert np.abs(label.positions - moved.positions).max() < 1e-7
    assert np.abs(label.hessian - second).max() < 1e-6
    write(tmp_path / "train.xyz", moved[[2, 1, 0]])
    error = refused(tmp_path / "train.xyz", "--from_output", tmp_path / "vasprun.xml", out="b.npz")
    assert "in this order" in error


def write_outcar(path, atoms, matrix, moved, given=None):
    """With the changes of forces of some atoms, and their frequencies."""
    kinds = list(dict.fromkeys(atoms.symbols))
    chosen = np.repeat(np.isin(np.arange(len(atoms)), moved), 3)
    block, part = matrix[np.ix_(chosen, chosen)], atoms[moved]
    given = wavenumbers(part, block)[0][::-1] if given is None else given
    labels = [f"{atom + 1}{axis}" for atom in moved for axis in "XYZ"]
    counts = " ".join(str(list(atoms.symbols).count(kind)) for kind in kinds)
    inverse = np.linalg.inv(atoms.cell).T
    lattice = "\n".join(
        " ".join(f"{x:15.9f}" for x in [*direct, *reciprocal])
        for direct, reciprocal in zip(atoms.cell, inverse)
    )
    places = "\n".join(
        " ".join(f"{x:14.8f}" for x in [*place, *force])
        for place, force in zip(atoms.positions, atoms.get_forces())
    )
    modes = "\n".join(
        f"{number + 1:4d} f{'  ' if value >= 0 else '/i'}= {abs(value) / 33.35641:12.6f} THz "
        f"{abs(value) / 5.3:12.6f} 2PiTHz {abs(value):12.6f} cm-1 {abs(value) / 8.07:12.6f} meV"
        for number, value in enumerate(given)
    )
    table = "\n".join(
        f" {name:8s}" + "".join(f"{x:14.8f}" for x in row) for name, row in zip(labels, -block)
    )
    energy = atoms.get_potential_energy()
    heads = 2 * "".join(f" POTCAR:    PAW_PBE {kind} 01Jan2000\n" for kind in kinds)
    mass = "".join(f"   POMASS = {MASSES[kind]:8.3f}; ZVAL   =   11.000\n" for kind in kinds)
    path.write_text(
        f" vasp.6.3.0 20Jan22 complex\n{heads}{mass}   ions per type =     {counts}\n"
        "   ISPIN  =      1    spin polarized calculation?\n"
        " k-points in reciprocal lattice and weights: K\n   0.00 0.00 0.00 1.000\n\n"
        "   k-points           NKPTS =      1   k-points in BZ\n"
        "--------------------------------------- Iteration      1(   1)  --------\n"
        "      direct lattice vectors                 reciprocal lattice vectors\n"
        f"{lattice}\n\n"
        " POSITION                                       TOTAL-FORCE (eV/Angst)\n"
        f" {'-' * 80}\n{places}\n {'-' * 80}\n    total drift: 0.0 0.0 0.0\n\n"
        "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n"
        "  ---------------------------------------------------\n"
        f"  free  energy   TOTEN  =  {energy:.8f} eV\n\n"
        f"  energy  without entropy= {energy:.8f}  energy(sigma->0) = {energy:.8f}\n\n"
        " SECOND DERIVATIVES (NOT SYMMETRIZED)\n ------------------------------------\n"
        f"          {'          '.join(labels)}\n{table}\n\n\n"
        " Eigenvectors and eigenvalues of the dynamical matrix\n"
        f" ----------------------------------------------------\n\n{modes}\n"
    )


@pytest.mark.parametrize("moved", [[0, 1, 2], [0, 2]])
def test_outcar(labelled, refused, tmp_path, crystal, second, moved):
    write_outcar(tmp_path / "OUTCAR", crystal, second, moved)
    frames = ("--frames", tmp_path / "frames.xyz")
    (label,), _ = labelled("--from_output", tmp_path / "OUTCAR", *frames)
    chosen = np.repeat(np.isin(np.arange(3), moved), 3)
    assert label.rows.tolist() == moved
    assert np.abs(label.hessian - second[np.ix_(chosen, chosen)]).max() < 1e-6
    frame = read(tmp_path / "frames.xyz")
    assert frame.info["REF_energy"] == pytest.approx(crystal.get_potential_energy(), abs=1e-6)
    assert np.abs(frame.arrays["REF_forces"] - crystal.get_forces()).max() < 1e-6
    wrong = np.full(3 * len(moved), 400.0)
    write_outcar(tmp_path / "OUTCAR", crystal, second, moved, wrong)
    error = refused("--from_output", tmp_path / "OUTCAR", "--overwrite")
    assert "where the file gives 400.0" in error
    text = (tmp_path / "OUTCAR").read_text()
    (tmp_path / "OUTCAR").write_text(text[: text.index(" SECOND DER")])
    assert "IBRION" in refused("--from_output", tmp_path / "OUTCAR", "--overwrite")


def write_dyn(path, atoms, matrix, lattice, q=(0, 0, 0), names=("Cu1", "Au")):
    """Two q: one that is none of Γ first."""
    alat = lattice[1] * units.Bohr
    lines = ["Dynamical matrix file", "a title", "  2    3  " + " ".join(map(str, lattice))]
    if lattice[0] == 0:
        lines += ["Basis vectors", rows(atoms.cell / alat, "{:15.9f}", "  ", "")]
    lines += [f"  {n + 1}  '{name:4s}'  {1e5 * (n + 1)}" for n, name in enumerate(names)]
    for number, (symbol, place) in enumerate(zip(atoms.symbols, atoms.positions / alat)):
        kind = 1 if symbol == "Cu" else 2
        lines.append(f"{number + 1:5d}{kind:5d}" + "".join(f"{x:18.10f}" for x in place))
    for point, factor in (((0.5, 0, 0), 0.3), (q, 1.0)):
        lines += ["", "     Dynamical  Matrix in cartesian axes", ""]
        lines += ["     q = ( {:14.9f}{:14.9f}{:14.9f} )".format(*point), ""]
        blocks = (factor * matrix / (units.Ry / units.Bohr**2)).reshape(3, 3, 3, 3)
        for i in range(3):
            for j in range(3):
                lines.append(f"{i + 1:5d}{j + 1:5d}")
                for row in blocks[i, :, j]:
                    lines.append("  ".join(f"{x:12.8f}{0.0:12.8f}" for x in row))
    lines += ["", "     Diagonalizing the dynamical matrix", "", " ****"]
    path.write_text("\n".join(lines) + "\n")


def test_dynamical_matrix_of_quantum_espresso(labelled, refused, tmp_path, crystal, second):
    lattice = (0, 7.0, 0, 0, 0, 0, 0)
    write_dyn(tmp_path / "cu.dyn1", crystal, second, lattice)
    (label,), _ = labelled("--from_output", tmp_path / "cu.dyn1")
    assert label.numbers.tolist() == [29, 29, 79]
    assert np.abs(label.positions - crystal.positions).max() < 1e-7
    assert np.abs(label.cell - crystal.cell).max() < 1e-7
    assert np.abs(label.hessian - second).max() < 1e-5
    write_dyn(tmp_path / "cu.dyn1", crystal, second, lattice, q=(0.5, 0.5, 0))
    assert "q = 0" in refused("--from_output", tmp_path / "cu.dyn1", "--overwrite")


@pytest.mark.parametrize(
    ("lattice", "cell"),
    [
        ((2, 14.0, 0, 0, 0, 0, 0), [[-0.5, 0, 0.5], [0, 0.5, 0.5], [-0.5, 0.5, 0]]),
        ((4, 14.0, 0, 1.6, 0, 0, 0), [[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 1.6]]),
        ((7, 14.0, 0, 2.0, 0, 0, 0), [[0.5, -0.5, 1], [0.5, 0.5, 1], [-0.5, -0.5, 1]]),
        ((8, 14.0, 1.1, 1.3, 0, 0, 0), [[1, 0, 0], [0, 1.1, 0], [0, 0, 1.3]]),
        ((-9, 14.0, 1.1, 1.3, 0, 0, 0), [[0.5, -0.55, 0], [0.5, 0.55, 0], [0, 0, 1.3]]),
    ],
)
def test_lattices_of_quantum_espresso(labelled, tmp_path, crystal, second, lattice, cell):
    write_dyn(tmp_path / "cu.dyn1", crystal, second, lattice)
    (label,), _ = labelled("--from_output", tmp_path / "cu.dyn1")
    assert np.abs(label.cell - 14.0 * units.Bohr * np.array(cell)).max() < 1e-6


def test_the_angle_of_trigonal_lattices(labelled, refused, tmp_path, crystal, second):
    write_dyn(tmp_path / "cu.dyn1", crystal, second, (5, 14.0, 0, 0, 0.3, 0, 0))
    (label,), _ = labelled("--from_output", tmp_path / "cu.dyn1")
    gram = label.cell @ label.cell.T / (14.0 * units.Bohr) ** 2
    assert np.abs(gram - (0.3 + 0.7 * np.eye(3))).max() < 1e-6
    write_dyn(tmp_path / "cu.dyn1", crystal, second, (14, 14.0, 1, 1, 0.3, 0.1, 0))
    assert "ibrav = 0" in refused("--from_output", tmp_path / "cu.dyn1", "--overwrite")
    write_dyn(tmp_path / "cu.dyn1", crystal, second, (1, 14.0, 0, 0, 0, 0, 0), names=("Xy", "Au"))
    assert "'Xy'" in refused("--from_output", tmp_path / "cu.dyn1", "--overwrite")


def write_phonon(path, atoms, matrix, directions):
    """Modes at q = 0, each time with a direction of approach or without."""
    values, vectors = wavenumbers(atoms, matrix)
    n = len(atoms)
    lines = [" BEGIN header", f" Number of ions         {n}", f" Number of branches     {3 * n}"]
    lines += [f" Number of wavevectors  {len(directions)}", " Frequencies in         cm-1"]
    lines += [" Unit cell vectors (A)", rows(atoms.cell, "{:14.9f}", " ", "")]
    lines += [" Fractional Co-ordinates"]
    for number, place in enumerate(atoms.get_scaled_positions()):
        symbol = atoms.symbols[number]
        numbers = " ".join(f"{x:.9f}" for x in place)
        lines.append(f"  {number + 1}  {numbers}  {symbol}  {MASSES[symbol]}")
    lines += [" END header"]
    for index, direction in enumerate(directions):
        lines.append(f"     q-pt= {index + 1}  0.000000 0.000000 0.000000  0.5 {direction}")
        shifted = values * (1.3 if direction else 1.0)
        lines += [f"  {number + 1}  {value:.8f}  0.0" for number, value in enumerate(shifted)]
        lines += ["   Phonon Eigenvectors", " Mode Ion  X  Y  Z"]
        for mode, vector in enumerate(vectors):
            for ion, row in enumerate(vector.reshape(-1, 3)):
                pairs = " ".join(f"{x:.12f} 0.0" for x in row)
                lines.append(f" {mode + 1} {ion + 1} {pairs}")
    path.write_text("\n".join(lines) + "\n")


def test_modes_of_castep(labelled, refused, tmp_path, crystal, second):
    """Made again of the modes; those that the electric field splits are passed over."""
    write_phonon(tmp_path / "cu.phonon", crystal, second, ["1.0 0.0 0.0", ""])
    (label,), _ = labelled("--from_output", tmp_path / "cu.phonon")
    assert np.abs(label.positions - crystal.positions).max() < 1e-7 and label.pbc.all()
    assert np.abs(label.hessian - second).max() < 1e-5
    write_phonon(tmp_path / "cu.phonon", crystal, second, ["1.0 0.0 0.0"])
    assert "direction" in refused("--from_output", tmp_path / "cu.phonon", "--overwrite")


def test_matrix_of_the_scripts_of_aims(labelled, refused, tmp_path, crystal, second):
    """Of the atoms that are not constrained, whose places stand beside their masses."""
    np.savetxt(tmp_path / "hessian.slab.dat", second[3:, 3:])
    masses = "".join(
        f"{MASSES[atom.symbol]:10.5f}"
        + "".join(f"{x:11.4f}" for x in atom.position)
        + f"{atom.symbol}\n"
        for atom in crystal[1:]
    )
    (tmp_path / "masses.slab.dat").write_text(masses)
    assert "geometry" in refused("--from_output", tmp_path / "hessian.slab.dat")
    write(tmp_path / "geometry.in", crystal, format="aims", scaled=False)
    (label,), _ = labelled("--from_output", tmp_path / "hessian.slab.dat")
    assert label.atoms.tolist() == [1, 2]
    assert np.abs(label.positions - crystal.positions).max() < 1e-7 and label.pbc.all()
    assert np.abs(label.hessian - second[3:, 3:]).max() < 1e-10


def write_cp2k(path, atoms, matrix, given=None):
    root = root_of(atoms)
    weighted = matrix / np.outer(root, root) / (units.Hartree / units.Bohr**2)
    weighted *= 1e6 * units._me / units._amu
    given = wavenumbers(atoms, matrix)[0][3:] if given is None else given
    lines = [" CP2K| version string:      CP2K version 2023.1"]
    for name, vector in zip("abc", atoms.cell):
        numbers = "".join(f"{x:14.8f}" for x in vector)
        lines.append(f" CELL| Vector {name} [angstrom]:  {numbers}   |{name}| = 3.0")
    lines += [" CELL| Periodicity                    XYZ", ""]
    lines += [" MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM", ""]
    lines += ["   Atom Kind Element       X         Y        Z     Z(eff)     Mass", ""]
    for number, atom in enumerate(atoms):
        place = "".join(f"{x:13.8f}" for x in atom.position)
        mass = MASSES[atom.symbol]
        lines.append(f"  {number + 1}  1 {atom.symbol} {atom.number}{place}  11.0000 {mass:10.4f}")
    lines += ["", " SCF PARAMETERS", "", " VIB| Hessian in cartesian coordinates"]
    size = 3 * len(atoms)
    for first in range(0, size, 5):
        columns = range(first, min(first + 5, size))
        lines += ["", "         " + "".join(f"{column + 1:13d}" for column in columns)]
        for number in range(size):
            symbol = atoms.symbols[number // 3]
            numbers = "".join(f"{weighted[number, column]:13.6f}" for column in columns)
            lines.append(f"{number + 1:6d} {symbol:5s}{numbers}")
    for first in range(0, len(given), 3):
        numbers = "".join(f"{x:20.6f}" for x in given[first : first + 3])
        lines.append(f" VIB|Frequency (cm^-1) {numbers}")
    path.write_text("\n".join(lines) + "\n")


def test_output_of_cp2k(labelled, refused, tmp_path, crystal, second):
    write_cp2k(tmp_path / "cu.out", crystal, second)
    (label,), _ = labelled("--from_output", tmp_path / "cu.out")
    assert np.abs(label.positions - crystal.positions).max() < 1e-7 and label.pbc.all()
    assert np.abs(label.cell - crystal.cell).max() < 1e-7
    assert np.abs(label.hessian - second).max() < 1e-4
    write_cp2k(tmp_path / "cu.out", crystal, second, given=np.full(9, 350.0))
    error = refused("--from_output", tmp_path / "cu.out", "--overwrite")
    assert "where the file gives 350.0" in error
    text = (tmp_path / "cu.out").read_text()
    (tmp_path / "cu.out").write_text(text[: text.index(" VIB|")])
    assert "VIBRATIONAL_ANALYSIS" in refused("--from_output", tmp_path / "cu.out", "--overwrite")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("     Program PHONON v.6.7 starts on 1Jan\n", "fildyn"),
        ("     Program PWSCF v.6.7 starts on 1Jan\n", "fildyn"),
        (" |      CCC   AA    SSS  TTTTT  EEEEE  PPPP        |\n", ".phonon"),
        ("          Invoking FHI-aims ...\n", "hessian.NAME.dat"),
        ("\x89HDF\r\n\x1a\n", "vasprun.xml"),
        (" **** DERIVATIVE DATABASE ****\n", "phonopy"),
        ("\n.Version 9.6.2 of ABINIT \n", "(--from_phonopy), or displaced structures"),
        ("Siesta Version  : 4.1.5\n", "ASE's Vibrations (--from_vibrations)"),
        ("           *  WELCOME TO SIESTA  *\n", "ASE's Vibrations (--from_vibrations)"),
        (" | | | | | . | | | | \n |__ |  _|___|_____|  22.8.0\n", "(--from_vibrations)"),
        ("[Molden Format]\n[Title]\n\n[Atoms] AU\n", "give the file of the job itself"),
    ],
)
def test_files_without_a_hessian_get_the_advice_of_their_program(refused, tmp_path, text, advice):
    (tmp_path / "x.out").write_bytes(text.encode("latin-1"))
    assert advice in refused("--from_output", tmp_path / "x.out")


def test_molecules_in_a_box_are_no_other_programs(refused, tmp_path):
    """A file of none of these goes to the readers of molecules."""
    write(tmp_path / "x.out", Atoms("CO", [[0, 0, 0], [0, 0, 1.1]]), format="xyz")
    assert "cclib" in refused("--from_output", tmp_path / "x.out")
