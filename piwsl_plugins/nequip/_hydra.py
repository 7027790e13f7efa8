"""The Hydra callback of ``nequip-train``: expands ``loss: piwsl`` and checks options early."""

from __future__ import annotations

import contextlib
import difflib
import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ..errors import SettingsError
from . import _attachment, config
from ._errors import fail, user_error

_LOSS = "training_module.loss"


class ConfigCallback(Callback):
    """Acts before NequIP sees the config; if the loss is another, it takes itself back.

    Errors end the program at once: Hydra turns those of callbacks into warnings.
    """

    def on_run_start(self, config: DictConfig, **keywords: Any) -> None:
        """Expand the loss and check its options."""
        try:
            is_ours = _expand_and_check(config)
        except SettingsError as error:
            fail(str(error))
        if not is_ours:
            _leave(config)

    def on_multirun_start(self, config: DictConfig, **keywords: Any) -> None:
        """Refuse the form that cannot be expanded."""
        loss = _loss_of(config)
        if loss == "piwsl":
            fail(
                f"'{_LOSS}: piwsl' cannot be used with --multirun, whose runs read the config anew;"
                " write 'loss: ${piwsl:}' instead"
            )
        if not (_is_ours(loss) or _comes_later(config)):
            _leave(config)

    def on_job_start(self, config: DictConfig, **keywords: Any) -> None:
        """Let errors of the data name file and frame, and keep the loss for a restart."""
        _begin(config)


def _begin(run_config: DictConfig) -> None:
    loss = _loss_of(run_config)
    config.present = _resolved(loss) if config.is_piwsl(loss) else None
    if config.present is not None or (loss is None and _comes_later(run_config)):
        from .data import explain_errors

        explain_errors()


def _loss_of(run_config: DictConfig) -> Any:
    with contextlib.suppress(OmegaConfBaseException):
        return _selected(run_config)
    return None


def _selected(run_config: DictConfig) -> Any:
    loss = OmegaConf.select(run_config, _LOSS)
    return OmegaConf.create(loss) if isinstance(loss, dict) else loss  # a dict from our resolver


def _comes_later(run_config: DictConfig) -> bool:
    """Whether our resolver is given what is not known yet, as ``${training_data_stats:…}``."""
    module = OmegaConf.to_container(run_config, resolve=False).get("training_module") or {}
    return "${piwsl:" in str(module.get("loss"))


def _is_ours(loss: Any) -> bool:
    return loss == "piwsl" or config.is_piwsl(loss)


def _leave(run_config: DictConfig) -> None:
    """Give NequIP back what was replaced, and the config without our callback."""
    _attachment.detach()
    callbacks = OmegaConf.select(run_config, "hydra.callbacks")
    if callbacks is not None and _attachment.CALLBACK in callbacks:
        with read_write(callbacks), open_dict(callbacks):
            del callbacks[_attachment.CALLBACK]


def _resolved(loss: DictConfig) -> dict[str, Any]:
    """The arguments, with interpolations resolved where they can be before NequIP starts."""
    given: dict[str, Any] = dict(OmegaConf.to_container(loss))
    for name, value in given.items():
        if isinstance(value, str):
            # what stays as it is is of the kind of ${training_data_stats:…}
            with contextlib.suppress(OmegaConfBaseException):
                given[name] = loss[name]
    return given


def _expand_and_check(run_config: DictConfig) -> bool:
    """Whether the loss is ours, which is then expanded."""
    try:
        loss = _selected(run_config)
    except OmegaConfBaseException as error:  # from the resolver ${piwsl:{…}}
        if user_error(error) is not None:
            fail(str(user_error(error)))
        return _comes_later(run_config)
    _refuse_misspelt(loss)
    if not _is_ours(loss):
        return False
    if loss == "piwsl":
        with read_write(run_config), open_dict(run_config):
            OmegaConf.update(run_config, _LOSS, config.expand())
    else:
        settings = config.check(_resolved(loss))
        if settings is not None:
            # a folder that names ${hydra:…} is known only later, where the files are read
            with contextlib.suppress(OmegaConfBaseException):
                config.check_files(settings, _working_folder(run_config))
    problem = config.installation_problem()
    if problem:
        fail(problem)
    return True


def _refuse_misspelt(loss: Any) -> None:
    """Refuse other words for our loss, of which NequIP would say only that it knows none."""
    form = f"'{_LOSS}: piwsl' for the defaults, or '_target_: {config.TARGET}' with options"
    if isinstance(loss, str) and loss != "piwsl":
        near = difflib.get_close_matches(loss.lower(), ["piwsl"])
        hint = "did you mean 'piwsl'?" if near else f"for that of this package, write {form}"
        fail(f"'{_LOSS}: {loss}': there is no such loss; {hint}")
    target = str(loss.get("_target_")) if isinstance(loss, DictConfig) else ""
    package, _, rest = target.lower().partition(".")
    named = package in ("piwsl", config.TARGET.partition(".")[0])
    # Hydra takes no target without a module
    if (named or (not rest and "piwsl" in package)) and not config.is_piwsl(loss):
        fail(f"'{_LOSS}._target_: {target}': there is no such loss; write {form}")


def _working_folder(run_config: DictConfig) -> Path | None:
    """Where the run's relative paths begin, if not here; the folder may not exist yet."""
    if not OmegaConf.select(run_config, "hydra.job.chdir"):
        return None
    return Path(os.path.abspath(OmegaConf.select(run_config, "hydra.run.dir")))
