"""Descriptors of atomic environments: SOAP, or the invariant node features of a model.

Each is a function of structures that can be pickled and loads what is slow at its first call:
it takes frames and gives one array ``(n_atoms, n_features)`` for each.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calculators import CalculatorSource
from ..errors import InputError
from ..structures import Frame

if TYPE_CHECKING:
    from ase import Atoms

#: Å
SOAP_CUTOFF = 5.0
_SOAP = {
    "cutoff": {"radius": SOAP_CUTOFF, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
    "density": {
        "type": "Gaussian",
        "width": 0.4,
        # neighbours count less the farther they are (Willatt, Musil, Ceriotti, 2018)
        "scaling": {"type": "Willatt2018", "scale": 2.0, "rate": 1.0, "exponent": 4},
    },
    "basis": {
        "type": "TensorProduct",
        "max_angular": 5,
        "radial": {"type": "Gto", "max_radial": 5},
    },
}

Descriptor = Callable[[Sequence[Frame]], list[np.ndarray]]


class ModelSource(CalculatorSource):
    """A model named with ``--model``."""

    @property
    def called(self) -> str:
        """How messages speak of it."""
        return f"--model={self.source}"


def descriptor(
    model: str | None, head: str | None, device: str, elements: Sequence[int]
) -> Descriptor:
    """What describes the environments.

    Args:
        model: path of a model; None for SOAP.
        head: of a multihead MACE model.
        device: torch device of the model.
        elements: atomic numbers of all structures.

    Raises:
        InputError: if the model's kind has no node features, or its package is not installed.
    """
    if model is None:
        return Soap(tuple(elements))
    source = ModelSource.parse(model, head)
    if source.kind == "nequip-compiled":
        raise InputError(
            f"{source.called}: a compiled model does not show its node features; give the "
            ".nequip.zip or .ckpt that it was compiled from"
        )
    if source.kind not in ("mace", "nequip-saved"):
        raise InputError(
            f"{source.called}: allowed are a MACE .model and a NequIP .nequip.zip or .ckpt"
        )
    source.require_package()
    made = (MaceFeatures if source.kind == "mace" else NequipFeatures)(
        source, tuple(elements), device
    )
    # what is wrong with it is said before anything is computed
    made.load()
    return made


@dataclasses.dataclass(frozen=True)
class Soap:
    """SOAP power spectra (Bartók, Kondor, Csányi, 2013) by featomic, for any elements.

    Attributes:
        elements: atomic numbers of all structures, sorted.
    """

    elements: tuple[int, ...]

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """The descriptors of each frame."""
        from featomic.systems import AseSystem

        calculator, keys, pairs = _soap(self.elements)
        systems = [AseSystem(_all_or_none_periodic(frame.atoms)) for frame in frames]
        spectra = calculator.compute(systems, selected_keys=keys).keys_to_properties(pairs)
        arrays: list[Any] = [None] * len(frames)
        for block in spectra.blocks():
            samples, values = np.asarray(block.samples.values), np.asarray(block.values)
            for number in np.unique(samples[:, 0]):
                here = samples[:, 0] == number
                if arrays[number] is None:
                    shape = (len(frames[number].atoms), values.shape[1])
                    arrays[number] = np.empty(shape, dtype=np.float64)
                arrays[number][samples[here, 1]] = values[here]
        return arrays


@functools.lru_cache(maxsize=1)
def _soap(elements: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """featomic's calculator, the blocks to compute, and pairs of neighbours as properties."""
    from featomic import SoapPowerSpectrum
    from metatensor import Labels

    pairs = [(a, b) for a in elements for b in elements if a <= b]
    keys = np.array([(centre, *pair) for centre in elements for pair in pairs])
    names = ["center_type", "neighbor_1_type", "neighbor_2_type"]
    return SoapPowerSpectrum(**_SOAP), Labels(names, keys), names[1:]


def _all_or_none_periodic(atoms: Atoms) -> Atoms:
    """featomic 0.6.7 (systems/ase.py) knows no slabs and wires: they get vacuum instead."""
    if not atoms.pbc.any():
        from ase import Atoms as Bare

        return Bare(atoms.numbers, atoms.positions)
    if atoms.pbc.all():
        return atoms
    padded = atoms.copy()
    padded.center(vacuum=SOAP_CUTOFF, axis=tuple(np.flatnonzero(~atoms.pbc)))
    padded.pbc = True
    return padded


@dataclasses.dataclass
class _ModelFeatures:
    """Node features of a model, loaded once per process.

    Attributes:
        source: the model.
        elements: atomic numbers that it must know.
        device: torch device.
    """

    source: ModelSource
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
    def calculator(self) -> Any:
        """The framework's ASE calculator."""
        from ..loading import load

        return load(self.source, self.elements, self.device, dtype="model").calculator_for(None)


class MaceFeatures(_ModelFeatures):
    """Invariant node features of all layers, by MACE's own calculator."""

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """The descriptors of each frame."""
        return [self.calculator.get_descriptors(frame.atoms) for frame in frames]


class NequipFeatures(_ModelFeatures):
    """Even scalars among the node features after each interaction layer of a NequIP model."""

    def load(self) -> None:
        """Load the model.

        Raises:
            InputError: if it does not know an element, or has no interaction layers (Allegro).
        """
        from ase.data import chemical_symbols

        unknown = {chemical_symbols[z] for z in self.elements} - set(
            self.calculator.model.type_names
        )
        if unknown:
            raise InputError(
                f"{self.source.called} was not trained on the element(s) "
                f"{', '.join(sorted(unknown))}, which the data holds"
            )
        if not self._layers:
            raise InputError(
                f"{self.source.called} has no interaction layers with node features (an Allegro "
                "model has none); leave --model out, or give a NequIP or MACE model"
            )

    @functools.cached_property
    def _layers(self) -> list[tuple[Any, list[slice]]]:
        """Each interaction layer, and where its even scalars stand."""
        from nequip.nn.convnetlayer import ConvNetLayer

        layers = [m for m in self.calculator.model.modules() if isinstance(m, ConvNetLayer)]
        return [(layer, _even_scalars(layer.irreps_out["node_features"])) for layer in layers]

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """The descriptors of each frame."""
        caught: list[np.ndarray] = []

        def catch(slices: list[slice], _: Any, __: Any, output: dict[str, Any]) -> None:
            features = output["node_features"].detach().cpu().numpy()
            caught.extend(features[:, part] for part in slices)

        hooks = [
            layer.register_forward_hook(functools.partial(catch, slices))
            for layer, slices in self._layers
        ]
        arrays = []
        try:
            for frame in frames:
                caught.clear()
                calculator = self.calculator
                calculator.call_model(calculator.atoms_to_data(frame.atoms))
                arrays.append(np.concatenate(caught, axis=1))
        finally:
            for hook in hooks:
                hook.remove()
        return arrays


def _even_scalars(irreps: Any) -> list[slice]:
    return [
        part for part, (_, irrep) in zip(irreps.slices(), irreps) if irrep.l == 0 and irrep.p == 1
    ]
