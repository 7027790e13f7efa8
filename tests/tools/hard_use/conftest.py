"""A user's folder: files as they should be, and every kind of file that cannot be used."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import read, write

from piwsl_plugins.tools.command import main

from . import wrong_calls


def labelled(seed):
    """Ethanol with energy and forces of EMT."""
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=seed)
    atoms.calc = EMT()
    atoms.info["REF_energy"] = atoms.get_potential_energy()
    atoms.arrays["REF_forces"] = atoms.get_forces()
    atoms.calc = None
    return atoms


def changed(change, number=2):
    """Training frames, to one of which a function did something."""
    frames = [labelled(seed) for seed in range(4)]
    frames[number] = change(frames[number]) or frames[number]
    return frames


def _position(atoms):
    atoms.positions[4, 1] = np.nan


def _energy(atoms):
    atoms.info["REF_energy"] = np.nan


def _forces(atoms):
    atoms.arrays["REF_forces"][4, 1] = np.inf


def _cell(atoms):
    atoms.pbc, atoms.cell = True, [[9, 0, 0], [0, 9, 0], [9, 9, 0]]


def _no_cell(atoms):
    atoms.pbc = True


def _same_place(atoms):
    atoms.positions[4] = atoms.positions[7]


def _words(atoms):
    atoms.info["REF_energy"] = "low"


def _two_energies(atoms):
    atoms.info["REF_energy"] = [1.0, 2.0]


def _stress(atoms):
    atoms.info["REF_stress"] = [1.0] * 5


def _infinite_stress(atoms):
    atoms.info["REF_stress"] = [1.0] * 5 + [np.inf]


def _without_energy(atoms):
    del atoms.info["REF_energy"]


def _without_forces(atoms):
    del atoms.arrays["REF_forces"]


def _uranium(atoms):
    atoms.symbols[0] = "U"


def _other_keys(atoms):
    atoms.info["energie"] = atoms.info.pop("REF_energy")


#: files of four frames, of which number 2 is changed
CHANGED = {
    "position.xyz": _position,
    "energy.xyz": _energy,
    "forces.xyz": _forces,
    "cell.xyz": _cell,
    "no_cell.xyz": _no_cell,
    "same_place.xyz": _same_place,
    "words.xyz": _words,
    "two_energies.xyz": _two_energies,
    "stress.xyz": _stress,
    "infinite_stress.xyz": _infinite_stress,
    "without_energy.xyz": _without_energy,
    "without_forces.xyz": _without_forces,
    "uranium.xyz": _uranium,
    "other_keys.xyz": _other_keys,
}


class Trap:
    """A pickle that writes a file where it is loaded."""

    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def _write_structures(folder):
    for name, change in CHANGED.items():
        write(folder / name, changed(change), format="extxyz")
    write(folder / "uranium_first.xyz", changed(_uranium, 0), format="extxyz")
    write(folder / "train.xyz", [labelled(seed) for seed in range(8)], format="extxyz")
    pool = [labelled(seed) for seed in range(20, 26)]
    for atoms in pool:
        del atoms.info["REF_energy"], atoms.arrays["REF_forces"]
    write(folder / "pool.xyz", pool, format="extxyz")
    cheap = [labelled(seed) for seed in (*range(8), *range(20, 26))]
    for atoms in cheap:
        atoms.info["REF_energy"] *= 0.98
        atoms.arrays["REF_forces"] *= 0.98
    write(folder / "cheap.xyz", cheap, format="extxyz")
    hartree = [labelled(seed) for seed in range(8)]
    for atoms in hartree:
        atoms.info["REF_energy"] /= 27.2114
        atoms.arrays["REF_forces"] /= 27.2114
    write(folder / "hartree.xyz", hartree, format="extxyz")
    for atoms in pool:
        atoms.positions /= 0.529177
    write(folder / "bohr.xyz", pool, format="extxyz")
    write(folder / "single.xyz", [Atoms("C"), Atoms("H")], format="extxyz")
    text = (folder / "train.xyz").read_text()
    (folder / "cut.xyz").write_text(text[: int(0.95 * len(text))])
    first = "".join(text.splitlines(keepends=True)[:11])
    (folder / "no_atoms.xyz").write_text(first + "0\nProperties=species:S:1:pos:R:3\n" + first)
    (folder / "oops.xyz").write_text(first.replace("C ", "Oops ", 1))
    (folder / "empty.xyz").touch()
    (folder / "binary.xyz").write_bytes(bytes(range(256)) * 8)
    (folder / "number.xyz").write_text("5\n")
    (folder / "folder.xyz").mkdir()


def _write_models(folder):
    import torch

    for name in ("a.model", "a.nequip.zip", "a.nequip.pt2", "a.ckpt"):
        (folder / f"empty_{name}").touch()
        (folder / f"text_{name}").write_text("not a model\n")
        torch.save({"epoch": 3, "weights": [1, 2]}, folder / f"pickle_{name}")
        (folder / f"folder_{name}").mkdir()


def _write_labels(folder):
    frames = read(folder / "train.xyz", ":2")
    (folder / "labels.npz").write_bytes(b"")
    assert main(["hessian", "train.xyz", "--index", ":2", "--calculator", "wrong_factories:emt",
                 "--out", "labels.npz", "--overwrite"]) == 0  # fmt: skip
    whole = (folder / "labels.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.npz").touch()
    (folder / "text.npz").write_text("not labels\n")
    np.savez(folder / "other.npz", numbers=np.arange(3))
    with np.load(folder / "labels.npz") as file:
        arrays = dict(file)
    for name, change in {
        "trap": {"hessian.1": np.array([Trap()], dtype=object)},
        "size": {"hessian.1": np.zeros((26, 26))},
        "asymmetric": {"hessian.1": np.triu(np.ones((27, 27)))},
        "infinite": {"hessian.1": np.full((27, 27), np.inf)},
        "words": {"hessian.1": np.full((27, 27), "high")},
        "hartree": {"hessian.1": arrays["hessian.1"] / 97.1736},
        "count": {"n_labels": np.array("many")},
    }.items():
        np.savez(folder / f"{name}.npz", **(arrays | change))
    del arrays["n_labels"]
    np.savez(folder / "without_count.npz", **arrays)
    (folder / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (folder / "labels.pkl").write_bytes(pickle.dumps(Trap()))
    flat = np.ones(26**2)
    for atoms in frames:
        atoms.info["REF_hessian"] = flat
    write(folder / "hessian_size.xyz", frames, format="extxyz")
    for atoms in frames:
        atoms.info["REF_hessian"] = "soft"
    write(folder / "hessian_words.xyz", frames, format="extxyz")


def _write_logs(folder):
    (folder / "log_train.txt").write_text('{"mode": "opt", "epoch": 0, "loss": 1.0}\n')
    (folder / "words_train.txt").write_text("epoch 1: loss 3\n")
    (folder / "epoch_train.txt").write_text('{"mode": "opt", "epoch": "one", "loss": 1.0}\n')
    (folder / "loss_train.txt").write_text('{"mode": "opt", "epoch": 1, "loss": "low"}\n')
    (folder / "list_train.txt").write_text("[1, 2]\n")
    (folder / "eval_train.txt").write_text('{"mode": "eval", "epoch": 1}\n')
    (folder / "empty_train.txt").touch()
    (folder / "binary_train.txt").write_bytes(bytes(range(256)))
    (folder / "metrics.csv").write_text("epoch,train_loss_epoch/weighted_sum\n0,1.0\n")
    (folder / "empty.csv").touch()
    (folder / "binary.csv").write_bytes(bytes(range(256)))
    (folder / "words.csv").write_text("epoch,train_loss_epoch/weighted_sum\none,low\n")
    (folder / "other.csv").write_text("step,loss\n0,1.0\n")


def _write_others(folder):
    (folder / "text.txt").write_text("dear diary\n")
    (folder / "taken.npz").write_text("precious\n")
    (folder / "taken.xyz").write_text("precious\n")
    (folder / "taken.png").write_text("precious\n")
    for ending in ("npz", "png", "yaml", "hess"):
        (folder / f"folder.{ending}").mkdir()
    for name in ("empty.fchk", "empty.hess", "empty.json"):
        (folder / name).touch()
    (folder / "list.json").write_text("[1, 2]\n")
    for name in ("text.yaml", "text.fchk", "text.hess"):
        (folder / name).write_text("dear diary\n")
    trap = 'phonopy: !!python/object/apply:os.mkdir ["executed"]\n'
    (folder / "trap.yaml").write_text(trap)
    for name in ("binary.yaml", "binary.hess"):
        (folder / name).write_bytes(bytes(range(256)))
    (folder / "broken_package").mkdir()
    (folder / "broken_package" / "__init__.py").write_text("raise OSError('no licence')\n")
    (folder / "things").mkdir()
    (folder / "things" / "diary.txt").write_text("dear diary\n")
    (folder / "damaged.npz.partial").mkdir()
    (folder / "damaged.npz.partial" / "some.npz").write_bytes(b"PK\x03\x04")
    write(folder / "path.xyz", changed(lambda atoms: molecule("CH3OH")), format="extxyz")


def _write_reports(folder):
    """Parts as ``piwsl report`` leaves them, and what may become of them."""
    for name in "a", "other", "data", "index", "list", "format", "bare", "gone", "part":
        index = {
            "format": 2,
            "settings": {},
            "software": {},
            "created": "",
            "data": {"digest": "1", "files": ["train.xyz"]},
            "models": [{"name": "a"}],
            "parts": {"labels": ["a"]},
        }
        part = {"key": {"format": 2, "model": "1", "data": "1"}, "result": {}}
        if name in ("other", "data"):
            index |= {"models": [{"name": "b"}], "parts": {"labels": ["b"]}}
        if name == "other":
            part["key"]["data"] = "2"
        elif name == "data":
            index["data"]["digest"] = "2"
        elif name == "list":
            index = [1]
        elif name == "format":
            index["format"] = 9
        elif name == "bare":
            del index["models"]
        elif name == "part":
            part = {}
        written = {"index.json": json.dumps(index), "labels/a.json": json.dumps(part)}
        written["labels/b.json"] = written["labels/a.json"]
        if name == "index":
            written["index.json"] = written["index.json"][:50]
        elif name == "gone":
            del written["labels/a.json"]
        for file, text in written.items():
            path = folder / f"report_{name}" / "parts" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user") / "with spaces und Umlauten äöü"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAYON_NUM_THREADS", "1")
        patch.chdir(folder)
        _write_structures(folder)
        _write_models(folder)
        _write_labels(folder)
        _write_logs(folder)
        _write_others(folder)
        _write_reports(folder)
        yield folder


@pytest.fixture
def user_folder(made_once, monkeypatch):
    """All of it, where the test then is, and which it leaves as it is."""
    monkeypatch.chdir(made_once)
    return made_once


@pytest.fixture
def refused(user_folder, capfd):
    """Makes a wrong call, of :func:`.wrong_calls.wrong`."""
    return lambda call: wrong_calls.check(call, user_folder, capfd)
