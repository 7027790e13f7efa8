"""The converter of the paper's data sets, on small files of the published formats."""

import importlib.util
import shlex
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "paper_data.py"
#: CODATA 2014 as in ASE: eV per kcal/mol, eV per hartree
KCAL_PER_MOL, HARTREE = 0.0433641, 27.211386
NUMBERS = np.array([8, 1, 1])
STIFFNESS, OFFSET, STEP = 500.0, -47_000.0, 1e-3


@pytest.fixture(scope="module")
def paper_data():
    specification = importlib.util.spec_from_file_location("paper_data", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def water(n, seed=0):
    """Positions (n, 3, 3) in Å, and energies and forces of springs between all atoms.

    Frames 0 and 1 differ by the first coordinate of the first atom alone, by ``STEP``.
    """
    positions = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    positions = positions + np.random.default_rng(seed).normal(scale=0.05, size=(n, 3, 3))
    if n > 1:
        positions[1] = positions[0]
        positions[1, 0, 0] += STEP
    vectors = positions[:, :, None] - positions[:, None]
    lengths = np.linalg.norm(vectors, axis=-1) + np.eye(3)
    stretched = (lengths - 1) * STIFFNESS
    energies = OFFSET + 0.25 * (stretched * (lengths - 1)).sum((1, 2))
    return positions, energies, -(stretched[..., None] * vectors / lengths[..., None]).sum(2)


def write_rmd17(path, n=12, seed=0, **changes):
    positions, energies, forces = water(n, seed)
    made = {"nuclear_charges": NUMBERS, "coords": positions, "energies": energies, "forces": forces}
    np.savez(path, **{**made, "old_indices": np.arange(n), **changes})
    return path


def write_sgdml(path, n=12, seed=0, **changes):
    positions, energies, forces = water(n, seed)
    made = {"z": NUMBERS.astype("uint8"), "R": positions, "E": energies[:, None], "F": forces}
    names = {"e_unit": np.array(b"kcal/mol"), "r_unit": np.array(b"Ang"), "name": "water"}
    np.savez(path, **{**made, **names, **changes})
    return path


def write_ani1x(path, n=12, **changes):
    """Two compositions; the last frame of the second has no labels."""
    positions, energies, forces = water(n)
    with h5py.File(path, "w") as file:
        for name, part in (("H2O1", slice(0, 8)), ("O1H2", slice(8, n))):
            made = {
                "atomic_numbers": NUMBERS.astype("uint8"),
                "coordinates": positions[part],
                "wb97x_dz.energy": energies[part],
                "wb97x_dz.forces": forces[part],
                "ccsd(t)_cbs.energy": np.full(len(energies[part]), np.nan),
            }
            for key, value in {**made, **changes}.items():
                if value is not None:
                    file.create_dataset(f"{name}/{key}", data=value)
        if not changes:
            file["O1H2/wb97x_dz.energy"][-1] = np.nan
    return path


def write_xsf(folder, n=12, cell=True, forces=True):
    folder.mkdir()
    positions, energies, found = water(n)
    head = "CRYSTAL\nPRIMVEC\n 6.0 0.0 0.0\n 0.0 7.0 0.0\n 0.0 1.0 8.0\nPRIMCOORD\n 3 1\n"
    for frame in range(n):
        table = np.hstack([positions[frame], found[frame]] if forces else [positions[frame]])
        rows = [f"{'OHH'[i]} " + " ".join(f"{x:.10f}" for x in row) for i, row in enumerate(table)]
        text = f"# total energy = {energies[frame]:.10f} eV\n\n{head if cell else 'ATOMS'}\n"
        (folder / f"structure{frame:04d}.xsf").write_text(text + "\n".join(rows) + "\n")
    return folder


def truncated(folder):
    """The first file without its last line."""
    file = folder / "structure0000.xsf"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]))


WRITERS = {
    "rmd17": (write_rmd17, "water.npz", KCAL_PER_MOL),
    "md22": (write_sgdml, "md22_water.npz", KCAL_PER_MOL),
    "ccsd": (write_sgdml, "water_ccsd-train.npz", KCAL_PER_MOL),
    "ani1x": (write_ani1x, "ani1x-release.h5", HARTREE),
    "tio2": (write_xsf, "TiO2", 1.0),
    "lmnto": (write_xsf, "LMNTO", 1.0),
}


def convert(module, data, file, out, *options, n_train=4, n_valid=3):
    sizes = [f"--n_train={n_train}", f"--n_valid={n_valid}", f"--out={out}"]
    assert module.main([data, str(file), *sizes, *options]) == 0
    return [ase.io.read(out / f"{part}.xyz", ":") for part in ("train", "valid", "test")]


def refusal(module, capsys, *arguments):
    """The one line that a refused command prints."""
    assert module.main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize("data", WRITERS)
def test_units_and_splits(paper_data, tmp_path, capsys, data):
    write, name, unit = WRITERS[data]
    parts = convert(paper_data, data, write(tmp_path / name), tmp_path / "out")
    n = 11 if data == "ani1x" else 12  # one frame has no labels
    assert [len(part) for part in parts] == [4, 3, n - 7]
    positions, energies, forces = water(12)
    numbers, frames = [], [atoms for part in parts for atoms in part]
    for atoms in frames:
        assert atoms.get_chemical_symbols() == ["O", "H", "H"]
        distances = np.abs(positions - atoms.positions).max((1, 2))
        numbers.append(number := int(distances.argmin()))
        assert distances[number] < 1e-7
        assert atoms.info["REF_energy"] == pytest.approx(energies[number] * unit, rel=1e-6)
        assert atoms.arrays["REF_forces"] == pytest.approx(
            forces[number] * unit, rel=1e-6, abs=1e-7
        )
    assert len(set(numbers)) == n  # no frame twice
    # F = −dE/dx, from two frames of the files as they were written
    by_number = dict(zip(numbers, frames))
    first, second = by_number[0], by_number[1]
    slope = (second.info["REF_energy"] - first.info["REF_energy"]) / STEP
    force = 0.5 * (first.arrays["REF_forces"][0, 0] + second.arrays["REF_forces"][0, 0])
    assert force == pytest.approx(-slope, rel=1e-4)
    assert f"train 4, valid 3, test {n - 7} of {n} frames" in capsys.readouterr().out


def test_periodic_and_molecular_frames_of_xsf(paper_data, tmp_path):
    crystal = convert(paper_data, "tio2", write_xsf(tmp_path / "a"), tmp_path / "out")[0][0]
    assert crystal.pbc.all() and crystal.cell[2].tolist() == [0.0, 1.0, 8.0]
    molecules = write_xsf(tmp_path / "b", cell=False)
    assert not convert(paper_data, "tio2", molecules, tmp_path / "out")[0][0].pbc.any()


def test_the_seed_alone_decides(paper_data, tmp_path):
    file = write_rmd17(tmp_path / "water.npz", n=40)

    def texts(folder, *options, n_train=10):
        convert(paper_data, "rmd17", file, tmp_path / folder, *options, n_train=n_train)
        return [(tmp_path / folder / f"{p}.xyz").read_text() for p in ("train", "valid", "test")]

    fixed = ("--n_test=20", "--seed=3")
    first = texts("a", *fixed)
    assert texts("b", *fixed) == first
    assert texts("c", "--n_test=20", "--seed=4") != first
    # fewer training frames: some of the same; validation and test are the same
    smaller = texts("d", *fixed, n_train=5)
    assert smaller[1:] == first[1:]
    assert set(smaller[0].splitlines()) < set(first[0].splitlines())


def test_a_published_test_set(paper_data, tmp_path):
    train = write_sgdml(tmp_path / "train.npz")
    test = write_sgdml(tmp_path / "test.npz", n=5, seed=1)
    parts = convert(
        paper_data, "ccsd", train, tmp_path / "out", f"--test_file={test}", n_train=9, n_valid=3
    )
    assert [len(part) for part in parts] == [9, 3, 5]
    assert parts[2][0].positions == pytest.approx(water(5, seed=1)[0][0], abs=1e-7)


def test_atomic_energies_by_least_squares(paper_data):
    counts = np.zeros((3, 119))
    counts[:, 1], counts[:, 8] = (2, 2, 4), (1, 0, 2)
    fitted = paper_data.atomic_energies(counts, counts[:, 1] * -13.5 + counts[:, 8] * -2035.0)
    assert fitted == {"H": -13.5, "O": -2035.0}


@pytest.mark.parametrize(
    ("data", "write", "message"),
    [
        ("rmd17", write_sgdml, "no nuclear_charges, coords, energies, forces"),
        ("md22", write_rmd17, "no z, R, E, F"),
        ("md22", lambda path: write_sgdml(path, e_unit=np.array(b"eV")), "e_unit is eV"),
        ("md22", lambda path: write_sgdml(path, F=np.zeros((12, 2, 3))), "forces of shape (12, 2"),
        ("rmd17", lambda path: write_rmd17(path, energies=np.full(12, np.nan)), "not finite"),
        (
            "rmd17",
            lambda path: write_rmd17(path, coords=np.full((12, 3, 3), None)),
            "not an NPZ file of plain",
        ),
        ("rmd17", lambda path: path.write_text("energy"), "not an NPZ file of plain"),
        ("ccsd", lambda path: np.save(path.open("wb"), np.zeros(3)), "not an NPZ file of plain"),
        ("ani1x", write_rmd17, "file signature"),
        (
            "ani1x",
            lambda path: write_ani1x(path, **{"wb97x_dz.forces": None}),
            "no wb97x_dz.forces in H2O1",
        ),
        (
            "ani1x",
            lambda path: write_ani1x(path, **{"wb97x_dz.energy": np.zeros(5)}),
            "positions of shape",
        ),
        ("tio2", lambda path: path.mkdir(), "no .xsf files in it"),
        ("tio2", lambda path: truncated(write_xsf(path)), "structure0000.xsf: not an XSF file"),
        ("tio2", lambda path: write_xsf(path, forces=False), "structure0000.xsf: forces of shape"),
        ("lmnto", write_rmd17, "not an XSF file"),
        ("rmd17", lambda path: None, "No such file"),
    ],
)
def test_wrong_files_end_in_one_line(paper_data, tmp_path, capsys, data, write, message):
    file, out = tmp_path / "file.npz", tmp_path / "out"
    write(file)
    given = (data, file, "--n_train=4", "--n_valid=3", f"--out={out}")
    assert message in refusal(paper_data, capsys, *given)
    assert not out.exists()


def test_too_few_frames(paper_data, tmp_path, capsys):
    file = write_rmd17(tmp_path / "water.npz")
    for sizes in (("10", "3"), ("5", "3", "--n_test=5")):
        given = [f"--n_train={sizes[0]}", f"--n_valid={sizes[1]}", *sizes[2:]]
        text = refusal(paper_data, capsys, "rmd17", file, *given, f"--out={tmp_path / 'out'}")
        assert "12 frames are too few" in text


def test_documented_commands_are_understood(paper_data):
    lines = (SCRIPT.parents[1] / "docs" / "paper.md").read_text(encoding="utf-8").splitlines()
    start = "    python benchmarks/paper_data.py "
    commands = [shlex.split(line[len(start) :]) for line in lines if line.startswith(start)]
    assert {paper_data.build_parser().parse_args(words).data for words in commands} == set(WRITERS)
