"""Invariant node features of MACE and NequIP models, of many structures at a time."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from ...frames.reading import Frame
from ..calculators import CalculatorSource
from ..loaded_calculators import LoadedCalculator, load

#: atoms that a model takes together
_BATCH = 500
#: a module, and what is taken of its output: ``(n_atoms, n_features)``
_Layer = tuple[Any, Callable[[Any], Any]]


class ModelSource(CalculatorSource):
    """A model named with ``--model``."""

    @property
    def called(self) -> str:
        """How messages speak of it."""
        return f"--model={self.source}"


@dataclasses.dataclass
class ModelFeatures(abc.ABC):
    """Node features of a model, which is loaded once per process.

    Attributes:
        source: the model.
        elements: atomic numbers that it must know.
        device: torch device.
    """

    source: CalculatorSource
    elements: tuple[int, ...]
    device: str

    def __getstate__(self) -> dict[str, Any]:
        """Without what was loaded: worker processes load their own."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def load(self) -> None:
        """Load the model.

        Raises:
            InputError: if it cannot be used.
        """
        _ = self.calculator

    @functools.cached_property
    def _model(self) -> LoadedCalculator:
        return load(self.source, self.elements, self.device, dtype="model")

    @property
    def reads(self) -> frozenset[str]:
        """What it is told of a structure, of "charge" and "spin"."""
        return self._model.reads

    @functools.cached_property
    def calculator(self) -> Any:
        """The framework's ASE calculator."""
        from ase import Atoms

        return self._model.calculator_for(Atoms())

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """The descriptors of each frame, ``(n_atoms, n_features)``."""
        import torch

        arrays = []
        for batch in _batches(frames):
            with torch.no_grad():
                features = self.of_batch(batch).detach().cpu().numpy()
            ends = np.cumsum([len(frame.atoms) for frame in batch])
            arrays += np.split(features, ends[:-1])
        return arrays

    @abc.abstractmethod
    def of_batch(self, frames: Sequence[Frame]) -> Any:
        """A tensor ``(n_atoms, n_features)`` of all atoms of some structures."""


class MaceFeatures(ModelFeatures):
    """Invariant node features of all layers, as by ``MACECalculator.get_descriptors``."""

    def load(self) -> None:
        """Load the model.

        Raises:
            InputError: if it cannot be used, or torch has compiled it.
        """
        import torch

        if isinstance(self.calculator.models[0], torch.jit.ScriptModule):
            raise InputError(
                f"{self.source.called}: a compiled model does not show its node features; give the "
                ".model that it was compiled from"
            )

    def of_batch(self, frames: Sequence[Frame]) -> Any:
        """A tensor ``(n_atoms, n_features)`` of all atoms of some structures."""
        from mace.data import AtomicData, KeySpecification, config_from_atoms
        from mace.tools import torch_geometric, torch_tools

        mace = self.calculator
        # charge and spin, as the calculator takes them
        keys = KeySpecification(info_keys=mace.info_keys, arrays_keys=mace.arrays_keys)
        with torch_tools.default_dtype(mace.default_dtype):
            graphs = [
                AtomicData.from_config(
                    config_from_atoms(frame.atoms, keys, head_name=mace.head),
                    z_table=mace.z_table,
                    cutoff=mace.r_max,
                    heads=mace.available_heads,
                )
                for frame in frames
            ]
        batch = torch_geometric.Batch.from_data_list(graphs).to(mace.device)
        model = mace.models[0]
        layers = [
            # EnergyDipolesMACE does not give its node features (mace-torch 0.3.16)
            (product, functools.partial(_columns, _even_scalars(product.linear.irreps_out)))
            for product in model.products
        ]
        return _caught(layers, lambda: model(batch.to_dict(), compute_force=False))


class NequipFeatures(ModelFeatures):
    """Even scalars among the node features after each interaction layer of a NequIP model.

    Of an Allegro model, whose features are of edges, the sum over the edges of each atom, as its
    energy is summed.
    """

    def load(self) -> None:
        """Load the model, which needs to give no forces.

        Raises:
            InputError: if it does not know an element, or is neither NequIP's nor Allegro's.
        """
        from ase.data import chemical_symbols

        (types,) = (
            t.lookup_table for t in self.calculator.transforms if hasattr(t, "lookup_table")
        )
        unknown = sorted(chemical_symbols[z] for z in self.elements if types[z] < 0)
        if unknown:
            raise InputError(
                f"{self.source.called} was not trained on the element(s) {', '.join(unknown)}, "
                "which the data holds"
            )
        if not self._layers:
            raise InputError(
                f"{self.source.called} has no interaction layers of NequIP's or Allegro's; leave "
                "--model out, or give a NequIP, Allegro or MACE model"
            )

    @functools.cached_property
    def calculator(self) -> Any:
        """NequIP's ASE calculator, whose model computes no forces."""
        loaded = super().calculator
        for module in _modules(loaded.model, "ForceStressOutput"):
            module.do_derivatives = False
        return loaded

    @functools.cached_property
    def _layers(self) -> list[_Layer]:
        """Each interaction layer, and its even scalars by atom."""
        from nequip.data import AtomicDataDict

        model = self.calculator.model
        layers: list[_Layer] = []
        for layer in _modules(model, "ConvNetLayer"):
            scalars = _even_scalars(layer.irreps_out[AtomicDataDict.NODE_FEATURES_KEY])
            layers.append((layer, functools.partial(_of_nodes, scalars)))
        for layer in _modules(model, "Allegro_Module"):
            layers.append((layer, functools.partial(_of_edges, layer.scalar_out_field)))
        return layers

    def of_batch(self, frames: Sequence[Frame]) -> Any:
        """A tensor ``(n_atoms, n_features)`` of all atoms of some structures."""
        from nequip.data import AtomicDataDict

        data = AtomicDataDict.batched_from_list(
            [self.calculator.atoms_to_data(frame.atoms) for frame in frames]
        )
        return _caught(self._layers, lambda: self.calculator.call_model(data))


def _caught(layers: Sequence[_Layer], run: Callable[[], Any]) -> Any:
    """What is taken of the outputs of some modules while a model runs, side by side."""
    import torch

    caught: list[Any] = []

    def catch(take: Callable[[Any], Any], _: Any, __: Any, output: Any) -> None:
        caught.append(take(output))

    hooks = [layer.register_forward_hook(functools.partial(catch, take)) for layer, take in layers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(caught, dim=1)


def _columns(columns: Sequence[int], features: Any) -> Any:
    return features[:, columns]


def _of_nodes(columns: Sequence[int], data: dict[str, Any]) -> Any:
    from nequip.data import AtomicDataDict

    return data[AtomicDataDict.NODE_FEATURES_KEY][:, columns]


def _of_edges(field: str, data: dict[str, Any]) -> Any:
    from nequip.data import AtomicDataDict

    features, centres = data[field], data[AtomicDataDict.EDGE_INDEX_KEY][0]
    n_atoms = len(data[AtomicDataDict.POSITIONS_KEY])
    return features.new_zeros(n_atoms, features.shape[1]).index_add(0, centres, features)


def _batches(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Structures in order, together up to :data:`_BATCH` atoms."""
    batch: list[Frame] = []
    atoms = 0
    for frame in frames:
        atoms += len(frame.atoms)
        if batch and atoms > _BATCH:
            yield batch
            batch, atoms = [], len(frame.atoms)
        batch.append(frame)
    yield batch


def _modules(model: Any, name: str) -> list[Any]:
    """The modules of a class of NequIP's, known by its name: packaged models bring their own."""
    return [module for module in model.modules() if type(module).__name__ == name]


def _even_scalars(irreps: Any) -> list[int]:
    """The columns in which they stand."""
    return [
        column
        for part, (_, irrep) in zip(irreps.slices(), irreps)
        if irrep.l == 0 and irrep.p == 1
        for column in range(part.start, part.stop)
    ]
