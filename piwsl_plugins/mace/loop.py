"""PIWSL in a training loop of one's own around a MACE model."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ase import Atoms
from mace import data
from mace.tools.torch_geometric.batch import Batch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..errors import SettingsError
from ..frames.entries import Entry
from ..labels.hessian_labels import HessianLabel
from ..options.loop import check_structures, decided_in_loop, options_of_loop
from ..terms.found import KEY
from ..terms.loop import Loop, found_in, labels_of_loop, on_first_rank
from ..terms.training import Training
from ..terms.training_log import TrainingLog, UnusedCalls
from .arguments import MaceSettings
from .host import MACEHost, carrying_heads
from .loop_pool import LoopPool
from .loss import EnergyLoss, PIWSLLoss
from .training import TrainingCalls

#: options of ``mace_run_train`` that a loop has no use for
_OF_TRAINER = ("base_loss", "swa_pitc_weight", "swa_pisc_weight", "swa_hessian_weight")


class PIWSL(Loop):
    """The training of a MACE model with PIWSL, in a loop of your own.

    The loss and its gradients are those of ``mace_run_train`` with the same loss, options and
    batches. The model stays as it is: hooks are on it inside a call alone::

        piwsl = PIWSL(model, loss_fn, loader.dataset, hessian_file="hessians.npz")
        for epoch in range(100):
            for batch in loader:
                batch = batch.to(device)
                output = piwsl(batch, epoch)
                loss = piwsl.loss(batch, output)
                loss.backward()
                ...

    Attributes:
        settings: all options, decided.
        training: what is known of it, and done in each step.
        epoch: the present one, from 0, unless calls say another.
        step: number of the next call, from 0, likewise.
    """

    settings: MaceSettings

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Callable[..., Tensor],
        structures: Sequence[data.AtomicData],
        *,
        hessians: Sequence[HessianLabel] | None = None,
        pool: Sequence[Atoms] | None = None,
        forces_weight: float | None = None,
        uses_forces: bool | None = None,
        key_specification: data.KeySpecification | None = None,
        log: Callable[[str], None] = print,
        **options: Any,
    ) -> None:
        """
        Args:
            model: of MACE, on its device; DistributedDataParallel may be around it.
            loss: supervised, such as ``mace.modules.WeightedEnergyForcesLoss``, or a function of
                a batch and the model's output for it, which gives a scalar. Where MACE has put
                zeros for missing energies and forces, the output equals them.
            structures: of the training, ``loader.dataset``, to which Hessian labels are matched by
                what they are.
            hessians: labels in place of ``hessian_file``.
            pool: frames in place of ``pool_file``.
            forces_weight: of the forces in the loss, which is the default of ``hessian_weight``
                (on energies alone, 100 times that of the energy); by default that of MACE's loss.
            uses_forces: whether the loss reads forces; by default, unless it is an ``EnergyLoss``.
            key_specification: names of the labels in the pool's frames, by default MACE's.
            log: takes lines for the user: what has been matched, and warnings.
            options: those of every framework (docs/options.md) and ``heads``, without a prefix.

        Raises:
            SettingsError: naming the option, the value and the remedy; also if no Hessian label
                belongs to a structure.
        """
        self._model = model
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        if isinstance(inner, torch.jit.ScriptModule):
            raise TypeError(
                "PIWSL: the model is compiled to TorchScript, which takes no hooks; give the model "
                "as it was before, and compile it after training"
            )
        if isinstance(loss, type):
            raise TypeError(f"PIWSL: the loss is a class; give an object of it, {loss.__name__}(…)")
        if uses_forces is None:
            uses_forces = not isinstance(loss, EnergyLoss)
        self._uses_forces = uses_forces
        given = options_of_loop(options, {"hessians": hessians, "pool": pool}, _OF_TRAINER)
        self.settings = settings = decided_in_loop(
            MaceSettings.create(given),
            uses_forces,
            _forces_weight(loss) if forces_weight is None else forces_weight,
        )
        names = list(getattr(inner, "heads", None) or ["Default"])
        heads = _carrying(settings, names)
        self._host = MACEHost(inner, settings.mace.heads)
        tell = on_first_rank(log)
        entries = _entries(self._host, structures, names)
        carrying = [entry for entry in entries if entry.structure.level in heads]
        of_pool = None
        supervised = PIWSLLoss(_as_of_mace(loss), settings)
        if settings.pool.pool_file is not None and supervised.is_on:
            keys = key_specification or data.KeySpecification.from_defaults()
            read = ("energy", "forces") if uses_forces else ("energy",)
            of_pool = LoopPool(settings, pool, inner, heads, keys, read, carrying)
            tell(of_pool.summary)
        if settings.hessian.hessian_weight and not carrying:
            raise SettingsError(
                "hessian_file",
                settings.hessian.hessian_file,
                f"no training structure is of a head that has the labels ({', '.join(heads)})"
                f", of {len(entries)}; give the structures of the loader, made with the "
                "model's heads",
            )
        others = [entry for entry in entries if entry.structure.level not in heads]
        in_pool = [] if of_pool is None else [entry.structure for entry in of_pool.entries]
        labels = labels_of_loop(settings, carrying, others, in_pool, hessians, tell)
        self.training = supervised.engine = Training(
            settings,
            labels,
            None if of_pool is None else of_pool.pool(),
            penalty=supervised.hessian_penalty,
            log=TrainingLog(tell, tell),
        )
        self._loss = supervised
        self._unused = UnusedCalls(tell)

    def __call__(
        self, batch: Any, epoch: int | None = None, step: int | None = None, **keywords: Any
    ) -> dict[str, Any]:
        """The model's output for a training batch, for :meth:`loss`.

        Args:
            batch: of MACE's loader, on the model's device.
            epoch: from 0, by default :attr:`epoch`; displacements are drawn anew in each.
            step: number of the optimiser's step since the start of training, by default one more
                than in the call before; calls with the same one get the same pool structures.
            keywords: of the model, such as ``compute_stress=True``.

        Returns:
            as of the model, without forces if neither the loss nor a term reads them; what PIWSL
            has found is under the key "piwsl".
        """
        moments = iter([self.moment(epoch, step)])
        given = {"training": True, "compute_force": self._uses_forces, **keywords}
        loss = self._loss.supervised
        with TrainingCalls(self._host, self.training, moments, self._uses_forces, loss):
            output: dict[str, Any] = self._model(batch.to_dict(), **given)
        self._unused.add(output.get(KEY))
        return output

    def loss(self, batch: Any, output: dict[str, Any]) -> Tensor:
        """The supervised loss, + ``pool_weight`` times that of the pool, + the weighted terms.

        Args:
            batch: as it was called with.
            output: of this call.

        Returns:
            a scalar; with several ranks, penalties are averaged over all of them, as gradients
            are by DistributedDataParallel.

        Raises:
            RuntimeError: if the output is that of another call of the model.
        """
        found_in(output)
        self._unused.end()
        loss: Tensor = self._loss(batch, output)
        return loss


class _Function(torch.nn.Module):
    """A function of batch and output, to be called as MACE's losses are."""

    def __init__(self, function: Callable[[Any, dict[str, Tensor]], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, ref: Any, pred: dict[str, Tensor], ddp: bool | None = None) -> Tensor:
        return self.function(ref, pred)

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)


def _as_of_mace(loss: Callable[..., Tensor]) -> torch.nn.Module:
    is_of_mace = isinstance(loss, torch.nn.Module) and (
        "ddp" in inspect.signature(loss.forward).parameters
    )
    return loss if is_of_mace else _Function(loss)  # type: ignore[return-value]


def _forces_weight(loss: Any) -> float | None:
    """That of one of MACE's losses, on energies alone 100 times that of the energy, or None."""
    if isinstance(loss, EnergyLoss):
        return 100.0 * float(loss.energy_weight)
    weight = getattr(loss, "forces_weight", None)
    return None if weight is None else float(weight)


def _carrying(settings: MaceSettings, names: Sequence[str]) -> list[str]:
    """The heads whose structures carry terms.

    Raises:
        SettingsError: for heads that are not there, and where Hessians could be of several.
    """
    chosen = settings.mace.heads
    absent = [name for name in chosen or () if name not in names]
    if absent:
        raise SettingsError("heads", ",".join(absent), f"the model has {', '.join(names)} only")
    heads = carrying_heads(chosen, names)
    path = settings.hessian.hessian_file
    if settings.hessian.hessian_weight and chosen is None and len(heads) > 1:
        raise SettingsError(
            "hessian_file",
            path,
            f"the model has the heads {', '.join(heads)}, and Hessians are of one method; say "
            "which heads have these, and the PIWSL terms, with heads",
        )
    return heads


def _entries(
    host: MACEHost, structures: Sequence[data.AtomicData], names: Sequence[str]
) -> list[Entry]:
    """Training structures as the model is given them, each of the level of its head."""
    entries = []
    check_structures(structures)
    for number in range(len(structures)):
        one = structures[number]
        if not isinstance(one, data.AtomicData):
            raise TypeError(
                f"PIWSL: structures are MACE's AtomicData, as those of loader.dataset; number "
                f"{number} (from 0) is {type(one).__name__}"
            )
        batch = Batch.from_data_list([one]).to_dict()
        level = names[int(batch["head"])] if "head" in batch else names[0]
        structure = dataclasses.replace(host.description(batch).structure(0), level=level)
        energy = float(one.energy) if one.energy_weight > 0 else None
        entries.append(Entry(structure, "the training data", number, energy=energy))
    return entries
