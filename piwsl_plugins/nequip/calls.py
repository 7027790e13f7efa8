"""Calls of a NequIP ``GraphModel`` past its hooks, with forces or with energies alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from nequip.data import AtomicDataDict
from torch import Tensor

from ..core.evaluation import Evaluated


class Calls(Protocol):
    """A model that can be evaluated for a batch of frames with neighbour lists.

    Attributes:
        r_max: cutoff of the neighbour lists that it needs, in Å.
    """

    r_max: float

    def with_forces(self, data: AtomicDataDict.Type) -> Evaluated:
        """Energies and forces."""

    def energy(self, data: AtomicDataDict.Type) -> Tensor:
        """Energies, ``(n_frames,)`` in eV."""


def inputs(model: torch.nn.Module, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
    """The fields that a ``GraphModel`` reads: no labels.

    ``CompileGraphModel`` of NequIP 0.19 (``nequip/nn/compile.py``) gives all fields of its input
    back, so that force labels would look like forces where none are computed.
    """
    return {key: data[key] for key in model.model_input_fields if key in data}


def computes_forces(model: torch.nn.Module) -> bool:
    """Whether forces are switched on (``do_derivatives``)."""
    return any(getattr(module, "do_derivatives", False) for module in model.modules())


@contextlib.contextmanager
def derivatives_off(model: torch.nn.Module) -> Iterator[None]:
    """Let a model compute neither forces nor stress."""
    modules = [m for m in model.modules() if getattr(m, "do_derivatives", False)]
    for module in modules:
        module.do_derivatives = False
    try:
        yield
    finally:
        for module in modules:
            module.do_derivatives = True


class TrainedModel:
    """The model that is being trained."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Args: model: NequIP's ``GraphModel`` or ``CompileGraphModel``."""
        self.model = model
        self.r_max = float(model.metadata["r_max"])
        self._compiled_without_forces: tuple[dict] = ({},)

    @contextlib.contextmanager
    def energies_alone(self) -> Iterator[None]:
        """Let the model compute no forces.

        ``CompileGraphModel`` of NequIP 0.19 (``nequip/nn/compile.py``) finds compiled graphs by
        the names of the inputs alone, which are the same with and without forces.
        """
        compiled: Any = getattr(self.model, "_compiled_cache", None)
        if compiled is not None:
            self.model._compiled_cache = self._compiled_without_forces
        try:
            with derivatives_off(self.model):
                yield
        finally:
            if compiled is not None:
                self.model._compiled_cache = compiled

    # forward, not __call__: the hooks are for the training module's call

    def with_forces(self, data: AtomicDataDict.Type) -> Evaluated:
        """Energies and forces, with gradients."""
        output = self.model.forward(data)
        return Evaluated(output["total_energy"].squeeze(-1), forces_of(output))

    def energy(self, data: AtomicDataDict.Type) -> Tensor:
        """Energies, ``(n_frames,)`` in eV, with gradients."""
        with self.energies_alone():
            return self.model.forward(data)["total_energy"].squeeze(-1)


def forces_of(output: AtomicDataDict.Type) -> Tensor:
    """The forces in a model's output.

    Raises:
        RuntimeError: if there are none.
    """
    forces = output.get("forces")
    if forces is None:
        raise RuntimeError(
            "the PIWSL loss needs forces, but the model gives none; build it with "
            "do_derivatives: true (the default of NequIPGNNModel and AllegroModel)"
        )
    return forces
