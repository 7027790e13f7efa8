"""What describes atomic environments: SOAP, or the invariant node features of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...errors import InputError
from ...frames.reading import Frame
from ..loaded_calculators import prepare
from ..states import distinct
from .model_features import MaceFeatures, ModelFeatures, ModelSource, NequipFeatures
from .soap import Soap

#: gives each structure an array ``(n_atoms, n_features)``; it can be pickled, and loads what is
#: slow to load at its first call
Descriptor = Callable[[Sequence[Frame]], list[np.ndarray]]
_KINDS: dict[str, type[ModelFeatures]] = {
    "mace": MaceFeatures,
    "mace-name": MaceFeatures,
    "nequip-saved": NequipFeatures,
}


def not_seen(describe: Descriptor, frames: Sequence[Frame]) -> list[str]:
    """A line on charges and spins that structures differ in, and their descriptors do not."""
    charges, spins = (set(values) for values in zip(*distinct(frames)))
    differ = {"charge": charges, "spin": spins}
    reads = getattr(describe, "reads", ())
    blind = [name for name, values in differ.items() if len(values) > 1 and name not in reads]
    return blind and [
        f"the structures differ in {' and '.join(blind)}, which these descriptors do not see; a "
        "MACE model that embeds total_charge and total_spin does (--model)"
    ]


def descriptor(
    model: str | None, head: str | None, device: str, cutoff: float, elements: Sequence[int]
) -> Descriptor:
    """What describes the environments.

    Args:
        model: path of a model, or MACE's name of it; None for SOAP.
        head: of a multihead MACE model.
        device: torch device of the model.
        cutoff: of SOAP, in Å.
        elements: atomic numbers of all structures.

    Raises:
        InputError: for a model without node features, that does not know an element or whose
            package is not installed; for more elements than SOAP is made for.
    """
    if model is None:
        return Soap(tuple(elements), cutoff)
    source = ModelSource.parse(model, head)
    if source.kind == "nequip-compiled":
        raise InputError(
            f"--model={model}: a compiled model does not show its node features; give the "
            ".nequip.zip or .ckpt that it was compiled from"
        )
    if source.kind not in _KINDS:
        raise InputError(
            f"--model={model}: allowed are a MACE .model, MACE's name of one "
            "(mace_mp:medium-mpa-0), and a NequIP .nequip.zip or .ckpt"
        )
    prepare(source, (), device)
    features = _KINDS[source.kind](source, tuple(elements), device)
    # what is wrong with it is said before anything is computed
    features.load()
    return features
