"""Finished frames on disk, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CurvatureError
from .frames import Structure


@dataclasses.dataclass(frozen=True)
class Finished:
    """The curvature of one structure; see ``core.curvature.CurvatureLabel`` for shapes and units.

    Attributes:
        hessian: or None.
        displacements: of the probes, or None.
        curvatures: of the probes, or None.
        asymmetry: of the Hessian before it was symmetrised (eV/Å²); NaN for probes.
    """

    hessian: np.ndarray | None = None
    displacements: np.ndarray | None = None
    curvatures: np.ndarray | None = None
    asymmetry: float = float("nan")


class Store:
    """The output file, and the folder beside it that holds single frames while a run lasts."""

    def __init__(self, out: Path, run: Mapping[str, Any], overwrite: bool = False) -> None:
        """Open the store, and find out what is finished.

        Args:
            out: the npz file to be written.
            run: calculator and settings, as plain values.
            overwrite: whether what another run left there is thrown away.

        Raises:
            CurvatureError: if ``out`` or its folder comes from another calculator or settings.
        """
        self.out = out
        self.folder = out.with_name(out.name + ".partial")
        self._run = dict(run)
        self._labelled: dict[str, Finished] = {}
        if overwrite:
            out.unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)
        if out.is_file():
            self._labelled = self._read_out()
        head = self.folder / "run.json"
        if head.is_file():
            self._check(head.read_text(encoding="utf-8"), self.folder)

    def finished(self, structure: Structure) -> Finished | None:
        """The curvature of ``structure`` if it is known already."""
        if structure.key in self._labelled:
            return self._labelled[structure.key]
        path = self.folder / f"{structure.key}.npz"
        if not path.is_file():
            return None
        with np.load(path) as file:
            found = dict(file)
        return Finished(**{**found, "asymmetry": float(found["asymmetry"])})

    def keep(self, structure: Structure, finished: Finished) -> None:
        """Write one finished structure, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        head = self.folder / "run.json"
        if not head.is_file():
            _write_text(head, json.dumps(self._run))
        path = self.folder / f"{structure.key}.npz"
        partial = path.with_suffix(".writing")
        arrays = {k: v for k, v in dataclasses.asdict(finished).items() if v is not None}
        with open(partial, "wb") as file:
            np.savez(file, **arrays)
        os.replace(partial, path)

    def complete(self, structures: Sequence[Structure], method: str) -> None:
        """Write the output file from finished structures, and remove the folder."""
        found = [(structure, self.finished(structure)) for structure in structures]
        labelled = [(structure, done) for structure, done in found if done is not None]
        write(
            self.out,
            [structure.atoms for structure, _ in labelled],
            [done for _, done in labelled],
            method,
            {
                "run": np.array(json.dumps(self._run)),
                "keys": np.array([structure.key for structure, _ in labelled]),
                "asymmetry": np.array([done.asymmetry for _, done in labelled]),
            },
        )
        shutil.rmtree(self.folder, ignore_errors=True)

    def surplus(self, structures: Sequence[Structure]) -> int:
        """Number of structures in the output file that are not among ``structures``."""
        return len(set(self._labelled) - {structure.key for structure in structures})

    def _read_out(self) -> dict[str, Finished]:
        from ..core.curvature import read_labels

        try:
            with np.load(self.out) as file:
                run, keys, asymmetry = str(file["run"]), file["keys"], file["asymmetry"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            raise CurvatureError(
                f"{self.out} exists and is not from a run of this command that could go on; give "
                "another --out, or --overwrite to replace it"
            ) from None
        self._check(run, self.out)
        labels = read_labels(self.out)
        return {
            str(key): Finished(label.hessian, label.displacements, label.curvatures, float(value))
            for key, label, value in zip(keys, labels, asymmetry, strict=True)
        }

    def _check(self, text: str, path: Path) -> None:
        there = json.loads(text)
        differing = [
            f"{name} is {there.get(name)} there and {value} here"
            for name, value in self._run.items()
            if there.get(name) != value
        ]
        if differing:
            raise CurvatureError(
                f"{path} comes from another calculator or other settings ({'; '.join(differing)}); "
                "give another --out, or --overwrite to throw it away"
            )


def write(
    out: Path,
    structures: Sequence[Any],
    found: Sequence[Finished],
    method: str,
    more: Mapping[str, np.ndarray],
) -> None:
    """Write a label file, whole or not at all.

    Args:
        out: name of the file.
        structures: the ``Atoms``.
        found: the curvature of each.
        method: where it comes from, in words.
        more: further arrays for the file, which readers of labels pass over.
    """
    from ..core.curvature import CurvatureLabel, write_labels

    labels = [
        CurvatureLabel(
            np.asarray(atoms.numbers, dtype=np.int64),
            np.asarray(atoms.positions, dtype=float),
            done.hessian,
            done.displacements,
            done.curvatures,
        )
        for atoms, done in zip(structures, found, strict=True)
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".writing")
    write_labels(partial, labels, method)
    with zipfile.ZipFile(partial, "a") as archive:
        for name, array in more.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array)
    os.replace(partial, out)


def _write_text(path: Path, text: str) -> None:
    partial = path.with_suffix(".writing")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
