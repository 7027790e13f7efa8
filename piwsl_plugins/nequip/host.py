"""NequIP's and Allegro's models as the terms' ``Host``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from nequip.data import AtomicDataDict
from numpy.typing import NDArray
from torch import Tensor

from ..terms.host import STRUCTURES, Evaluated, Structures, plain
from ..terms.loss_gradient import gradient_by_positions
from ..terms.neighbours import Edges, NeighbourLists
from . import structures
from .levels import Chosen, carrying

#: of the model's output and a batch, a scalar
SupervisedLoss = Callable[[AtomicDataDict.Type, AtomicDataDict.Type], Tensor]
#: batches of up to so many edges share calls with displaced structures on a CPU, too
JOIN_EDGES = 3000


class Describe:
    """Says what the terms need to know of batches, on the CPU; a loader's workers may call it."""

    def __init__(self, type_names: Sequence[str], levels: Chosen | None = None) -> None:
        """
        Args:
            type_names: of the model; element symbols, if data has no atomic numbers.
            levels: of theory, those whose structures carry terms; None for all.
        """
        self._type_names, self._levels = list(type_names), dict(levels or {})

    def __call__(self, batch: AtomicDataDict.Type) -> Structures:
        """Of a batch of NequIP's."""
        sizes = batch[AtomicDataDict.NUM_NODES_KEY].tolist()
        n = len(sizes)
        cells, pbc = np.zeros((n, 3, 3)), np.zeros((n, 3), dtype=bool)
        if AtomicDataDict.CELL_KEY in batch:
            cells = batch[AtomicDataDict.CELL_KEY].view(-1, 3, 3).cpu().double().numpy()
        if AtomicDataDict.PBC_KEY in batch:
            pbc = batch[AtomicDataDict.PBC_KEY].view(-1, 3).cpu().numpy()
        charges, spins = (
            None if given is None else given.view(-1).cpu().double().numpy()
            for given in structures.state_of_fields(batch)
        )
        return Structures.of(
            sizes,
            batch[AtomicDataDict.POSITIONS_KEY].cpu(),
            structures.numbers_of(batch, self._type_names).cpu(),
            cells,
            pbc,
            carrying(batch, self._levels, n),
            charges,
            spins,
        )


class NequIPHost:
    """A model in training; its batches are NequIP's (:mod:`piwsl_plugins.nequip.structures`)."""

    def __init__(self, model: Any, levels: Chosen | None = None) -> None:
        """
        Args:
            model: NequIP's ``GraphModel`` or ``CompileGraphModel``.
            levels: of theory, those whose structures carry terms; None for all.
        """
        self.model = model
        self.lists = NeighbourLists(structures.search, float(self.model.metadata["r_max"]))
        self.description = Describe(self.model.type_names, levels)
        self._compiled_without_forces: tuple[dict[Any, Any]] = ({},)

    def describe(self, batch: AtomicDataDict.Type) -> Structures:
        """Part of :class:`piwsl_plugins.terms.host.Host`, as are all that have no other text."""
        known: Structures | None = batch.get(STRUCTURES)
        return known or self.description(batch)

    def weight(self, batch: AtomicDataDict.Type) -> Tensor:
        """Likewise."""
        weight: Tensor | None = batch.get(structures.WEIGHT)
        if weight is not None:
            return weight.view(-1)
        positions: Tensor = batch[AtomicDataDict.POSITIONS_KEY]
        return positions.new_ones(len(batch[AtomicDataDict.NUM_NODES_KEY]))

    def force_labels(self, batch: AtomicDataDict.Type) -> Tensor | None:
        """Likewise."""
        labels: Tensor | None = batch.get(AtomicDataDict.FORCE_KEY)
        return labels

    def select(
        self, batch: AtomicDataDict.Type, keep: NDArray[np.bool_], sizes: list[int]
    ) -> AtomicDataDict.Type:
        """Likewise."""
        return structures.select(batch, keep, sizes)

    def displaced(
        self, batch: AtomicDataDict.Type, positions: Tensor, edges: Edges
    ) -> AtomicDataDict.Type:
        """Likewise."""
        return structures.displaced(batch, positions, edges)

    def beside(
        self, batch: AtomicDataDict.Type, loaded: AtomicDataDict.Type
    ) -> tuple[AtomicDataDict.Type, AtomicDataDict.Type]:
        """Likewise; a batch has its labels in it."""
        device = batch[AtomicDataDict.POSITIONS_KEY].device
        moved = AtomicDataDict.to_(dict(loaded), device)
        return moved, moved

    def join(self, batches: Sequence[AtomicDataDict.Type]) -> AtomicDataDict.Type:
        """Likewise."""
        return structures.join(batches)

    def split(
        self, output: AtomicDataDict.Type, batches: Sequence[AtomicDataDict.Type]
    ) -> list[AtomicDataDict.Type]:
        """Likewise."""
        return structures.split(output, batches)

    def read(self, output: AtomicDataDict.Type) -> Evaluated:
        """Likewise."""
        energy = output[AtomicDataDict.TOTAL_ENERGY_KEY].squeeze(-1)
        return Evaluated(energy, output.get(AtomicDataDict.FORCE_KEY))

    def evaluate(self, batch: AtomicDataDict.Type, forces: bool) -> Evaluated:
        """Likewise."""
        call = contextlib.nullcontext() if forces else self.energies_alone()
        with call:
            # forward, not __call__: the hooks are for the training module's call
            output = self.model.forward(batch if forces else self.without_labels(batch))
        if forces:
            self.check_forces(output, batch)
        return self.read(output)

    def shares_calls(self, batch: AtomicDataDict.Type, forces: bool) -> bool:
        """Where energies alone are computed, on a GPU, and on a CPU for small batches.

        On a CPU, a call with forces of twice the size can cost three times as much.
        """
        small = AtomicDataDict.num_edges(batch) <= JOIN_EDGES
        return not forces or small or batch[AtomicDataDict.POSITIONS_KEY].device.type != "cpu"

    def loss_gradient(
        self, batch: AtomicDataDict.Type, loss: SupervisedLoss, forces: bool
    ) -> Tensor:
        """The gradient of a loss by the positions of a batch, past the training module's hooks.

        The model within NequIP 0.19's ``CompileGraphModel`` (``nequip/nn/compile.py``) is called
        as it is, as for a single structure: in its compiled graphs positions are inputs without a
        gradient.

        Args:
            batch: with its labels.
            loss: of the model's output and the batch.
            forces: whether the loss reads forces.

        Returns:
            ``(n_atoms, 3)`` in units of the loss per Å.
        """
        inputs, labels = self.without_labels(batch), plain(batch)

        def of_positions(positions: Tensor) -> Tensor:
            moved = {**inputs, AtomicDataDict.POSITIONS_KEY: positions}
            with contextlib.nullcontext() if forces else self.energies_alone():
                output = self.model.model(moved)
            if forces:
                self.check_forces(output, batch)
            return loss(output, labels)

        return gradient_by_positions(of_positions, batch[AtomicDataDict.POSITIONS_KEY])

    def check_forces(self, output: AtomicDataDict.Type, batch: AtomicDataDict.Type) -> None:
        """Stop if the model computes no forces.

        ``CompileGraphModel`` of NequIP 0.19 (``nequip/nn/compile.py``) gives all fields of its
        input back, so that force labels would look like forces where none are computed.

        Args:
            output: the model's.
            batch: what it was called with.

        Raises:
            RuntimeError: naming the remedy.
        """
        forces = output.get(AtomicDataDict.FORCE_KEY)
        if forces is None or forces is batch.get(AtomicDataDict.FORCE_KEY):
            raise RuntimeError(
                "the PIWSL loss needs forces, but the model gives none; build it with "
                "do_derivatives: true (the default of NequIPGNNModel and AllegroModel)"
            )

    def without_labels(self, batch: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """The fields that the model reads, so that no label looks like its answer, as above."""
        return {key: batch[key] for key in self.model.model_input_fields if key in batch}

    @contextlib.contextmanager
    def energies_alone(self) -> Iterator[None]:
        """Let the model compute neither forces nor stress, nor Born charges (NequIP-LES).

        NequIP's ``ForceStressOutput`` has the switch ``do_derivatives`` (``nequip/nn``).
        ``CompileGraphModel`` of NequIP 0.19 (``nequip/nn/compile.py``) finds compiled graphs by
        the names of the inputs alone, which are the same with and without forces.
        """
        switches = [
            (module, name)
            for module in self.model.modules()
            for name in ("do_derivatives", "compute_bec")
            if getattr(module, name, False)
        ]
        compiled: Any = getattr(self.model, "_compiled_cache", None)
        if compiled is not None:
            self.model._compiled_cache = self._compiled_without_forces
        for module, name in switches:
            setattr(module, name, False)
        try:
            yield
        finally:
            for module, name in switches:
                setattr(module, name, True)
            if compiled is not None:
                self.model._compiled_cache = compiled
