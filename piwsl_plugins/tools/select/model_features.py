"""Invariant node features of MACE and NequIP models, of many structures at a time."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..calculators import CalculatorSource
from ..errors import InputError
from ..loading import LoadedCalculator, load
from ..structures import Frame

#: atoms that a model takes together
_BATCH = 500


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
        from e3nn import o3
        from mace.data import AtomicData, KeySpecification, config_from_atoms
        from mace.modules.utils import extract_invariant
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
        features = model(batch.to_dict(), compute_force=False)["node_feats"]
        # the last layer holds scalars alone (mace-torch 0.3.16, calculators/mace.py)
        irreps = o3.Irreps(str(model.products[0].linear.irreps_out))
        return extract_invariant(
            features,
            num_layers=int(model.num_interactions),
            num_features=irreps.dim // (irreps.lmax + 1) ** 2,
            l_max=irreps.lmax,
        )


class NequipFeatures(ModelFeatures):
    """Even scalars among the node features after each interaction layer of a NequIP model."""

    def load(self) -> None:
        """Load the model, which needs to give no forces.

        Raises:
            InputError: if it does not know an element, or has no interaction layers (Allegro).
        """
        from ase.data import chemical_symbols

        names = set(self.calculator.model.type_names)
        unknown = sorted({chemical_symbols[z] for z in self.elements} - names)
        if unknown:
            raise InputError(
                f"{self.source.called} was not trained on the element(s) {', '.join(unknown)}, "
                "which the data holds"
            )
        if not self._layers:
            raise InputError(
                f"{self.source.called} has no interaction layers with node features (an Allegro "
                "model has none); leave --model out, or give a NequIP or MACE model"
            )

    @functools.cached_property
    def calculator(self) -> Any:
        """NequIP's ASE calculator, whose model computes no forces."""
        loaded = super().calculator
        for module in _modules(loaded.model, "ForceStressOutput"):
            module.do_derivatives = False
        return loaded

    @functools.cached_property
    def _layers(self) -> list[tuple[Any, list[slice]]]:
        """Each interaction layer, and where its even scalars stand."""
        return [
            (layer, _even_scalars(layer.irreps_out["node_features"]))
            for layer in _modules(self.calculator.model, "ConvNetLayer")
        ]

    def of_batch(self, frames: Sequence[Frame]) -> Any:
        """A tensor ``(n_atoms, n_features)`` of all atoms of some structures."""
        import torch
        from nequip.data import AtomicDataDict

        caught: list[Any] = []

        def catch(slices: list[slice], _: Any, __: Any, output: dict[str, Any]) -> None:
            caught.extend(output[AtomicDataDict.NODE_FEATURES_KEY][:, part] for part in slices)

        data = [self.calculator.atoms_to_data(frame.atoms) for frame in frames]
        hooks = [
            layer.register_forward_hook(functools.partial(catch, slices))
            for layer, slices in self._layers
        ]
        try:
            self.calculator.call_model(AtomicDataDict.batched_from_list(data))
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(caught, dim=1)


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


def _even_scalars(irreps: Any) -> list[slice]:
    return [
        part for part, (_, irrep) in zip(irreps.slices(), irreps) if irrep.l == 0 and irrep.p == 1
    ]
