"""Loading models as ASE calculators: MACE files, NequIP files, or a factory of the user's."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import ReportError
from .models import Model, ModelSource
from .settings import ReportSettings

#: file name endings of NequIP models: compiled, and those loaded eagerly
NEQUIP_COMPILED = (".nequip.pt2", ".nequip.pth")
NEQUIP_SAVED = (".nequip.zip", ".ckpt")


def parse(text: str, heads: Mapping[str, str] | None = None) -> ModelSource:
    """``NAME=PATH`` or ``NAME=module:factory`` as a :class:`ModelSource`.

    Raises:
        ReportError: for another form, an unknown file ending or a file that does not exist.
    """
    name, equals, source = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name) or not source:
        raise ReportError(
            f"--model {text!r}: write NAME=PATH or NAME=module:factory, the name made of letters, "
            "digits, '.', '_', '+' and '-'"
        )
    head = (heads or {}).get(name)
    if not Path(source).exists() and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", source):
        if "" not in sys.path and os.getcwd() not in sys.path:
            # as `python -m` does: factories lie next to where the command is run
            sys.path.insert(0, os.getcwd())
        return ModelSource(name, source, "factory", head)
    endings = {
        "mace": (".model",),
        "nequip-compiled": NEQUIP_COMPILED,
        "nequip-saved": NEQUIP_SAVED,
    }
    for kind, known in endings.items():
        if source.endswith(known):
            if not Path(source).is_file():
                raise ReportError(f"model '{name}': there is no file {source}")
            return ModelSource(name, source, kind, head)
    allowed = ", ".join(ending for known in endings.values() for ending in known)
    raise ReportError(
        f"model '{name}': what {source} is cannot be told from its name; files end in {allowed}, "
        "and module:factory names a function without arguments that returns an ASE calculator"
    )


def load(source: ModelSource, settings: ReportSettings, elements: Sequence[int]) -> Model:
    """Load a model on ``settings.device``.

    Args:
        source: what to load.
        settings: ``device`` and ``dtype`` are used.
        elements: atomic numbers of the data; each must be known to a MACE model.

    Raises:
        ReportError: if the framework is not installed, cannot read the file or does not know an
            element.
    """
    from ase.calculators.calculator import BaseCalculator

    loaders = {
        "mace": _load_mace,
        "nequip-compiled": _load_nequip,
        "nequip-saved": _load_nequip,
        "factory": _load_factory,
    }
    try:
        with _quiet():
            calculator = loaders[source.kind](source, settings)
    except ReportError:
        raise
    except Exception as error:
        raise ReportError(
            f"model '{source.name}': {source.source} cannot be loaded "
            f"({type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''})"
        ) from error
    if not isinstance(calculator, BaseCalculator):
        raise ReportError(f"model '{source.name}': {source.source} gave no ASE calculator")
    table = getattr(calculator, "z_table", None)
    if source.kind == "mace" and table is not None:
        unknown = sorted(set(int(z) for z in elements) - set(table.zs))
        if unknown:
            from ase.data import chemical_symbols

            names = ", ".join(chemical_symbols[z] for z in unknown)
            raise ReportError(
                f"model '{source.name}' ({source.source}) was not trained on the element(s) "
                f"{names}, which the data holds"
            )
    return Model(source, calculator)


def _load_mace(source: ModelSource, settings: ReportSettings) -> Any:
    _require("mace", "mace", source)
    import torch
    from mace.calculators import MACECalculator

    # MACE files are whole pickled models
    model = torch.load(source.source, map_location=settings.device, weights_only=False)
    heads = getattr(model, "heads", None) or ["Default"]
    if source.head is not None and source.head not in heads:
        raise ReportError(
            f"model '{source.name}' has no head '{source.head}'; it has {', '.join(heads)}"
        )
    if source.head is None and len(heads) > 1 and "default" not in map(str.lower, heads):
        raise ReportError(
            f"model '{source.name}' has the heads {', '.join(heads)}: choose with "
            f"--head {source.name}=HEAD"
        )
    head: dict[str, Any] = {} if source.head is None else {"head": source.head}
    return MACECalculator(
        models=[model],
        device=settings.device,
        default_dtype="" if settings.dtype == "model" else settings.dtype,
        **head,
    )


def _load_nequip(source: ModelSource, settings: ReportSettings) -> Any:
    _require("nequip", "nequip", source)
    from nequip.integrations.ase import NequIPCalculator

    if source.kind == "nequip-compiled":
        return NequIPCalculator.from_compiled_model(source.source, device=settings.device)
    return NequIPCalculator._from_saved_model(source.source, device=settings.device)


def _load_factory(source: ModelSource, settings: ReportSettings) -> Any:
    module, _, attribute = source.source.partition(":")
    factory: Any = importlib.import_module(module)
    for part in attribute.split("."):
        factory = getattr(factory, part)
    return factory()


def _require(module: str, extra: str, source: ModelSource) -> None:
    if importlib.util.find_spec(module) is None:
        raise ReportError(
            f"model '{source.name}': {source.source} needs {module}, which this environment does "
            f'not have; run the report of this model where "piwsl-plugins[{extra},report]" is '
            "installed, and join the two with `piwsl-report merge`"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the frameworks' notes on standard output, in logs and warnings off the terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
