"""Weights of structures that a base loss of MACE's does not read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

#: by base loss of MACE 0.3.16 (mace/modules/loss.py): weights of structures that it ignores,
#: "l1l2energyforces" in the forces alone
_IGNORED_WEIGHTS = {
    "huber": ("weight", "energy_weight", "forces_weight"),
    "l1l2energyforces": ("weight", "forces_weight"),
    "universal": ("weight",),
}


def warn_of_weights(loss: str, datasets: Iterable[Any], of: str) -> None:
    """Log if labelled structures have weights that a base loss ignores.

    Args:
        loss: its name.
        datasets: of MACE's AtomicData, in which missing labels have weight 0; lists are looked at
            as a whole, of data that is read structure by structure the first ten.
        of: what they are of, in words.
    """
    names = _IGNORED_WEIGHTS.get(loss, ())
    if not names:
        return
    structures = _first_of_all(datasets)
    labelled = [one for one in structures if one.energy_weight > 0 or one.forces_weight > 0]
    ignored = [
        f"config_{name}"
        for name in names
        if any(one[name] != 1 and (one[name] != 0 or name == "weight") for one in labelled)
    ]
    if ignored:
        remedy = (
            "give config_energy_weight and config_forces_weight instead"
            if loss == "universal"
            else "choose --piwsl_base_loss=weighted, stress or virials"
        )
        part = " in the forces" if loss == "l1l2energyforces" else ""
        logging.warning(
            f"PIWSL: structures of {of} have {', '.join(ignored)} other than 1 (in their file, or "
            f"by --config_type_weights), but the base loss '{loss}' ignores this{part}; if it "
            f"should count, {remedy}"
        )


def _first_of_all(datasets: Iterable[Any]) -> Iterator[Any]:
    for dataset in datasets:
        n = len(dataset) if isinstance(dataset, list) else min(len(dataset), 10)
        yield from (dataset[index] for index in range(n))
