"""What MACE's log, results file and Weights & Biases get of a training with PIWSL."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mace.modules.loss import is_ddp_enabled

from ..terms.found import POOL
from ..terms.training import Training
from .host import MACEHost
from .structures import Batch


class Reporting:
    """Lines of an epoch, and of the validations of all MACE's loaders (one for each head).

    Attributes:
        epoch: the present one; None before the first.
    """

    def __init__(
        self,
        heads: Sequence[str] | None = None,
        logger: Any = None,
        n_loaders: int = 1,
        eval_interval: int = 1,
        wandb: bool = False,
    ) -> None:
        """
        Args:
            heads: those whose structures carry terms, as for :class:`MACEHost`.
            logger: MACE's results file; None on ranks that do not write it.
            n_loaders: number of MACE's validation loaders.
            eval_interval: every so many epochs MACE reports, and so do we.
            wandb: whether lines of the results file go to Weights & Biases too.
        """
        self.epoch: int | None = None
        self._heads, self._logger, self._n_loaders = heads, logger, n_loaders
        self._eval_interval, self._wandb = eval_interval, wandb
        self._host: MACEHost | None = None
        self._n_validated = 0

    def begin_epoch(self, epoch: int) -> None:
        """Name this epoch from now on."""
        self.epoch = epoch

    def end_epoch(self, training: Training) -> None:
        """Report the means of an epoch; every rank must call it."""
        epoch = training.end_epoch(reduce=_several_ranks())
        if not epoch.means:
            return
        training.judge(epoch)
        is_due = self.epoch is not None and self.epoch % self._eval_interval == 0
        if is_due:
            logging.info(f"Epoch {self.epoch}: PIWSL: {epoch}")
        if self._logger is None:
            return
        means = epoch.means
        line: dict[str, Any] = {"mode": "piwsl", "epoch": self.epoch}
        line |= {f"{name}_loss": means[name] for name in ("base", POOL) if name in means}
        for name in (term.name for term in epoch.terms):
            line |= {name: means[name], f"{name}_weight": epoch.weights[name]}
            line[f"{name}_rms"] = means[f"{name}_rms"]
        self._logger.log(line)
        if self._wandb and is_due:
            _to_wandb(line)

    def add_validation(
        self, training: Training, model: torch.nn.Module, batch: Batch, output: dict[str, Any]
    ) -> None:
        """Add a batch that a model was validated with; replay structures are left out.

        Args:
            training: with a watch.
            model: the MACE model, not its DistributedDataParallel wrapper.
            batch: with labels.
            output: the model's, with forces.
        """
        assert training.watch is not None
        if self._host is None or self._host.model is not model:
            self._host = MACEHost(model, self._heads)  # kept, for its neighbour lists
        training.watch.add(self._host, batch, output)

    def end_loader(self, training: Training) -> None:
        """Report once all loaders have been evaluated; every rank must call it."""
        self._n_validated += 1
        if self._n_validated < self._n_loaders:
            return
        self._n_validated = 0
        found, warning = training.end_validation(_exchange_device() if _several_ranks() else None)
        when = "Initial" if self.epoch is None else f"Epoch {self.epoch}"
        if str(found):
            logging.info(f"{when}: PIWSL: {found}")
        if warning:
            logging.warning(warning)
        # numbers alone: MACE 0.3.16 plots means of all columns, and fails at words
        line: dict[str, Any] = {}
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
                _to_wandb(line)


def _to_wandb(line: dict[str, Any]) -> None:
    """Add the numbers of a line of the results file to what MACE logs to Weights & Biases next.

    MACE 0.3.16 (mace/tools/train.py) logs once in an epoch with a validation, after this.
    """
    import wandb

    numbers = {name: value for name, value in line.items() if name not in ("mode", "epoch")}
    wandb.log({f"piwsl/{name}": value for name, value in numbers.items()}, commit=False)


def _several_ranks() -> bool:
    """Whether MACE trains on several."""
    several: bool = is_ddp_enabled()
    return several


def _exchange_device() -> torch.device:
    """Where ranks can exchange tensors: NCCL knows those of a GPU only."""
    nccl = torch.distributed.get_backend() == "nccl"
    return torch.device("cuda" if nccl else "cpu")
