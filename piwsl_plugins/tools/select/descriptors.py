"""What describes atomic environments: SOAP, or the invariant node features of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...frames.reading import Frame
from ..calculators import ENDINGS
from ..errors import InputError
from .model_features import MaceFeatures, ModelSource, NequipFeatures
from .soap import Soap

#: gives each structure an array ``(n_atoms, n_features)``; it can be pickled, and loads what is
#: slow to load at its first call
Descriptor = Callable[[Sequence[Frame]], list[np.ndarray]]


def descriptor(
    model: str | None, head: str | None, device: str, cutoff: float, elements: Sequence[int]
) -> Descriptor:
    """What describes the environments.

    Args:
        model: path of a model; None for SOAP.
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
    if model.endswith(ENDINGS["nequip-compiled"]):
        raise InputError(
            f"--model={model}: a compiled model does not show its node features; give the "
            ".nequip.zip or .ckpt that it was compiled from"
        )
    if not model.endswith(ENDINGS["mace"] + ENDINGS["nequip-saved"]):
        raise InputError(
            f"--model={model}: allowed are a MACE .model and a NequIP .nequip.zip or .ckpt"
        )
    source = ModelSource.parse(model, head)
    source.require_package()
    kind = MaceFeatures if source.kind == "mace" else NequipFeatures
    features = kind(source, tuple(elements), device)
    # what is wrong with it is said before anything is computed
    features.load()
    return features
