"""The command ``piwsl``: its verbs, its help and its exit codes."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from ..errors import InputError, PIWSLError

#: each verb: the module beside this one whose ``main`` takes its arguments, and its line of help
VERBS = {
    "pool": ("pool.command", "structures to choose from, by molecular dynamics"),
    "select": ("select.command", "which of them to label, before any label exists"),
    "hessian": ("hessian.command", "Hessian labels of structures that you own"),
    "weak": ("weak.command", "labels of a cheap method plus a learned correction"),
    "report": ("report.command", "judge trained models side by side"),
    "configs": ("configs.command", "commented configs for mace_run_train and nequip-train"),
}
#: those whose ``--overwrite`` throws an unfinished run away
_RESUMED = ("pool", "hessian", "weak")
#: what a user may lack, and what installs it
_TOOLS = dict.fromkeys(
    ("ase", "featomic", "filelock", "jinja2", "matplotlib", "numpy", "scipy", "tqdm"),
    "piwsl-plugins[tools]",
)
_PACKAGES = {**_TOOLS, "distributed": "piwsl-plugins[cluster]", "mpi4py": "piwsl-plugins[cluster]"}

_HELP = """\
usage: piwsl VERB ...      (piwsl VERB --help: its options; piwsl --version)

{verbs}

Few and expensive labels? The way to a better potential:
  1. piwsl pool start.xyz --calculator GFN2-xTB --out pool.xyz
  2. piwsl select pool.xyz --n 20 --out chosen.xyz               label these with your method
  3. piwsl hessian --from_output job.fchk --out job.npz          Hessians, if you own some
  4. piwsl weak train.xyz pool.xyz --calculator GFN2-xTB \\
         --train "mace_run_train --config correction.yaml" --out weak.xyz
  5. mace_run_train --loss=piwsl --piwsl_hessian_file=job.npz --piwsl_pool_file=weak.xyz ...
     or, in the loss of a config of nequip-train,  hessian_file: job.npz  and  pool_file: weak.xyz
  6. piwsl report --model base=a.model --model piwsl=b.model --data test.xyz --out report\
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: of the command line; by default those of this process.

    Returns:
        the exit code: 0; 1 for a run that failed; 2 for a wrong call or input that cannot be used;
        130 after an interruption.
    """
    verb, *given = list(sys.argv[1:] if arguments is None else arguments) or [""]
    given = [_underscored(argument) for argument in given]
    if not verb:
        return _end(_help(), 2)
    try:
        _run(verb, given)
        _flush()
    except PIWSLError as error:
        return _end(f"piwsl {verb}: {_again(str(error), verb, given)}", error.exit_code)
    except KeyboardInterrupt:
        goes_on = "begins anew" if verb in ("select", "configs") else "goes on where it stopped"
        words = _again(f"interrupted; the same command {goes_on}", verb, given)
        return _end(f"\npiwsl {verb}: {words}", 130)
    except OSError as error:
        place = "" if error.filename is None else f"{error.filename}: "
        return _end(f"piwsl {verb}: {place}{error.strerror or error}", 1)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {*_PACKAGES, "torch"}:
            raise
        remedy = (
            "it comes with MACE and NequIP"
            if package == "torch"
            else f'pip install "{_PACKAGES[package]}"'
        )
        return _end(f"piwsl {verb}: {package} must be installed: {remedy}", 2)
    return 0


def _again(words: str, verb: str, given: Sequence[str]) -> str:
    """What is said of "the same command", where ``--overwrite`` would begin anew."""
    # argparse takes abbreviations
    overwrites = any(argument.startswith("--ov") for argument in given)
    if verb not in _RESUMED or not overwrites:
        return words
    return words.replace("the same command", "the same command without --overwrite")


def _run(verb: str, given: list[str]) -> None:
    if verb in ("-h", "--help"):
        print(_help())
    elif verb == "--version":
        from .. import __version__

        print(f"piwsl-plugins {__version__}")
    else:
        _module_of(verb).main(given)


def _module_of(verb: str) -> ModuleType:
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(VERBS)}"
        raise InputError(f"there is no such verb; {hint}")
    return importlib.import_module(f".{VERBS[verb][0]}", __package__)


def _underscored(argument: str) -> str:
    """An option as MACE writes it, ``--skip_failed``, where a user wrote ``--skip-failed``."""
    name, equals, value = argument.partition("=")
    return (
        name.replace("-", "_").replace("__", "--", 1) + equals + value
        if name[:2] == "--"
        else argument
    )


def _flush() -> None:
    """Write what was printed: at the end of the process it is too late to say that it failed."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            sys.stdout.close()
        raise


def _help() -> str:
    verbs = "\n".join(f"  {verb:<10}{line}" for verb, (_, line) in VERBS.items())
    return _HELP.format(verbs=verbs)


def _end(words: str, exit_code: int) -> int:
    print(words, file=sys.stderr)
    return exit_code
