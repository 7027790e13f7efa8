"""MACE's training loop with PIWSL: its calls of the model, the epoch, and the force slope."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mace.modules.loss import is_ddp_enabled
from torch import Tensor
from torch.optim import LBFGS

from ..disk import full_disk
from ..terms.host import plain
from ..terms.loading import describing
from ..terms.schedule import weight_factor
from ..terms.step import Step
from ..terms.term_table import terms_of, weights_of
from ..terms.training_log import describe
from ..terms.validation import ValidationWatch
from .arguments import flag
from .data import Companions
from .first_energies import check_first_energies
from .host import MACEHost
from .loss import POOL_LABELS, PIWSLLoss, has_label
from .structures import Batch

#: result of MACE's ``evaluate``: the loss, and errors by name
Evaluation = tuple[float, dict[str, Any]]
_NO_FORCES = {"compute_force": False, "compute_virials": False, "compute_stress": False}


class TrainingCalls:
    """Hooks on a MACE model that make each training call of it a step of the core.

    MACE's trainer calls ``model(batch, training=True, …)``. The hooks enlarge the batch and cut
    the output back (:class:`~piwsl_plugins.terms.step.Step`); where neither the base loss nor a
    term needs forces, the call computes none. Under DistributedDataParallel they sit on the
    wrapped model, so that all happens in one forward call. A context manager for one epoch.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: PIWSLLoss,
        epoch: int,
        first_step: int = 0,
        companions: Companions | None = None,
        one_step: bool = False,
        join: bool | None = None,
    ) -> None:
        """
        Args:
            model: the MACE model, not its DistributedDataParallel wrapper.
            loss: gives the settings; told which terms act before each call.
            epoch: current epoch.
            first_step: number of the epoch's first optimiser step.
            companions: Hessian labels and the pool, if the settings use them.
            one_step: whether all calls of the epoch belong to one step (LBFGS); they then share
                the pool's structures.
            join: as for :class:`~piwsl_plugins.terms.step.Step`.
        """
        self.model, self.loss, self.settings = model, loss, loss.settings
        self.epoch, self.number = epoch, first_step
        self.companions = companions or Companions()
        self.one_step, self.join = one_step, join
        self.host = MACEHost(model, loss.settings.mace.heads, self.companions.lists)
        self.terms = terms_of(loss.settings, self.companions.labels, loss.hessian_penalty)
        if {term.name for term in self.terms} != weights_of(loss.settings).keys() or (
            loss.supervises_pool and self.companions.pool is None
        ):
            raise RuntimeError(
                "PIWSL: Hessian labels or pool have not been read; train with mace_run_train, or "
                "call piwsl_plugins.mace.data.prepare before training"
            )
        self._step: Step | None = None
        self._pool: Any = None

    def __enter__(self) -> TrainingCalls:
        self._handles = [
            self.model.register_forward_pre_hook(self._before, with_kwargs=True),
            self.model.register_forward_hook(self._after),
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self.loss.terms = ()

    def _before(
        self, model: torch.nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not keywords.get("training", False):
            return None
        batch: Batch = args[0]
        number, forces = self.number, self.loss.uses_forces
        self.number += 0 if self.one_step else 1
        self.loss.factor = weight_factor(self.settings.schedule, self.epoch, number)
        self.loss.terms = self.terms if self.loss.factor > 0.0 else ()
        self._step = self._pool = None
        if self.companions.pool is not None:
            # also in steps that do without it, so that the loader's workers go on
            pool = self.companions.pool.batch(number).to(batch["positions"].device)
            if self.loss.terms or self.loss.supervises_pool:
                self._pool = pool
        if self.loss.terms or self._pool is not None:
            pool = None if self._pool is None else self._pool.to_dict()
            seed = self.settings.run.seed or 0
            self._step = Step(
                self.host, self.loss.terms, batch, pool, seed, self.epoch, forces, self.join
            )
            batch, forces = self._step.inputs, self._step.forces
        batch = plain(batch)
        if forces:  # also with --compute_forces=False, where a term needs them
            return (batch, *args[1:]), keywords | {"compute_force": True}
        return (self.host.energies_alone(batch), *args[1:]), keywords | _NO_FORCES

    def _after(
        self, model: torch.nn.Module, args: tuple[Any, ...], output: dict[str, Any]
    ) -> dict[str, Any] | None:
        step, self._step = self._step, None
        if step is None:
            return None
        return step.finish(output) | ({} if self._pool is None else {POOL_LABELS: self._pool})


def train_one_epoch(run: Callable[[], None], arguments: dict[str, Any]) -> None:
    """Run MACE's ``train_one_epoch`` with PIWSL, and log the epoch's terms.

    Args:
        run: MACE's function with its arguments bound.
        arguments: these by name.
    """
    loss: PIWSLLoss = arguments["loss_fn"]
    epoch, loader = arguments["epoch"], arguments["data_loader"]
    if loss.watch is not None:
        loss.watch.epoch = epoch
    if loss.uses_forces and not loss.is_on:
        return run()
    one_step = isinstance(arguments["optimizer"], LBFGS)
    first_step = epoch if one_step else epoch * len(loader)
    companions = getattr(loader, "piwsl_companions", None)
    calls = TrainingCalls(arguments["model"], loss, epoch, first_step, companions, one_step)
    loaders = [loader, *([] if calls.companions.pool is None else [calls.companions.pool])]
    with calls, describing(loaders, calls.host.description, calls.host.lists, calls.terms):
        run()
    means = loss.log.statistics.take(reduce=is_ddp_enabled())
    if not means:
        return
    terms = [term for term in calls.terms if term.name in means]
    weights = loss.weights(weight_factor(loss.settings.schedule, epoch, step=0))
    loss.log.judge(means, weights, terms)
    if epoch % loss.eval_interval == 0:  # as MACE's own report
        logging.info(f"Epoch {epoch}: PIWSL: {describe(means, terms)}")
    if arguments["rank"] == 0:
        line: dict[str, Any] = {"mode": "piwsl", "epoch": epoch}
        line |= {f"{name}_loss": means[name] for name in ("base", "pool") if name in means}
        for term in terms:
            name = term.name
            line |= {name: means[name], f"{name}_weight": weights[name]}
            line[f"{name}_rms"] = means[f"{name}_rms"]
        arguments["logger"].log(line)
        if loss.wandb and epoch % loss.eval_interval == 0:
            to_wandb(line)


def to_wandb(line: dict[str, Any]) -> None:
    """Add the numbers of a line of the results file to what MACE logs to Weights & Biases next.

    MACE 0.3.16 (mace/tools/train.py) logs once in an epoch with a validation, after this.
    """
    import wandb

    numbers = {name: value for name, value in line.items() if name not in ("mode", "epoch")}
    wandb.log({f"piwsl/{name}": value for name, value in numbers.items()}, commit=False)


class Validation:
    """Watches the validations of a training, of all MACE's loaders (one for each head)."""

    def __init__(
        self,
        watch: ValidationWatch,
        heads: Any,
        n_loaders: int,
        logger: Any,
        wandb: bool = False,
    ) -> None:
        """
        Args:
            watch: what is looked at.
            heads: those whose structures carry terms, as for :class:`MACEHost`.
            n_loaders: number of MACE's validation loaders.
            logger: MACE's results file; None on ranks that do not write it.
            wandb: whether its lines go to Weights & Biases too.
        """
        self.epoch: int | None = None
        self._watch, self._heads, self._n_loaders = watch, heads, n_loaders
        self._logger, self._wandb = logger, wandb
        self._host: MACEHost | None = None
        self._evaluated = 0

    def stage(self, loss: PIWSLLoss) -> None:
        """Let warnings name the options of a stage."""
        self._watch.settings = loss.settings
        self._watch.option = partial(flag, stage_two=loss.is_stage_two)

    def add(self, model: torch.nn.Module, batch: Batch, output: dict[str, Any]) -> None:
        """Add a batch that the model has been called with; replay structures are left out."""
        if self._host is None or self._host.model is not model:
            self._host = MACEHost(model, self._heads)  # kept, for its neighbour lists
        self._watch.add(self._host, batch, output)

    def finish_loader(self) -> None:
        """Report once all loaders have been evaluated."""
        self._evaluated += 1
        if self._evaluated < self._n_loaders:
            return
        self._evaluated = 0
        found, warning = self._watch.take(_exchange_device() if is_ddp_enabled() else None)
        when = "Initial" if self.epoch is None else f"Epoch {self.epoch}"
        if str(found):
            logging.info(f"{when}: PIWSL: {found}")
        if warning:
            logging.warning(warning)
        # numbers alone: MACE 0.3.16 plots means of all columns, and fails at words
        line: dict[str, float] = {}
        if found.slope is not None:
            line |= {
                "force_slope": found.slope.value,
                "against_labels": int(found.slope.labelled),
            }
        if found.hessian_rms is not None:
            line["hessian_valid_rms"] = found.hessian_rms
        if line and self._logger is not None:
            self._logger.log({"mode": "piwsl_validation", "epoch": self.epoch, **line})
            if self._wandb and self.epoch is not None:  # MACE logs nothing of the initial one
                to_wandb(line)


def _exchange_device() -> torch.device:
    """Where ranks can exchange tensors: NCCL knows those of a GPU only."""
    nccl = torch.distributed.get_backend() == "nccl"
    return torch.device("cuda" if nccl else "cpu")


def train(run: Callable[[], None], arguments: dict[str, Any]) -> None:
    """Run MACE's ``train`` and watch its validations, in all stages that there is reason to.

    Args:
        run: MACE's function with its arguments bound.
        arguments: these by name.

    Raises:
        SystemExit: where MACE could not write a checkpoint because the disk is full.
    """
    loss, swa = arguments["loss_fn"], arguments["swa"]
    stages: list[PIWSLLoss] = [loss] if swa is None else [loss, swa.loss_fn]
    companions = getattr(arguments["train_loader"], "piwsl_companions", None) or Companions()
    labels, guarded = companions.valid_labels, loss.settings.run.softening_guard != "off"
    logger = arguments["logger"] if arguments["rank"] == 0 else None
    wandb = arguments["log_wandb"] and logger is not None
    validation = Validation(
        ValidationWatch(loss.settings, guarded, labels, loss.pretrained),
        loss.settings.mace.heads,
        len(arguments["valid_loaders"]),
        logger,
        wandb,
    )
    for stage in stages:
        stage.eval_interval, stage.wandb = arguments["eval_interval"], wandb
        watched = labels is not None or (guarded and weights_of(stage.settings))
        stage.watch = validation if watched else None
    check_first_energies(
        arguments["model"],
        arguments["train_loader"].dataset,
        companions.expected,
        arguments["device"],
        loss.uses_forces,
    )
    try:
        run()
    except (OSError, RuntimeError) as error:
        problem = full_disk(arguments["checkpoint_handler"].io.directory)
        if problem is None:
            raise
        raise SystemExit(problem) from error
    finally:
        for stage in stages:
            stage.watch = None


def evaluate(run: Callable[[], Evaluation], arguments: dict[str, Any]) -> Evaluation:
    """Run MACE's ``evaluate``, and watch the forces while the run is training.

    Without that and with energies as the base loss, forces are computed only where there are
    labels to compare them with, and not at all with ``--compute_forces=False``.

    Args:
        run: MACE's function with its arguments bound.
        arguments: these by name.
    """
    loss: PIWSLLoss = arguments["loss_fn"]
    model, watch = arguments["model"], loss.watch

    def before(
        model: torch.nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        wanted = watch is not None or (
            keywords["compute_force"] and bool(has_label(args[0], "forces").any())
        )
        return args, keywords | {"compute_force": wanted}

    def after(_: torch.nn.Module, args: tuple[Any, ...], output: dict[str, Tensor]) -> None:
        watch.add(getattr(model, "module", model), args[0], output)

    handles = []
    if watch is not None or not loss.uses_forces:
        handles.append(model.register_forward_pre_hook(before, with_kwargs=True))
    if watch is not None:
        watch.stage(loss)
        handles.append(model.register_forward_hook(after))
    try:
        result = run()
    finally:
        for handle in handles:
            handle.remove()
    if watch is not None:
        watch.finish_loader()
    return result
