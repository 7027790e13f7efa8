"""The frozen MACE model with whose residuals the trained model's are compared."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from ase.data import chemical_symbols
from torch import Tensor

from . import arguments
from .points import varying_energy
from .transforms import Batch


class Reference:
    """A frozen MACE model, with elements, cutoff and heads of its own.

    It is evaluated without gradients of parameters, in the precision and on the device of the
    trained model, and belongs to no module, so that model files, checkpoints, moving averages
    and DistributedDataParallel know nothing of it.

    Attributes:
        model: the frozen model.
        name: the option that gave it.
        r_max: its cutoff in Å.
        head: index of the head that is used.
    """

    def __init__(self, model: torch.nn.Module, name: str, head: str | None = None) -> None:
        """
        Args:
            model: becomes frozen; hand over a copy.
            name: the option that gave it, for messages.
            head: head to use, if the model has it; by default its only one, else the first that
                is not the replay head, as MACE chooses the head of a foundation model.
        """
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.r_max = float(model.r_max)
        names = list(getattr(model, "heads", None) or ["Default"])
        others = [candidate for candidate in names if candidate != "pt_head"] or names
        chosen = head if head in names else others[0]
        self.head = names.index(chosen)
        self._numbers = torch.zeros(0, dtype=torch.long)
        among = f", head '{chosen}' of {', '.join(names)}" if len(names) > 1 else ""
        logging.info(f"PIWSL: frozen reference model: {name}{among}")

    def check_elements(self, elements: Iterable[int]) -> None:
        """End the run, before training, if the model does not know all these elements."""
        known = {int(z) for z in self.model.atomic_numbers}
        missing = sorted(set(elements) - known)
        if missing:
            symbols = ", ".join(chemical_symbols[z] for z in missing)
            arguments.fail(
                f"{self.name}: as reference model it would need {symbols}, which is in the "
                "training data or the pool, but not among its elements "
                f"({', '.join(chemical_symbols[z] for z in sorted(known))}); give one that knows "
                "them with --piwsl_reference_model, or choose another --piwsl_pitc_target"
            )

    def match(self, model: torch.nn.Module) -> None:
        """Take over precision, device and element order of the trained model's batches."""
        parameter = next(model.parameters())
        self.model.to(device=parameter.device, dtype=parameter.dtype)
        own = [int(z) for z in self.model.atomic_numbers]
        self._numbers = torch.tensor(
            [own.index(int(z)) if int(z) in own else -1 for z in model.atomic_numbers],
            device=parameter.device,
        )

    def __call__(self, batch: Batch, compute_force: bool) -> tuple[Tensor, Tensor | None]:
        """Energies ``(n_structures,)`` in eV, and forces ``(n_atoms, 3)`` in eV/Å or None.

        Args:
            batch: made for the trained model, edges for this model's cutoff.
            compute_force: whether to work out forces.
        """
        index = self._numbers[batch["node_attrs"].argmax(dim=-1)]
        node_attrs = torch.nn.functional.one_hot(index, len(self.model.atomic_numbers))
        own = {
            **batch,
            "node_attrs": node_attrs.to(batch["node_attrs"]),
            "head": torch.full_like(batch["ptr"][1:], self.head),
            "positions": batch["positions"].detach(),
        }
        if not compute_force:
            own["positions"] = batch["positions"]
        with torch.set_grad_enabled(compute_force):
            output = self.model(
                own,
                training=False,
                compute_force=compute_force,
                compute_virials=False,
                compute_stress=False,
            )
        forces = output["forces"]
        return (
            varying_energy(self.model, output).detach(),
            None if forces is None else forces.detach(),
        )


def load(path: str, head: str | None = None) -> Reference:
    """The reference model of ``--piwsl_reference_model``.

    Args:
        path: a model file of MACE.
        head: head to use, if the model has it.
    """
    name = f"--piwsl_reference_model={path}"
    if not Path(path).is_file():
        arguments.fail(f"{name}: there is no such file; give a .model file of MACE")
    try:
        model = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # unpickling raises errors of every kind
        arguments.fail(f"{name}: this file cannot be read as a MACE model ({error})")
    if not (isinstance(model, torch.nn.Module) and hasattr(model, "atomic_energies_fn")):
        arguments.fail(
            f"{name}: this is not a MACE model with an energy; give the .model file that "
            "mace_run_train writes, not a checkpoint or compiled model"
        )
    return Reference(model, name, head)
