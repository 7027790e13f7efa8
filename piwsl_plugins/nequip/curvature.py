"""Curvature labels of NequIP's frames, for target "curvature"."""

from __future__ import annotations

import ase.data
import torch
from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger
from torch import Tensor

from ..core.curvature import CurvatureLabel, CurvatureLabels, read_labels
from ..core.settings import Settings, SettingsError
from .labels import training_frames

logger = RankedLogger(__name__, rank_zero_only=True)


class FrameLabels:
    """Finds the labels of a batch by the geometry of its frames; the data need not hold them."""

    def __init__(self, path: str, type_names: list[str]) -> None:
        """
        Args:
            path: ``curvature_file``.
            type_names: of the trained model; element symbols, where data has no atomic numbers.

        Raises:
            SettingsError: naming ``curvature_file``, if it cannot be used.
        """
        self.path = path
        labels = read_labels(path)
        self.n_labels = len(labels)
        self._labels = CurvatureLabels(labels)
        self._type_names = type_names

    def find(self, batch: AtomicDataDict.Type) -> list[CurvatureLabel | None]:
        """The label of each frame of a batch, or None."""
        sizes = batch[AtomicDataDict.NUM_NODES_KEY].tolist()
        return self._labels.find_all(self._numbers(batch), batch["pos"], sizes)

    def _numbers(self, batch: AtomicDataDict.Type) -> Tensor:
        if AtomicDataDict.ATOMIC_NUMBERS_KEY in batch:
            return batch[AtomicDataDict.ATOMIC_NUMBERS_KEY].view(-1)
        for name in self._type_names:
            if name not in ase.data.atomic_numbers:
                raise SettingsError(
                    "curvature_file",
                    self.path,
                    f"labels are matched by elements, but the data has no atomic numbers and the "
                    f"type '{name}' is no element symbol",
                )
        numbers = torch.tensor([ase.data.atomic_numbers[name] for name in self._type_names])
        return numbers[batch[AtomicDataDict.ATOM_TYPE_KEY].view(-1).cpu()]

    def count(self, frames: list[AtomicDataDict.Type]) -> int:
        """How many of single frames have a label."""
        batches = (AtomicDataDict.with_batch_(frame.copy()) for frame in frames)
        return sum(self.find(batch)[0] is not None for batch in batches)


def frame_labels(
    settings: Settings, type_names: list[str], trainer: object, pool: list[AtomicDataDict.Type]
) -> FrameLabels | None:
    """The labels for target "curvature", if there are any for the training data; else None.

    Args:
        settings: ``pitc_target`` and ``curvature_file`` are used.
        type_names: of the trained model.
        trainer: Lightning's trainer; its NequIP datamodule holds the training data.
        pool: structures without labels of energies, which may have one of curvature.

    Raises:
        SettingsError: naming ``curvature_file``, if it matches no training frame, or
            ``unlabeled_file``, if it matches none of the pool.
    """
    if settings.pitc_target != "curvature" or settings.curvature_file is None:
        return None
    labels = FrameLabels(settings.curvature_file, type_names)
    frames = list(training_frames(trainer))
    n_found = labels.count(frames)
    if frames and not n_found:
        raise SettingsError(
            "curvature_file",
            settings.curvature_file,
            f"none of its {labels.n_labels} labels belongs to one of the {len(frames)} training "
            "frames (same elements in the same order, positions within 0.001 Å); make labels for "
            "the training data with piwsl-curvature",
        )
    if pool and not labels.count(pool):
        raise SettingsError(
            "unlabeled_file",
            settings.unlabeled_file,
            "none of its structures has a curvature label, so that with pitc_target 'curvature' "
            "they carry no term; add them to curvature_file, or leave the option out",
        )
    logger.info(
        f"PIWSL: {n_found} of {len(frames)} training frames have one of the {labels.n_labels} "
        f"curvature labels of {settings.curvature_file}; the others carry no PIWSL terms"
    )
    return labels
