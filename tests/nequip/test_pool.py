"""A pool in Lightning's trainer: what is refused, and what the loss sees of its labels."""

from __future__ import annotations

import ase.io
import pytest

from piwsl_plugins.core.options import SettingsError

from .conftest import DATA
from .test_step import written
from .test_transforms import fit

POOL = {"pool_file": "pool.xyz", "pool_per_batch": 2, "pitc_weight": 0.0}


def hot(**infos):
    """A pool of two frames, each with the given weight or label."""
    frames = ase.io.read(DATA / "ethanol_gfn2_hot.xyz", ":2")
    for name, values in infos.items():
        for atoms, value in zip(frames, values, strict=True):
            atoms.info[name] = value
    return written("pool.xyz", frames)


def test_weights_where_they_cannot_act(ethanol):
    huber = {"name": "f", "field": "forces", "coeff": 1.0}
    huber["metric"] = {"_target_": "nequip.train.HuberLoss"}
    hot(weight=(1.0, 1.0))
    fit({**POOL, "metrics": [huber]}, None)
    hot(weight=(1.0, 0.5))
    with pytest.raises(SettingsError, match=r"frame 1 .* weight is 0.5.*'f'.*remove 'weight'"):
        fit({**POOL, "metrics": [huber]}, None)
    fit({**POOL, "pool_weight": 0.0, "metrics": [huber], "pitc_weight": 0.1}, None)
