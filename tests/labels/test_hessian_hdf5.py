"""Files of Hessian labels in HDF5: the same labels as of npz, read one by one."""

import dataclasses
import multiprocessing
import os
import pickle
import tracemalloc
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.labels import hessian_hdf5
from piwsl_plugins.labels.hessian_labels import PARTS, HessianLabel, read_labels, write_labels
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.labels.hessian_matching import check_label
from piwsl_plugins.options.settings import Hessian

h5py = pytest.importorskip("h5py")


def symmetric(random, size):
    matrix = random.normal(size=(size, size))
    return matrix + matrix.T


def of_every_kind(n=40):
    """Whole Hessians, blocks, rows, probes with forces or energies, of molecules and cells."""
    random = np.random.default_rng(0)
    labels = []
    for index in range(n):
        size = 3 + index % 4
        numbers, positions = random.integers(1, 9, size), random.normal(size=(size, 3))
        cell = {"cell": random.normal(size=(3, 3)), "pbc": np.array([True, True, False])}
        lattice = cell if index % 2 else {}
        whole, probes = symmetric(random, 3 * size), random.normal(size=(1 + index % 3, size, 3))
        atoms, rows = np.array([0, 2]), [0, 1, 2, 6, 7, 8]
        what = (
            {"hessian": whole},
            {"hessian": whole[np.ix_(rows, rows)], "atoms": atoms},
            {"displacements": probes, "force_changes": 2 * probes},
            {"displacements": probes, "curvatures": probes[:, 0, 0]},
            {"hessian": whole[rows], "atoms": atoms},
        )[index % 5]
        state = {"charge": 1.0, "spin": 2.0} if index % 3 == 1 else {}
        labels.append(HessianLabel(numbers, positions, **lattice, **what, **state))
    return labels


def assert_same(label, expected):
    for name in PARTS:
        value, wanted = getattr(label, name), getattr(expected, name)
        assert (value is None) == (wanted is None), name
        if wanted is not None:
            assert np.asarray(value).dtype == np.asarray(wanted).dtype, name
            assert np.array_equal(value, wanted), name


@pytest.fixture
def labels():
    return of_every_kind()


@pytest.fixture
def path(tmp_path, labels):
    write_labels(tmp_path / "labels.h5", labels, "a test")
    return tmp_path / "labels.h5"


@pytest.mark.parametrize("block", [1, 2000, 2**24])
def test_labels_are_those_of_an_npz_file(tmp_path, labels, block, monkeypatch):
    """However they are read: in order, in blocks, one by one, or by geometry."""
    monkeypatch.setattr(hessian_hdf5, "BLOCK", block)
    files = [tmp_path / "labels.npz", tmp_path / "labels.h5"]
    for file in files:
        write_labels(file, labels, "a test")
    npz, hdf5 = map(read_labels, files)
    assert len(npz) == len(hdf5) == len(labels)
    for one, other, alone in zip(npz, hdf5, reversed(hdf5[::-1]), strict=True):
        assert_same(other, one)
        assert_same(alone, one)
    found = HessianLabels(hdf5)
    for label in labels:
        assert_same(found.find(label.structure), label)
    write_labels(tmp_path / "again.h5", hdf5, "a test")
    assert (tmp_path / "again.h5").read_bytes() == files[1].read_bytes()


def test_matching_reads_no_matrices(path, labels, monkeypatch):
    file = read_labels(path)
    parts = set()
    read = hessian_hdf5.LabelFile._read

    def reading(self, first, last, names):
        parts.update(names)
        return read(self, first, last, names)

    monkeypatch.setattr(hessian_hdf5.LabelFile, "_read", reading)
    known = HessianLabels(file)
    for number, label in enumerate(labels):
        assert known.index.find(label.structure) == number
    assert parts == {
        "numbers",
        "positions",
        "cell",
        "pbc",
        "charge",
        "spin",
        "displacements",
    }  # the last for their lengths
    known.find(labels[0].structure)
    assert "hessian" in parts


def test_the_latest_labels_are_kept_up_to_a_bound(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    numbers = np.ones(10, dtype=np.int64)
    labels = [
        HessianLabel(numbers, random.normal(size=(10, 3)), hessian=symmetric(random, 30))
        for _ in range(400)
    ]
    write_labels(tmp_path / "x.h5", labels, "a test")
    each = 30 * 30 * 8 + 10 * 8 + 30 * 8
    monkeypatch.setattr(hessian_hdf5, "CACHE", 20 * each)
    monkeypatch.setattr(hessian_hdf5, "BLOCK", 20 * each)
    tracemalloc.start()
    file = read_labels(tmp_path / "x.h5")
    known = HessianLabels(file)
    for label in labels:
        assert_same(known.find(label.structure), label)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 20 * each < peak < 120 * each
    assert file[399] is file[399] and list(file._latest) == list(range(380, 400))
    file[380], file[0]
    assert list(file._latest) == [*range(382, 400), 380, 0]


def read_in_another_process(file, seed):
    """Sums of the labels' values, read in an order of its own from a file opened here."""
    order = np.random.default_rng(seed).permutation(len(file)).tolist() * 5
    sums = {index: float(np.sum(file[index].displacements)) for index in order}
    assert file._process == os.getpid()
    return [sums[index] for index in range(len(file))]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_side_by_side(tmp_path, method, monkeypatch):
    """... with what a loader's workers take along: an open file with a fork, none otherwise."""
    monkeypatch.setattr(hessian_hdf5, "CACHE", 0)
    probes = np.random.default_rng(0).normal(size=(200, 1, 400, 3))
    numbers, positions = np.ones(400, dtype=np.int64), np.zeros((400, 3))
    labels = [
        HessianLabel(numbers, positions, displacements=one, force_changes=one) for one in probes
    ]
    write_labels(tmp_path / "x.h5", labels, "a test")
    file = read_labels(tmp_path / "x.h5")
    expected = probes.sum(axis=(1, 2, 3)).tolist()
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(3, mp_context=context) as pool:
        jobs = [pool.submit(read_in_another_process, file, seed) for seed in range(3)]
        assert read_in_another_process(file, 3) == pytest.approx(expected, abs=1e-9)
        for job in jobs:
            assert job.result() == pytest.approx(expected, abs=1e-9)


def test_neither_the_open_file_nor_labels_are_pickled(path):
    file = read_labels(path)
    assert file[0].hessian is not None
    again = pickle.loads(pickle.dumps(file))
    assert not again._latest
    assert_same(again[3], file[3])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hessian": np.full((9, 9), np.nan)}, "hessian are not all finite"),
        ({"hessian": np.ones((9, 8))}, r"hessian have shape \(72,\)|hessian have shape \(9, 8\)"),
        ({"hessian": None}, "neither a Hessian nor probes"),
        ({"cell": np.ones((2, 2))}, "cell have shape"),
        ({"atoms": np.array([0, 5, 1])}, "atoms are not all from 0 to 2"),
        ({"positions": np.zeros((2, 3))}, "positions have shape"),
    ],
)
@pytest.mark.parametrize("ending", ["h5", "npz"])
def test_a_wrong_label_is_named(tmp_path, change, words, ending):
    right = HessianLabel(np.array([1, 1, 8]), np.zeros((3, 3)), hessian=np.eye(9))
    wrong = dataclasses.replace(right, **change)
    write_labels(tmp_path / f"x.{ending}", [right, right, wrong], "a test")
    with pytest.raises(SettingsError, match=rf"label 2 \(from 0\): .*{words}") as caught:
        read_labels(tmp_path / f"x.{ending}")
    assert (caught.value.name, caught.value.value) == (
        "hessian_file",
        str(tmp_path / f"x.{ending}"),
    )
    assert "\n" not in str(caught.value)


def test_labels_that_the_form_does_not_take(path):
    def check(index, label):
        check_label(Hessian(hessian_file="x"), index, label)

    with pytest.raises(SettingsError, match=r"label 3 \(from 0\) has probes of energies alone"):
        read_labels(path, check=check)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path, name, value):
    with h5py.File(path, "a") as file:
        del file[name]
        if value is not None:
            file[name] = value


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "cannot be read .*truncated"),
        (lambda path: path.write_bytes(b"text"), "cannot be read"),
        (lambda path: change(path, "hessian", np.zeros(10)), "'hessian' and 'hessian_offsets' do"),
        (lambda path: change(path, "hessian_offsets", None), "cannot be read .*hessian_offsets"),
        (lambda path: change(path, "cell_offsets", np.arange(4)), "'cell' and 'cell_offsets' do"),
        (lambda path: change(path, "positions", None), r"label 0 \(from 0\): its positions"),
        (lambda path: h5py.File(path, "w").close(), "not a file of the format 'piwsl-hessian 1'"),
    ],
)
def test_damaged_files_are_refused(path, damage, words):
    damage(path)
    with pytest.raises(SettingsError, match=words) as caught:
        read_labels(path, "hessian_valid_file")
    assert (caught.value.name, caught.value.value) == ("hessian_valid_file", str(path))
    assert "\n" not in str(caught.value)
