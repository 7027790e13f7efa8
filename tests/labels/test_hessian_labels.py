"""Hessian labels: their files, whose they are, and what they say along a displacement."""

import dataclasses
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.frames.structure import Structure
from piwsl_plugins.labels.hessian_labels import HESSIAN_KEY, HessianLabel, read_labels, write_labels
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.labels.hessian_matching import check_label
from piwsl_plugins.options.settings import Hessian
from piwsl_plugins.terms.hessian_targets import draw_targets
from piwsl_plugins.terms.hessian_terms import HessianDisplacements, HessianEnergies, HessianForces
from piwsl_plugins.testing.hessians import labels_of, springs

from ..bundled import bundled
from ..terms import pair_potential

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def structures():
    return [bundled("ethanol_gfn2_train", index) for index in range(4)]


@pytest.fixture
def labels(structures):
    energies = HessianLabel(
        structures[0].numbers,
        structures[0].positions + 0.1,
        cell=np.eye(3),
        pbc=np.array([True, False, False]),
        displacements=np.ones((2, 9, 3)),
        curvatures=np.array([0.1, 0.2]),
    )
    return [*labels_of(structures), energies]


def test_a_file_gives_back_what_was_written(tmp_path, labels):
    write_labels(tmp_path / "labels.npz", labels, "a test")
    found = read_labels(tmp_path / "labels.npz")
    assert len(found) == len(labels)
    for label, expected in zip(found, labels):
        for name, value in vars(expected).items():
            if value is None:
                assert getattr(label, name) is None, name
            else:
                assert np.array_equal(getattr(label, name), value), name


def test_frames_carry_hessians(tmp_path, structures):
    hessian = np.diag(np.arange(27.0))
    structures[0].arrays[HESSIAN_KEY] = hessian.reshape(9, 81)
    structures[2].info[HESSIAN_KEY] = hessian
    ase.io.write(tmp_path / "frames.xyz", structures)
    first, second = read_labels(tmp_path / "frames.xyz")
    assert np.array_equal(first.hessian, hessian)
    assert np.array_equal(second.hessian, hessian)
    assert np.allclose(second.positions, structures[2].positions)


def broken(label, **changes):
    return HessianLabel(**{**vars(label), **changes})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: np.where(np.eye(27) > 0, np.nan, h), "label 0 .*hessian are not all finite"),
        (lambda h: None, "neither a Hessian nor probes"),
    ],
)
def test_labels_that_cannot_be_right(tmp_path, labels, change, words):
    label = labels[0]
    write_labels(tmp_path / "x.npz", [broken(label, hessian=change(label.hessian))], "a test")
    with pytest.raises(SettingsError, match=words):
        read_labels(tmp_path / "x.npz")


def test_files_that_cannot_be_used(tmp_path, structures):
    ase.io.write(tmp_path / "plain.xyz", structures)
    structures[1].info[HESSIAN_KEY] = np.eye(6)
    ase.io.write(tmp_path / "wrong_size.xyz", structures)
    np.savez(tmp_path / "other.npz", numbers=np.arange(3))
    write_labels(tmp_path / "whole.npz", labels_of(structures), "a test")
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    for name, words in {
        "missing.npz": "no such file",
        "plain.xyz": "no frame has a Hessian",
        "wrong_size.xyz": "of frame 1 has shape",
        "other.npz": "piwsl-hessian",
        "cut.npz": "cannot read",
    }.items():
        with pytest.raises(SettingsError, match=words) as caught:
            read_labels(tmp_path / name)
        assert caught.value.name == "hessian_file"


def test_labels_are_found_by_what_a_structure_is(structures, labels):
    known = HessianLabels(labels)
    assert len(known) == len(labels)

    def found(atoms, shift=0.0, dtype=float, **state):
        positions = (atoms.positions + shift).astype(dtype)
        return known.find(
            Structure.of(atoms.numbers, positions, atoms.cell.array, atoms.pbc, **state)
        )

    assert [found(atoms) for atoms in structures] == labels[:4]
    assert found(structures[1], 5e-4) is labels[1]
    assert found(structures[1], 2e-3) is None
    assert found(structures[1], charge=1) is None
    swapped = structures[1][[1, 0, *range(2, 9)]]
    assert found(swapped) is None
    assert found(bundled("periodic_gfn2_train", 0)) is None
    assert found(structures[2], dtype=np.float32) is labels[2]


def test_a_batch_is_looked_up_once(structures, labels, monkeypatch):
    """... and a structure that has no label not again and again either."""
    known = HessianLabels(labels[:2])
    batch = pair_potential.batch_of(structures)
    batch = pair_potential.PairHost(pair_potential.PairPotential()).describe(batch)
    assert known.numbers_of(batch) == [0, 1, -1, -1]
    monkeypatch.setattr(known, "index", None)
    assert known.numbers_of(batch) == [0, 1, -1, -1]
    cations = dataclasses.replace(batch, charges=np.ones(4))
    with pytest.raises(AttributeError):  # others
        known.numbers_of(cations)


@pytest.mark.parametrize("kind", ["gaussian", "column"])
def test_displacements_average_to_the_frobenius_norm(structures, labels, kind):
    """What all directions have in common, so that one weight suits all."""
    options = Hessian(hessian_file="x", hessian_displacement=kind)
    label = labels[0]
    keys = np.arange(3000, dtype=np.uint64)
    targets = draw_targets(options, [label] * 3000, keys)
    field = targets.displacement
    sizes = torch.from_numpy(targets.sizes(field)).view(-1, 1, 1)
    changes = targets.force_differences(field).view(3000, -1, 3) / sizes
    squares = changes.square().mean(dim=(1, 2)).numpy()
    expected = np.square(label.hessian).sum() / len(label.hessian)
    assert np.mean(squares) == pytest.approx(expected, rel=0.05)


def test_probes_serve_both_forms(structures, labels):
    probes = labels[3]
    options, keys = Hessian(hessian_file="x"), np.array([4, 5], dtype=np.uint64)
    target = draw_targets(options, [probes], keys[:1])
    (index,) = target.probes
    field = target.displacement
    assert np.array_equal(field, probes.displacements[index])
    assert np.array_equal(target.force_differences(field), -probes.force_changes[index])
    work = -0.5 * np.sum(probes.force_changes[index] * probes.displacements[index])
    assert float(target.curvatures(field)) == pytest.approx(work)
    both = draw_targets(options, [probes, labels[4]], keys)
    curvature = labels[4].curvatures[both.probes[1]]
    assert both.curvatures(both.displacement).tolist() == [pytest.approx(work), curvature]
    drawn = {draw_targets(options, [probes], keys[:1] + n).probes[0] for n in range(99)}
    assert drawn == set(range(len(probes.displacements)))
    check_label(Hessian(hessian_file="x", hessian_form="energies"), 4, labels[4])
    check_label(Hessian(hessian_file="x"), 3, labels[3])
    with pytest.raises(SettingsError, match=r"label 4 .*energies alone"):
        check_label(Hessian(hessian_file="x"), 4, labels[4])


class Quadratic:
    """A model with E = E₀ − ⟨F, x⟩ + ½ xᵀHx, x from the structures; the points of a term."""

    def __init__(self, hessians, settings, labels):
        self.hessians = hessians
        self.n_atoms = torch.tensor([len(label.numbers) for label in labels])
        self.structure_index = torch.arange(len(labels)).repeat_interleave(self.n_atoms)
        self.targets = draw_targets(settings, labels, np.arange(len(labels), dtype=np.uint64))
        random = torch.Generator().manual_seed(0)
        self.forces = torch.randn(int(self.n_atoms.sum()), 3, generator=random).double()

    def displacement(self, point):
        signs = {"origin": 0.0, "probe": 1.0, "mirrored_probe": -1.0}
        return signs[point] * self.targets.displacement

    def with_forces(self, point):
        fields = self.displacement(point).split(self.n_atoms.tolist())
        energies, forces = [], []
        for field, force, hessian in zip(
            fields, self.forces.split(self.n_atoms.tolist()), self.hessians, strict=True
        ):
            change = (hessian @ field.flatten()).view(-1, 3)
            energies.append(-(force * field).sum() + 0.5 * (field * change).sum())
            forces.append(force - change)
        return torch.stack(energies) - 100.0, torch.cat(forces)

    def energy(self, point):
        return self.with_forces(point)[0]


@pytest.mark.parametrize("displacement", ["gaussian", "column"])
@pytest.mark.parametrize("form", ["forces", "symmetric", "energies"])
def test_a_quadratic_model_with_the_right_hessian_has_no_residual(structures, form, displacement):
    """Neither of whole Hessians nor of blocks, rows or probes; one with a wrong element has."""
    hessians = [torch.from_numpy(springs(atoms, n).hessian) for n, atoms in enumerate(structures)]
    labels = labels_of(structures)  # whole, block, rows and probes of these
    probes = labels[3].displacements
    changes = -(probes.reshape(len(probes), -1) @ hessians[3].numpy()).reshape(probes.shape)
    labels[3] = dataclasses.replace(labels[3], force_changes=changes)
    options = {"hessian_form": form, "hessian_displacement": displacement, "hessian_step": 0.05}
    settings = Hessian(hessian_file="given", **options)
    term = HessianEnergies if form == "energies" else HessianForces
    term = term(HessianDisplacements(settings, HessianLabels(labels)))
    residual = term.residual(Quadratic(hessians, settings, labels))
    assert len(residual.penalty) == (4 if form == "energies" else 3 * (9 + 3 + 9 + 9))
    assert float(residual.value.abs().max()) < 1e-9
    assert float(residual.penalty.max()) < 1e-20
    for hessian in hessians:
        hessian += torch.eye(27)
    wrong = term.residual(Quadratic(hessians, settings, labels))
    assert set(wrong.structure[wrong.penalty > 1e-7].tolist()) == {0, 1, 2, 3}
