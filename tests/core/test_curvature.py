"""Curvature labels: files, matching by geometry, and the target that follows from them."""

import ase
import ase.io
import numpy as np
import pytest
import torch

from piwsl_plugins.core.curvature import (
    CurvatureLabel,
    CurvatureLabels,
    known_curvatures,
    read_labels,
    write_labels,
)
from piwsl_plugins.core.displacements import draw_points
from piwsl_plugins.core.settings import Settings, SettingsError

RANDOM = np.random.default_rng(0)


def with_hessian(numbers):
    n = len(numbers)
    matrix = RANDOM.normal(size=(3 * n, 3 * n))
    return CurvatureLabel(np.array(numbers), RANDOM.normal(size=(n, 3)), hessian=matrix + matrix.T)


def with_probes(numbers, n_probes=3):
    n = len(numbers)
    return CurvatureLabel(
        np.array(numbers),
        RANDOM.normal(size=(n, 3)),
        displacements=RANDOM.normal(size=(n_probes, n, 3)),
        curvatures=RANDOM.normal(size=n_probes),
    )


LABELS = [with_hessian([8, 1, 1]), with_probes([6, 1]), with_hessian([1, 1]), with_probes([6, 1])]


def same(first, second):
    for name in ("numbers", "positions", "hessian", "displacements", "curvatures"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None), name
        if one is not None:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("labels", [LABELS, LABELS[:1], LABELS[1:2], LABELS[1::2]])
def test_a_file_gives_back_what_was_written(tmp_path, labels):
    write_labels(tmp_path / "labels", labels, "a test")
    read = read_labels(tmp_path / "labels")
    assert len(read) == len(labels)
    for one, other in zip(read, labels, strict=True):
        same(one, other)


@pytest.mark.parametrize("form", ["matrix", "flat", "per atom"])
def test_frames_with_hessians_are_read(tmp_path, form):
    labels, frames = [with_hessian([8, 1, 1]), with_hessian([8, 1, 1])], [ase.Atoms("H")]
    for label in labels:
        atoms = ase.Atoms(label.numbers, label.positions)
        if form == "per atom":
            atoms.arrays["REF_hessian"] = label.hessian.reshape(3, -1)
        else:
            atoms.info["REF_hessian"] = label.hessian.reshape(-1 if form == "flat" else (9, 9))
        frames.append(atoms)
    ase.io.write(tmp_path / "frames.xyz", frames)
    read = read_labels(tmp_path / "frames.xyz")
    assert len(read) == 2
    for one, other in zip(read, labels, strict=True):
        np.testing.assert_allclose(one.hessian, other.hessian, atol=1e-7)


def test_wrong_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=1)
    ase.io.write(tmp_path / "none.xyz", ase.Atoms("H2"))
    (tmp_path / "text.xyz").write_text("no structure at all")
    short = ase.Atoms("H2", info={"REF_hessian": np.zeros((3, 3))})
    ase.io.write(tmp_path / "short.xyz", short)
    for name, words in {
        "missing.npz": "no such file",
        "other.npz": "not a file of the format",
        "none.xyz": "no frame has a curvature label",
        "text.xyz": "ASE cannot read",
        "short.xyz": r"need \(6, 6\)",
    }.items():
        with pytest.raises(SettingsError, match=words) as caught:
            read_labels(tmp_path / name)
        assert caught.value.name == "curvature_file"


def test_labels_are_found_by_geometry():
    found = CurvatureLabels(LABELS)
    noise = 5e-4 * np.sign(RANDOM.normal(size=(2, 3)))
    numbers, positions = torch.tensor([6, 1]), torch.from_numpy(LABELS[3].positions + noise)
    assert found.find(numbers, positions) is LABELS[3]
    assert found.find(numbers, positions.float()) is LABELS[3]
    assert found.find(numbers, positions + 0.01) is None
    assert found.find(torch.tensor([6, 6]), positions) is None
    assert found.find(torch.tensor([1, 6]), positions) is None
    batch = torch.cat([torch.from_numpy(LABELS[i].positions) for i in (2, 0)] + [positions + 1.0])
    numbers = torch.tensor([1, 1, 8, 1, 1, 6, 1])
    assert found.find_all(numbers, batch, [2, 3, 2]) == [LABELS[2], LABELS[0], None]


def test_known_curvatures_are_those_of_the_hessian_or_of_the_drawn_probe():
    labels, keys, sizes = LABELS[:3], [11, 2**63 + 4, 7], [3, 2, 2]
    settings = Settings(pitc_target="curvature", displaced_fraction=0.5).with_form(True)
    points = draw_points(settings, keys, sizes, labels=labels)
    torch.testing.assert_close(points["mirrored"], -points["displaced"], rtol=0, atol=0)
    fields = points["displaced"].split(sizes)
    probe = (2**63 + 4) % 3
    np.testing.assert_array_equal(fields[1], LABELS[1].displacements[probe])
    vectors = [field.reshape(-1).numpy() for field in fields]
    expected = [
        0.5 * vectors[0] @ LABELS[0].hessian @ vectors[0],
        LABELS[1].curvatures[probe],
        0.5 * vectors[2] @ LABELS[2].hessian @ vectors[2],
    ]
    values = known_curvatures(labels, keys, points["displaced"])
    np.testing.assert_allclose(values, expected, rtol=1e-14)


def test_probes_come_up_equally_often():
    label = with_probes([6, 1], n_probes=4)
    keys = [int(key) for key in RANDOM.integers(2**63, size=4000)]
    counts = np.bincount([label.probe(key) for key in keys], minlength=4)
    assert np.all(np.abs(counts - 1000) < 150)
