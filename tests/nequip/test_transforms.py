"""Data transforms: Hessian labels and the pool see frames as the training step does."""

from __future__ import annotations

import pytest
import torch
from nequip.data.dataset import ASEDataset
from nequip.data.transforms import DatasetIndexTransform, NeighborListTransform
from torch.utils.data import ConcatDataset, Subset

from piwsl_plugins.errors import SettingsError
from piwsl_plugins.labels.hessian_labels import write_labels
from piwsl_plugins.nequip.config import DataError
from piwsl_plugins.nequip.frames import frames_of, located_frames, seen, sources_of
from piwsl_plugins.testing.hessians import labels_of

from ..recorded import calls_of
from .conftest import MODELS
from .test_step import E_F, training

NAME = "nequip.data.transforms."
MOVED = {"_target_": f"{NAME}NonPeriodicCellTransform", "override_cell": True}


def fit(options, coeffs=E_F, **keywords):
    """One step on the training frames in the current folder; the module."""
    module, trainer, data = training(MODELS["nequip"], coeffs, options, 2, max_steps=1, **keywords)
    trainer.fit(module, datamodule=data)
    return module


@pytest.mark.parametrize("option", ["hessian_file", "hessian_valid_file"])
def test_labels_belong_to_frames_as_they_are_seen(option, ethanol, monkeypatch):
    """A transform moves the atoms: labels of the frames in the file belong to none of them."""
    write_labels("labels.npz", labels_of(ethanol), "random numbers")
    searches = calls_of(monkeypatch, NeighborListTransform, "forward")
    options = {option: "labels.npz"}
    with pytest.raises(SettingsError, match="none of its 2 labels belongs") as caught:
        fit(options, transforms=[MOVED])
    assert caught.value.name == option and not searches
    fit(options)
    for atoms in ethanol:
        atoms.positions += 10.0 - atoms.positions.min(axis=0)
    write_labels("labels.npz", labels_of(ethanol), "random numbers")
    fit(options, transforms=[MOVED])


def test_a_transform_that_fails_names_the_frame(ethanol):
    write_labels("labels.npz", labels_of(ethanol), "random numbers")
    with pytest.raises(DataError, match=r"'train.xyz', frame 0 .*StressSignFlipTransform fails"):
        fit(
            {"hessian_file": "labels.npz"},
            transforms=[{"_target_": f"{NAME}StressSignFlipTransform"}],
        )


def test_frames_of_parts_and_sums(ethanol):
    """Before the transforms, with their numbers in their files; and after those that matter."""
    search = NeighborListTransform(r_max=3.0)
    mark = DatasetIndexTransform(7)
    plain = ASEDataset("train.xyz", [search])
    marked = ASEDataset("train.xyz", [search, mark, search])
    dataset = Subset(ConcatDataset([plain, marked]), [3, 0])
    raw = list(frames_of(dataset))
    assert [number for number, _ in raw] == [1, 0]
    for (_, frame), atoms in zip(raw, [ethanol[1], ethanol[0]], strict=True):
        assert torch.equal(frame["pos"], torch.tensor(atoms.positions))
        assert "edge_index" not in frame and "dataset" not in frame
    made = [seen(frame, source) for source, _, frame in located_frames(dataset)]
    # what follows a search may read the neighbours
    assert ["edge_index" in frame for frame in made] == [True, False]
    assert made[0]["dataset"] == 7
    assert sources_of(dataset) == [plain, marked]
