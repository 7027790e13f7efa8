"""Wrong calls of ``mace_run_train --loss=piwsl``: one line, exit code 2, and only a log."""

import dataclasses

import ase
import ase.io
import numpy as np
import pytest
import torch

from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.testing.hessians import springs

from .conftest import frames, train, write_files

#: values that an option does not take, and a word of the message
VALUES = {
    "pitc_weight": ("-1", "nan", "inf", "lots", ""),
    "pisc_weight": ("-1", "lots"),
    "hessian_weight": ("-0.1",),
    "pool_weight": ("-1",),
    "max_displacement": ("0", "0.6", "-0.1", "nan"),
    "displacement": ("cubic",),
    "base_loss": ("forces_only", "dipole", "mse"),
    "preset": ("strong",),
    "heads": ("Default,other", ","),
    "interval": ("0", "1.5"),
    "ramp_epochs": ("-1",),
    "pool_per_batch": ("0", "two"),
    "seed": ("-1", "x"),
    "hessian_form": ("matrix",),
    "hessian_file": ("absent.npz",),
    "pool_file": ("absent.xyz",),
    "hessian_valid_file": ("absent.npz",),
}
#: options of the command, and words of the message
TOGETHER = {
    "a weight without labels": ({"piwsl_hessian_weight": 1}, "no Hessian labels"),
    "a weight of stage two": ({"swa_piwsl_hessian_weight": 1}, "no Hessian labels"),
    "a negative one": ({"stage_two_piwsl_pitc_weight": -0.5}, "at least 0"),
    "a model without energy": ({"model": "AtomicDipolesMACE"}, "has no energy"),
    "a dipole loss": ({"piwsl_base_loss": "energy_forces_dipole"}, "EnergyDipolesMACE"),
    "without forces": ({"compute_forces": False}, "--piwsl_base_loss=energy"),
    "a batch that is never full": ({"batch_size": 7}, "--batch_size=7: the training set has 6"),
    "without the loss": ({"loss": "huber", "piwsl_pitc_weight": 1}, "add --loss=piwsl"),
    "an unknown loss": ({"loss": "piwls"}, "'piwsl'"),
    "an unknown option": ({"piwsl_pitc_wieght": 1}, "--piwsl_pitc_wieght"),
    "an option of earlier versions": ({"piwsl_pitc_form": "first_order"}, "consistency_form now"),
    "adversarial displacements in a pool": (
        {"piwsl_displacement": "adversarial", "piwsl_pool_file": __file__},
        "--piwsl_displacement=adversarial: structures of a pool",
    ),
    "adversarial displacements in a line search": (
        {"piwsl_displacement": "adversarial", "lbfgs": True, "batch_size": 6},
        "--piwsl_displacement=adversarial: --lbfgs",
    ),
    "PISC without forces": (
        {"piwsl_consistency_form": "symmetric", "swa_piwsl_pisc_weight": 1},
        "PISC follows the forces",
    ),
}


def hessians(structures, path, change=lambda matrix: matrix):
    """Labels of structures, that of the first one changed."""
    first, *others = map(springs, structures)
    first = dataclasses.replace(first, hessian=change(first.hessian))
    write_labels(path, [first, *others], "made")


def shuffled(atoms):
    return atoms[np.random.default_rng(0).permutation(len(atoms))]


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """Files of a user, of whom nothing is right but the training data."""
    folder = tmp_path_factory.mktemp("mit Leerzeichen äöü")
    files = write_files(folder, "ethanol_gfn2", 6, 3)
    own, other = frames("ethanol_gfn2_train", 6), frames("ethanol_gfn2_valid", 3)
    hessians(own, folder / "labels.npz")
    hessians(own, folder / "labels.h5")
    for ending in ("npz", "h5"):
        whole = (folder / f"labels.{ending}").read_bytes()
        (folder / f"cut.{ending}").write_bytes(whole[: len(whole) // 2])
    hessians(other, folder / "others.npz")
    hessians([shuffled(atoms) for atoms in own], folder / "shuffled.npz")
    hessians(own, folder / "asymmetric.npz", lambda matrix: np.triu(np.ones_like(matrix)))
    hessians(own, folder / "size.npz", lambda matrix: matrix[:-1, :-1])
    hessians(own, folder / "infinite.npz", lambda matrix: matrix + np.inf)
    by_axis = np.arange(27).reshape(9, 3).T.ravel()
    hessians(own, folder / "by_axis.npz", lambda matrix: matrix[np.ix_(by_axis, by_axis)])
    exchanged = np.arange(27)
    exchanged[9:12], exchanged[15:18] = [15, 16, 17], [9, 10, 11]  # hydrogen atoms 3 and 5
    hessians(own, folder / "exchanged.npz", lambda matrix: matrix[np.ix_(exchanged, exchanged)])
    atomic = [dataclasses.replace(one, hessian=one.hessian / 97.1736) for one in map(springs, own)]
    write_labels(folder / "atomic.npz", atomic, "made, in hartree/bohr²")
    objects = {"format": "piwsl-hessian 1", "n_labels": 1, "hessian.0": np.array([{}], object)}
    np.savez(folder / "objects.npz", **objects)
    for ending in ("npz", "h5", "xyz", "model"):
        (folder / f"empty.{ending}").touch()
        (folder / f"text.{ending}").write_text("dear diary\n")
        (folder / f"folder.{ending}").mkdir()
    (folder / "binary.xyz").write_bytes(bytes(range(256)))
    ase.io.write(folder / "shared.xyz", other[:2])
    ase.io.write(folder / "nitrogen.xyz", ase.Atoms("N2", [[0, 0, 0], [0, 0, 1.1]]))
    twins = own[0].copy()
    twins.positions[3] = twins.positions[5]
    ase.io.write(folder / "twins.xyz", twins)
    torch.save({"weights": [1, 2]}, folder / "pickle.model")
    return folder, files


@pytest.fixture
def refused(user, tmp_path, capfd, monkeypatch):
    """Runs the trainer in an empty folder; gives its line."""

    def run(**options):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            train(tmp_path / "run", user[1], **options)
        assert ended.value.code == 2
        assert [p for p in tmp_path.rglob("*.*") if p.suffix != ".log"] == []
        *usage, line = capfd.readouterr().err.splitlines()
        assert ": error: " in line
        assert "Traceback" not in line
        assert not usage or usage[0].startswith("usage: ") or "error" not in "".join(usage).lower()
        return line

    return run


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in VALUES.items() for value in values]
)
def test_values(refused, option, value):
    line = refused(**{f"piwsl_{option}": value})
    assert f"--piwsl_{option}" in line and value in line


@pytest.mark.parametrize("case", TOGETHER)
def test_combinations(refused, case):
    options, words = TOGETHER[case]
    assert words in refused(**options)


@pytest.mark.parametrize(
    ("option", "file", "words"),
    [
        *(
            (option, file, words)
            for option in ("hessian_file", "hessian_valid_file")
            for file, words in {
                "folder.npz": "folder.npz",
                "empty.npz": "empty.npz",
                "text.npz": "text.npz",
                "cut.npz": "cut.npz",
                "empty.h5": "cannot be read",
                "text.h5": "cannot be read",
                "cut.h5": "cut.h5",
                "train.xyz": "REF_hessian",
                "shuffled.npz": "none of its 6 labels belongs",
                "asymmetric.npz": "label 0 (from 0)",
                "size.npz": "label 0 (from 0)",
                "infinite.npz": "not all finite",
                "by_axis.npz": "label 0 (from 0): moving all atoms together",
                "exchanged.npz": "label 0 (from 0): turning the molecule",
                "atomic.npz": "label 0 (from 0): the largest eigenvalue",
                "objects.npz": "allow_pickle",
            }.items()
        ),
        ("hessian_file", "others.npz", "none of its 3 labels belongs"),
        ("hessian_valid_file", "labels.npz", "none of its 6 labels belongs"),
        *(
            ("pool_file", file, words)
            for file, words in {
                "empty.xyz": "empty.xyz",
                "text.xyz": "text.xyz",
                "binary.xyz": "binary.xyz",
                "empty.h5": "empty.h5",
                "text.h5": "text.h5",
                "folder.xyz": "folder.xyz",
                "shared.xyz": "frame 0 (from 0) is frame 0 (from 0) of the validation data",
                "nitrogen.xyz": "holds N",
                "twins.xyz": "atoms 3 and 5 are at the same place",
                "labels.npz": "labels.npz",
                "text.model": "text.model",
            }.items()
        ),
    ],
)
def test_files(refused, user, option, file, words):
    path = user[0] / file
    line = refused(**{f"piwsl_{option}": path})
    assert str(path) in line and words in line


@pytest.mark.parametrize("option", ["train_file", "valid_file", "test_file", "foundation_model"])
@pytest.mark.parametrize(
    "file",
    [
        *("absent.xyz", "empty.xyz", "text.xyz", "binary.xyz", "folder.xyz", "twins.xyz"),
        *(
            "text.h5",
            "cut.h5",
            "folder.h5",
            "empty.model",
            "text.model",
            "pickle.model",
            "folder.model",
        ),
        "labels.npz",
    ],
)
def test_files_of_mace(refused, user, option, file):
    path = user[0] / file
    line = refused(**{option: path})
    assert str(path) in line and "Traceback" not in line


def test_names_with_spaces_and_umlauts(user, tmp_path):
    options = {"piwsl_hessian_file": user[0] / "labels.npz", "max_num_epochs": 1}
    assert train(tmp_path / "Größe 1", user[1], **options) is not None
