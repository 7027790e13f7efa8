"""The Hydra callback of ``nequip-train``: expands ``loss: piwsl`` and checks options early."""

from __future__ import annotations

import contextlib
import sys
from typing import Any, NoReturn

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from ..core.settings import SettingsError
from . import config

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


def fail(message: str) -> NoReturn:
    """End the program with one message; Hydra turns other exceptions into warnings."""
    print(f"nequip-train: error: {message}", file=sys.stderr)
    raise SystemExit(2)


class ConfigCallback(Callback):
    """Acts before NequIP sees the config; does nothing if the loss is another."""

    def on_run_start(self, config: DictConfig, **keywords: Any) -> None:
        _expand_and_check(config)

    def on_multirun_start(self, config: DictConfig, **keywords: Any) -> None:
        if OmegaConf.select(config, _LOSS) == "piwsl":
            fail(
                f"'{_LOSS}: piwsl' cannot be used with --multirun, whose runs read the config anew;"
                " write 'loss: ${piwsl:}' instead"
            )


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
        if loss == "piwsl":
            loss = config.expand()
            with read_write(run_config), open_dict(run_config):
                OmegaConf.update(run_config, _LOSS, loss)
        elif config.is_piwsl(loss):
            settings = config.check(_resolved(loss))
            if settings is not None:
                config.check_files(settings)
    except SettingsError as error:
        fail(str(error))
    except InterpolationResolutionError as error:
        cause: BaseException | None = error  # from the resolver ${piwsl:{…}}
        while cause is not None and not isinstance(cause, SettingsError):
            cause = cause.__context__
        if cause is None:
            return
        fail(str(cause))
    problem = config.installation_problem() if config.is_piwsl(loss) else None
    if problem:
        fail(problem)
