"""Correction labels, expensive minus cheap minus offsets, and the files to learn them from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...frames.reading import Frame, Keys
from ..runs import Arrays
from .frame_labels import carried, difference, write_frames
from .offsets import Offsets

#: corrections below this (eV, eV/Å, eV/Å³) are rounding: the two methods are one
_VANISHING = 1e-7


@dataclasses.dataclass(frozen=True)
class Correction:
    """What one model is to learn.

    Attributes:
        folder: of its files.
        training: frames that it sees.
        held_out: frames that it does not see, its validation file.
        offsets: fitted to the frames that it sees, so that its error on the others is honest.
        stress: whether all frames, of both files, have one.
    """

    folder: Path
    training: list[Frame]
    held_out: list[Frame]
    offsets: Offsets
    stress: bool

    @property
    def train_file(self) -> Path:
        """Extended XYZ with ``REF_energy``, ``REF_forces`` and ``REF_stress``."""
        return self.folder / "train.xyz"

    @property
    def valid_file(self) -> Path:
        """The same of the held-out frames."""
        return self.folder / "valid.xyz"

    def write(self, cheap: Mapping[str, Arrays]) -> None:
        """Write both files; ``cheap`` holds the cheap labels by the frames' keys."""
        for path, frames in ((self.train_file, self.training), (self.valid_file, self.held_out)):
            labels = correction_labels(frames, cheap, self.offsets)
            write_frames(path, frames, labels, Keys())


def divide(
    folder: Path,
    frames: Sequence[Frame],
    shares: Sequence[Sequence[int]],
    cheap: Mapping[str, Arrays],
    elements: Sequence[int],
) -> list[Correction]:
    """The corrections of a run.

    Args:
        folder: each gets one in it.
        frames: with expensive labels.
        shares: indices of the frames that each does not see.
        cheap: labels of the cheap method by the frames' keys.
        elements: atomic numbers that occur.
    """
    made = []
    stress = n_with_stress(frames, cheap) == len(frames)
    for number, share in enumerate(shares):
        training = [frame for index, frame in enumerate(frames) if index not in share]
        offsets = fitted_offsets(training, cheap, elements)
        held_out = [frames[index] for index in share]
        path = folder / f"correction_{number}"
        made.append(Correction(path, training, held_out, offsets, stress))
    return made


def n_with_stress(frames: Sequence[Frame], cheap: Mapping[str, Arrays]) -> int:
    """Number of frames that have the stresses of both methods."""
    return sum(f.stress is not None and "stress" in cheap[f.key] for f in frames)


def fitted_offsets(
    frames: Sequence[Frame], cheap: Mapping[str, Arrays], elements: Sequence[int]
) -> Offsets:
    """Offsets of expensive minus cheap energies."""
    differences = [float(difference(carried(f), cheap[f.key])["energy"]) for f in frames]
    return Offsets(frames, differences, elements)


def correction_labels(
    frames: Sequence[Frame], cheap: Mapping[str, Arrays], offsets: Offsets
) -> list[Arrays]:
    """E_ref − E_cheap − Σ e0 (eV), F_ref − F_cheap (eV/Å), and stresses likewise (eV/Å³)."""
    labels = [difference(carried(frame), cheap[frame.key]) for frame in frames]
    for arrays, offset in zip(labels, offsets(frames), strict=True):
        arrays["energy"] = arrays["energy"] - offset
    return labels


def digest_of(frames: Sequence[Frame]) -> str:
    """Identifies frames with their labels."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(frame.key.encode())
        for name, value in carried(frame).items():
            digest.update(name.encode() + value.tobytes())
    return digest.hexdigest()[:16]


def vanish(labels: Sequence[Arrays]) -> bool:
    """Whether correction labels are zero up to rounding."""
    return all(np.abs(value).max() < _VANISHING for arrays in labels for value in arrays.values())
