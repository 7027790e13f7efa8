"""The ``--piwsl_*`` options of ``mace_run_train``, generated from the settings."""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import SettingsError
from ..options.option import Group, option
from ..options.settings import ADVERSARIAL, GONE, Settings, default_text
from . import process
from .process import fail

#: the base loss that is ours
ENERGY = "energy"
_STAGE_TWO = "swa_"
_ENERGY_FREE_MODELS = ("AtomicDipolesMACE", "AtomicDielectricMACE")
_DATA: tuple[str, ...] = ("train_file", "valid_file", "test_file", "test_dir")
_DIPOLE_MODELS = ("EnergyDipolesMACE", "PolarMACE")
_BASE_LOSSES = (
    "weighted",
    "virials",
    "stress",
    "huber",
    "universal",
    "l1l2energyforces",
    "energy_forces_dipole",
)
_NO_ENERGY = "this loss has no energy, but PIWSL compares energies"


@dataclasses.dataclass(frozen=True)
class MaceOptions(Group):
    """What MACE alone has."""

    base_loss: str = option(
        "weighted",
        "The supervised MACE loss to which the PIWSL terms are added; it alone is used for "
        "validation, model selection and error tables.",
        kind=str,
        choices={name: f"MACE's --loss={name}" for name in _BASE_LOSSES}
        | {ENERGY: "squared errors of the energy per atom alone, for data without forces"},
        refused={
            "forces_only": f"{_NO_ENERGY}; use 'weighted' with a small --energy_weight",
            "dipole": _NO_ENERGY,
            "dipole_polar": _NO_ENERGY,
        },
    )
    swa_pitc_weight: float | None = option(
        None, "PITC weight in stage two.", derived="as in stage one", minimum=0.0
    )
    swa_pisc_weight: float | None = option(
        None, "PISC weight in stage two.", derived="as in stage one", minimum=0.0
    )
    swa_hessian_weight: float | None = option(
        None,
        "Weight of the Hessian labels in stage two.",
        derived="as in stage one",
        minimum=0.0,
    )
    heads: tuple[str, ...] | None = option(
        None,
        "Heads whose structures carry PIWSL terms, separated by commas; with Hessian labels it "
        "must be given if there are several, as these are of one method.",
        derived="every head but the replay head pt_head",
        kind=tuple,
    )


@dataclasses.dataclass(frozen=True)
class MaceSettings(Settings):
    """All options of ``mace_run_train``."""

    mace: MaceOptions = dataclasses.field(default_factory=MaceOptions)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hessian.hessian_file is None and self.mace.swa_hessian_weight:
            raise SettingsError(
                "swa_hessian_weight",
                self.mace.swa_hessian_weight,
                "there are no Hessian labels; name their file with hessian_file",
            )

    @property
    def has_pisc(self) -> bool:
        """Whether PISC has a weight in either stage."""
        return super().has_pisc or bool(self.mace.swa_pisc_weight)

    def stage_two(self) -> MaceSettings:
        """The settings of stage two: the same with stage two's weights."""
        given = {
            name.removeprefix(_STAGE_TWO): value
            for name, value in vars(self.mace).items()
            if name.startswith(_STAGE_TWO) and value is not None
        }
        return self.replace(**given)


def refuse(error: SettingsError) -> NoReturn:
    """:func:`fail` for a setting, with the name that it has on the command line."""
    fail(f"{flag(error.name)}={error.value}: {error.remedy}")


def destination(name: str) -> str:
    """The attribute of MACE's arguments that holds a setting."""
    stage = _STAGE_TWO if name.startswith(_STAGE_TWO) else ""
    return f"{stage}piwsl_{name.removeprefix(_STAGE_TWO)}"


def _flags(name: str) -> list[str]:
    flags = [f"--{destination(name)}"]
    if name.startswith(_STAGE_TWO):
        flags.append(flags[0].replace(f"--{_STAGE_TWO}", "--stage_two_"))
    return flags


def flag(name: str, stage_two: bool = False) -> str:
    """A setting as it is written on the command line, that of stage two if it has one."""
    of_stage_two = f"{_STAGE_TWO}{name}"
    own = stage_two and of_stage_two in MaceSettings.options()
    return _flags(of_stage_two if own else name)[0]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the loss ``piwsl`` and the PIWSL group to MACE's parser.

    Options that are not given are absent from the parsed arguments (``argparse.SUPPRESS``),
    so that with another loss they are what they are without this package; values stay the words
    that were given, and are checked by :func:`resolve`. A parser without ``--loss``, of another
    version of MACE, is left.
    """
    loss = parser._option_string_actions.get("--loss")
    if loss is None:
        return
    if loss.choices is not None and "piwsl" not in loss.choices:
        loss.choices = [*loss.choices, "piwsl"]
    group = parser.add_argument_group(
        "PIWSL (with --loss=piwsl)",
        "Physics-informed weakly supervised learning: terms at displaced structures (consistency, "
        "arXiv 2408.05215; Hessian labels) and a pool of structures, added to a supervised loss.",
    )
    for name, described in MaceSettings.options().items():
        values = "".join(f" {value}: {meaning}." for value, meaning in described.choices.items())
        unit = f" [{described.unit}]" if described.unit else ""
        # ConfigArgParse, which reads --config, gives lists only to options of several values
        several: dict[str, Any] = {"nargs": "+"} if described.kind is tuple else {}
        text = f"{described.help}{unit}{values} (default: {default_text(MaceSettings, name)})"
        group.add_argument(
            *_flags(name),
            dest=destination(name),
            default=argparse.SUPPRESS,
            **several,
            metavar="{" + ",".join(described.choices) + "}" if described.choices else None,
            help=text.replace("%", "%%"),
        )
    for name in GONE:
        group.add_argument(
            *_flags(name),
            dest=destination(name),
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )


def resolve(args: Namespace) -> list[tuple[str, int]]:
    """Check the PIWSL arguments at MACE's ``check_args`` and fill in those not given.

    With ``--loss=piwsl``, ``args.loss`` becomes the base loss, which MACE then follows for
    stress, virials, error tables and stage two, and ``args.piwsl`` becomes True. A wrong
    argument ends the program with exit status 2 and one message. Arguments resolved before are
    left.

    Returns:
        messages for MACE's log, ``(text, level)``.
    """
    if is_selected(args):
        return []
    given = {
        name: getattr(args, destination(name))
        for name in (*MaceSettings.options(), *GONE)
        if hasattr(args, destination(name))
    }
    process.deselect()
    loss = getattr(args, "loss", None)
    if loss != "piwsl":
        if given:
            fail(
                f"{', '.join(map(flag, given))} given, but --loss={loss}: "
                "add --loss=piwsl (with all weights 0 it trains exactly as its base loss), or "
                "remove the PIWSL options"
            )
        return []
    try:
        settings = MaceSettings.create({"seed": args.seed, **given})
        for name, described in settings.options().items():
            path = settings.values()[name] if described.is_file else None
            if path is not None and not Path(path).exists():
                raise SettingsError(name, path, "there is no such file")
    except SettingsError as error:
        refuse(error)
    _check_model(args, settings)
    if getattr(args, "lbfgs", False) and settings.consistency.displacement == ADVERSARIAL:
        fail(
            f"{flag('displacement')}={ADVERSARIAL}: --lbfgs searches along a line, where every "
            "evaluation needs the same displacements, but these follow the gradient at each; "
            f"choose {flag('displacement')}=atom_norm, or leave --lbfgs out"
        )
    heads = ast.literal_eval(args.heads) if args.heads else {}
    _check_heads(args, settings.mace.heads, list(heads))
    from .labels import read_by

    read = read_by(args, settings.mace.base_loss)
    keep = _compares_structures(args, settings)
    _check_files(args.foundation_model, _data_given(args, heads), read, keep)
    store(args, settings)
    process.select(read)
    args.piwsl = True
    args.loss = settings.mace.base_loss
    return [(f"PIWSL is on; its base loss is --loss={args.loss}", logging.INFO)]


def store(args: Namespace, settings: MaceSettings) -> None:
    """Keep settings in MACE's arguments, as plain values: MACE dumps them as JSON."""
    for name, value in settings.values().items():
        setattr(args, destination(name), list(value) if isinstance(value, tuple) else value)


def is_selected(args: Namespace | None) -> bool:
    """Whether this run was started with ``--loss=piwsl``."""
    return getattr(args, "piwsl", False)


def settings_of(args: Namespace) -> MaceSettings:
    """The settings that :func:`store` kept."""
    return MaceSettings.create(
        {name: getattr(args, destination(name)) for name in MaceSettings.options()}
    )


def _check_model(args: Namespace, settings: MaceSettings) -> None:
    if args.model in _ENERGY_FREE_MODELS:
        fail(f"--model={args.model} has no energy, which --loss=piwsl needs; choose MACE's --loss")
    if settings.mace.base_loss == "energy_forces_dipole" and args.model not in _DIPOLE_MODELS:
        fail(
            f"--piwsl_base_loss=energy_forces_dipole needs --model={' or '.join(_DIPOLE_MODELS)}, "
            f"not --model={args.model}"
        )
    check_forces(args, settings.mace.base_loss)


def check_forces(args: Namespace, base_loss: str) -> None:
    """End the run if a base loss lacks the forces that it needs."""
    if not getattr(args, "compute_forces", True) and base_loss != ENERGY:
        fail(
            f"--compute_forces=False: the base loss '{base_loss}' needs forces; for energies alone "
            f"choose --piwsl_base_loss={ENERGY} (without replay, for which MACE takes "
            "'universal'), else leave this option out"
        )


def _data_given(args: Namespace, heads: dict[str, Any]) -> list[dict[str, Any]]:
    """The arguments, for each head, that name data which MACE 0.3.16 (run_train.py) will read."""
    from .labels import replays

    names = ("train_file", "valid_file") if heads else _DATA
    names += ("pt_train_file", "pt_valid_file") if replays(args) else ()
    of_run = {name: getattr(args, name) for name in names}
    return [of_run | head for head in heads.values()] or [of_run]


def _check_files(
    foundation_model: str | None, given: list[dict[str, Any]], read: Sequence[str], keep: bool
) -> None:
    """Check a model, and data that is read in training; other data is checked where MACE reads it.

    Args:
        foundation_model: name or path of a model to begin with.
        given: arguments that name data, those of the run and of its heads.
        read: names of the labels that are used.
        keep: whether structures will be compared, for which all are kept.
    """
    from mace.tools.scripts_utils import check_path_ase_read

    from .files import HELD_OUT, TRAINING, check_foundation_model, data_files
    from .tables import check_lazy_file, kept

    if foundation_model is not None:
        check_foundation_model(foundation_model)
    kept()  # of a run before this one, which has not come to ask for it
    paths = [path for one in given for path in data_files(one, TRAINING + HELD_OUT)]
    with _before_maces_logger():
        for path in dict.fromkeys(paths):
            try:
                read_by_ase = check_path_ase_read(path)
            except RuntimeError as error:  # a folder without files of structures
                fail(f"{path}: {error}")
            if not read_by_ase:
                check_lazy_file(path, read, keep)


def _compares_structures(args: Namespace, settings: MaceSettings) -> bool:
    """Whether the data's structures will be looked for among those of labels or a pool."""
    from ..terms.term_table import weights_of

    stages = (settings, settings.stage_two()) if args.swa else (settings,)
    with_labels = settings.hessian.hessian_valid_file is not None or any(
        stage.hessian.hessian_weight for stage in stages
    )
    acts = settings.pool.pool_weight or any(map(weights_of, stages))
    return bool(with_labels or (settings.pool.pool_file is not None and acts))


@contextlib.contextmanager
def _before_maces_logger() -> Iterator[None]:
    """Call functions of MACE that log, before its ``setup_logger`` (mace/tools/utils.py, 0.3.16).

    A line that is logged without any handler gives the root logger one for good
    (``logging.basicConfig``), and the console would have every later line twice.
    """
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def check_batch_size(run: Callable[[], Any], given: dict[str, Any]) -> Any:
    """End the run if MACE would take no training step; else go on with its neighbour counts.

    MACE 0.3.16 (mace/cli/run_train.py) leaves out a batch that is not full, but for ``--lbfgs``,
    and ``get_avg_num_neighbors`` is the first that sees its loader.

    Args:
        run: MACE's function (mace/tools/scripts_utils.py) with its arguments bound.
        given: these by name.
    """
    loader = given["train_loader"]
    if len(loader) == 0:
        n, batch_size = len(loader.dataset), given["args"].batch_size
        fail(
            f"--batch_size={batch_size}: the training set has {n} structures, and MACE leaves out "
            f"a batch that is not full, so that nothing would be trained; allowed is at most {n}"
        )
    return run()


def _check_heads(args: Namespace, chosen: tuple[str, ...] | None, heads: list[str]) -> None:
    if chosen is None:
        return
    known = heads or ["Default"]
    if args.foundation_model is not None and "pt_head" not in known:
        known.append("pt_head")
    unknown = [name for name in chosen if name not in known]
    if unknown:
        fail(
            f"--piwsl_heads={','.join(chosen)}: there is no head {', '.join(unknown)}; "
            f"the heads of this run are {', '.join(known)}"
        )
