"""The Hydra callback of ``nequip-train``: expands ``loss: piwsl`` and checks options early."""

from __future__ import annotations

import contextlib
import difflib
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from ..core.options import SettingsError
from . import config
from ._command_line import fail, user_error

_LOSS = "training_module.loss"


def register() -> None:
    """Add the callback to Hydra's own configuration, to which the user's is then added."""
    target = f"{__name__}.{ConfigCallback.__name__}"
    ConfigStore.instance().store(
        group="hydra",
        name="config",
        node=HydraConf(callbacks={"piwsl": {"_target_": target}}),
        provider="piwsl_plugins",
    )


class ConfigCallback(Callback):
    """Acts before NequIP sees the config; does nothing if the loss is another.

    Errors end the program at once: Hydra turns those of callbacks into warnings.
    """

    def on_run_start(self, config: DictConfig, **keywords: Any) -> None:
        """Expand the loss and check its options."""
        try:
            _expand_and_check(config)
        except SettingsError as error:
            fail(str(error))

    def on_multirun_start(self, config: DictConfig, **keywords: Any) -> None:
        """Refuse the form that cannot be expanded."""
        if OmegaConf.select(config, _LOSS) == "piwsl":
            fail(
                f"'{_LOSS}: piwsl' cannot be used with --multirun, whose runs read the config anew;"
                " write 'loss: ${piwsl:}' instead"
            )

    def on_job_start(self, config: DictConfig, **keywords: Any) -> None:
        """Let errors of the data name file and frame."""
        _explain_data_errors(config)


def _explain_data_errors(run_config: DictConfig) -> None:
    with contextlib.suppress(InterpolationResolutionError):
        if config.is_piwsl(OmegaConf.select(run_config, _LOSS)):
            from .data import explain_errors

            explain_errors()


def _resolved(loss: DictConfig) -> dict[str, Any]:
    """The arguments, with interpolations resolved where they can be before NequIP starts."""
    given = OmegaConf.to_container(loss)
    for name, value in given.items():
        if isinstance(value, str):
            # what stays as it is is of the kind of ${training_data_stats:…}
            with contextlib.suppress(OmegaConfBaseException):
                given[name] = loss[name]
    return given


def _expand_and_check(run_config: DictConfig) -> None:
    try:
        loss = OmegaConf.select(run_config, _LOSS)
    except InterpolationResolutionError as error:  # from the resolver ${piwsl:{…}}
        if user_error(error) is not None:
            fail(str(user_error(error)))
        return
    if isinstance(loss, str) and loss != "piwsl" and difflib.get_close_matches(loss, ["piwsl"]):
        fail(f"'{_LOSS}: {loss}': there is no such loss; did you mean 'piwsl'?")
    if loss == "piwsl":
        loss = config.expand()
        with read_write(run_config), open_dict(run_config):
            OmegaConf.update(run_config, _LOSS, loss)
    elif config.is_piwsl(loss):
        settings = config.check(_resolved(loss))
        if settings is not None:
            config.check_files(settings)
    problem = config.installation_problem() if config.is_piwsl(loss) else None
    if problem:
        fail(problem)
