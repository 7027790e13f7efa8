"""PIWSL in a training loop of one's own around a NequIP or Allegro model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ase import Atoms
from nequip.data import AtomicDataDict
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..errors import InputError, SettingsError
from ..frames.entries import Entry
from ..frames.pool_checks import look_through
from ..labels.hessian_labels import HessianLabel
from ..options.loop import check_structures, decided_in_loop, options_of_loop
from ..terms.distributed import n_ranks
from ..terms.found import KEY, POOL
from ..terms.loop import Loop, found_in, labels_of_loop, on_first_rank
from ..terms.pool import Pool
from ..terms.term_table import acts
from ..terms.training import Training, mean_over_ranks
from ..terms.training_log import EpochMeans, TrainingLog, UnusedCalls
from .frames import sources_of
from .host import NequIPHost
from .labels import Reads
from .levels import Levels
from .loss import PIWSLLoss
from .pool_files import KEYS, AtomsFrames, open_pool
from .pool_frames import PoolFrames
from .settings import NequIPSettings
from .structures import join
from .tables import energy_of, structure_of
from .training import TrainingCalls

_LABELS = (AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.FORCE_KEY)
#: a function of a batch and the model's output for it
Loss = Callable[[AtomicDataDict.Type, AtomicDataDict.Type], Tensor]


class PIWSL(Loop):
    """The training of a NequIP or Allegro model with PIWSL, in a loop of your own.

    With coefficients as the loss, it and its gradients are those of ``nequip-train`` with
    ``PIWSLLoss`` and the same options and batches. The model stays as it is: hooks are on it inside
    a call alone::

        piwsl = PIWSL(model, {"total_energy": 1.0, "forces": 1.0}, dataset, hessian_file="h.npz")
        for epoch in range(100):
            for batch in loader:
                batch = AtomicDataDict.to_(batch, device)
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

    settings: NequIPSettings

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Mapping[str, float] | Loss,
        structures: Sequence[AtomicDataDict.Type],
        *,
        hessians: Sequence[HessianLabel] | None = None,
        pool: Sequence[Atoms] | None = None,
        forces_weight: float | None = None,
        uses_forces: bool = True,
        transforms: Sequence[Any] | None = None,
        log: Callable[[str], None] = print,
        **options: Any,
    ) -> None:
        """
        Args:
            model: NequIP's ``GraphModel``, on its device and in training mode;
                DistributedDataParallel may be around it.
            loss: coefficients of "total_energy", "forces" and "stress", as ``PIWSLLoss`` takes
                them, by whose sum all weights are divided; or a function of a batch and the
                model's output for it, which gives a scalar, to which weights are as they are;
                labels that frames of the pool lack then equal the output.
            structures: of the training, a dataset or list of frames with types, to which Hessian
                labels are matched by what they are.
            hessians: labels in place of ``hessian_file``.
            pool: frames in place of ``pool_file``.
            forces_weight: of the forces in a function, which is the default of ``hessian_weight``
                (on energies alone, 100 times that of the energy).
            uses_forces: whether a function reads forces.
            transforms: data transforms of the training data, which act on the pool as well; by
                default those of ``structures``, if it is a dataset of NequIP's.
            log: takes lines for the user: what has been matched, and warnings.
            options: those of every framework (docs/options.md) and ``levels``; with coefficients,
                also the further arguments of ``PIWSLLoss``.

        Raises:
            SettingsError: naming the option, the value and the remedy; also if no Hessian label
                belongs to a structure.
        """
        self._model = model
        inner: Any = model.module if isinstance(model, DistributedDataParallel) else model
        given = options_of_loop(options, {"hessians": hessians, "pool": pool})
        self._stock: PIWSLLoss | None = None
        self._function: Loss | None = None
        if isinstance(loss, Mapping):
            self._stock = PIWSLLoss(loss, type_names=list(inner.type_names), **given)
            self._stock.to(next(inner.parameters()).device)
            settings, uses_forces = self._stock.settings, self._stock.base_uses_forces
        elif isinstance(loss, torch.nn.ModuleDict):
            raise TypeError(
                "PIWSL: of NequIP's losses give the coefficients, such as {'total_energy': 1.0, "
                "'forces': 1.0}, or a function of batch and output"
            )
        else:
            self._function = loss
            settings = NequIPSettings.create(given)
            settings = decided_in_loop(settings, uses_forces, forces_weight)
        self.settings, self._uses_forces = settings, uses_forces
        self._host = NequIPHost(inner, settings.nequip.levels)
        tell = on_first_rank(log)
        entries = self._entries(structures)
        carrying = [entry for entry in entries if not entry.structure.level]
        in_pool, of_pool = [], None
        if settings.pool.pool_file is not None and acts(settings):
            frames = self._pool_frames(pool, _transforms(structures, transforms))
            in_pool = self._entries_of_pool(frames, carrying, tell)
            of_pool = Pool.of_ranks(settings, frames, join)
        others = [entry for entry in entries if entry.structure.level]
        labels = labels_of_loop(settings, carrying, others, in_pool, hessians, tell)
        stock = self._stock
        self._unused = UnusedCalls(tell)
        self.training = Training(
            settings,
            labels,
            of_pool,
            weights=None if stock is None else stock.weights,
            log=TrainingLog(tell, tell, scale=1.0 if stock is None else stock.sum_of_coeffs),
        )
        if stock is not None:
            stock.begin(self.training)
            for metric in stock.values() if n_ranks() > 1 else ():
                metric.dist_sync_on_step = True  # as NequIP's training module does

    def _entries(self, structures: Sequence[AtomicDataDict.Type]) -> list[Entry]:
        """Training structures as the model is given them."""
        names, path = list(self._host.model.type_names), self.settings.hessian.hessian_file
        levels, entries = Levels(self.settings.nequip.levels), []
        check_structures(structures)
        for number in range(len(structures)):
            fields = structures[number]
            if AtomicDataDict.ATOM_TYPE_KEY not in fields:
                raise InputError(
                    f"structures: number {number} (from 0) has no '{AtomicDataDict.ATOM_TYPE_KEY}';"
                    " give frames as the model takes them, after the data transforms"
                )
            structure = structure_of(fields, names, levels.of(fields, fields))
            entries.append(Entry(structure, "the data", number, energy=energy_of(fields)))
        levels.check("hessian_file", path, "training data")
        return entries

    def _pool_frames(self, given: Sequence[Atoms] | None, transforms: Sequence[Any]) -> PoolFrames:
        path = str(self.settings.pool.pool_file)
        if given is None:
            frames = open_pool(path, [])
        else:
            frames = AtomsFrames(path, {"key_mapping": KEYS}, given)
        read = {*_LABELS, *self._read}
        return PoolFrames(path, frames, self._host.model, read, transforms)

    def _supervised(self, output: AtomicDataDict.Type, batch: AtomicDataDict.Type) -> Tensor:
        """The supervised loss of a batch alone."""
        if self._stock is not None:
            return self._stock.supervised_loss(output, batch)
        assert self._function is not None
        return self._function(batch, output)

    @property
    def _read(self) -> frozenset[str]:
        """The labels that the loss reads."""
        if self._stock is None:
            return frozenset(_LABELS if self._uses_forces else _LABELS[:1])
        return Reads.of("the loss", [self._stock]).weighted

    def _entries_of_pool(
        self, frames: PoolFrames, training: Sequence[Entry], tell: Callable[[str], None]
    ) -> list[Any]:
        """What the pool is, looked through.

        Raises:
            SettingsError: naming ``pool_file``.
        """
        weight = self.settings.pool.pool_weight
        unweighted = ["of your own"] if self._stock is None else self._stock.unweighted
        entries = frames.entries(unweighted, self._read, self.settings.nequip.levels)
        tell(look_through(frames.path, entries, frames.elements, (), training, bool(weight)))
        if weight and not any(entry.labels for entry in entries):
            raise SettingsError(
                "pool_file",
                frames.path,
                f"no frame has a label that the loss reads ({', '.join(sorted(self._read))}), "
                f"though pool_weight is {weight:g}; name labels REF_energy and REF_forces, or set "
                "pool_weight to 0 for a pool without labels",
            )
        return frames.structures()

    def __call__(
        self, batch: AtomicDataDict.Type, epoch: int | None = None, step: int | None = None
    ) -> AtomicDataDict.Type:
        """The model's output for a training batch, for :meth:`loss`.

        Args:
            batch: of structures with neighbour lists, on the model's device.
            epoch: from 0, by default :attr:`epoch`; displacements are drawn anew in each.
            step: number of the optimiser's step since the start of training, by default one more
                than in the call before; calls with the same one get the same pool structures.

        Returns:
            as of the model, without forces if neither the loss nor a term reads them; what PIWSL
            has found is under the key "piwsl".

        Raises:
            RuntimeError: if the model is not in training mode.
        """
        if not self._model.training:
            raise RuntimeError("PIWSL: the model is in evaluation mode; call model.train() before")
        moment = self.moment(epoch, step)
        reads = self._uses_forces
        calls = TrainingCalls(
            self._host, self.training, lambda: moment, reads, self._supervised, reads
        )
        try:
            output: AtomicDataDict.Type = self._model(batch)
        finally:
            calls.remove()
        self._unused.add(output.get(KEY))
        return output

    def loss(self, batch: AtomicDataDict.Type, output: AtomicDataDict.Type) -> Tensor:
        """The supervised loss, + ``pool_weight`` times that of the pool, + the weighted terms.

        Args:
            batch: as it was called with.
            output: of this call.

        Returns:
            a scalar; with several ranks, penalties (and NequIP's losses) are averaged over all of
            them, as gradients are by DistributedDataParallel.

        Raises:
            RuntimeError: if the output is that of another call of the model.
        """
        found = found_in(output)
        self._unused.end()
        if self._stock is not None:
            values = self._stock(output, batch)
            self._stock.end_step()
            stock: Tensor = values["weighted_sum"] * n_ranks()
            return stock
        assert self._function is not None
        base, pool = self._function(batch, found.output), None
        if POOL in found.weights:
            pool = self._function(_with_missing(found.pool_labels, found.pool), found.pool)
        mean = mean_over_ranks if n_ranks() > 1 else None
        return self.training.loss(found, base, pool, mean=mean)

    def end_epoch(self) -> EpochMeans:
        """As :meth:`.terms.loop.Loop.end_epoch`."""
        if self._stock is not None:
            self._stock.reset()
        return super().end_epoch()


def _with_missing(labels: AtomicDataDict.Type, output: AtomicDataDict.Type) -> AtomicDataDict.Type:
    """Labels of a pool that equal the output where frames have none: no error, no gradient."""
    filled = dict(labels)
    for name in _LABELS:
        if name in output:
            predicted = output[name].detach()
            known = labels.get(name, torch.full_like(predicted, torch.nan))
            filled[name] = torch.where(known.isnan(), predicted.to(known), known)
    return filled


def _transforms(structures: Any, given: Sequence[Any] | None) -> list[Any]:
    """The data transforms that act on a pool.

    Raises:
        SettingsError: naming ``pool_file``, where it is not clear which.
    """
    if given is not None:
        return list(given)
    sources = sources_of(structures)
    if len(sources) > 1:
        raise SettingsError(
            "pool_file",
            None,
            "the structures are of several datasets; say with transforms which of their data "
            "transforms act on the pool",
        )
    return list(getattr(sources[0], "transforms", ()))
