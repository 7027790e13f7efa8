"""MACE's or NequIP's own tests without and with this package, compared test by test.

    python tests/hosts/suites.py mace|nequip --python PYTHON --out FOLDER [--source CHECKOUT]
        [--tests "ARGUMENTS OF PYTEST"]

``PYTHON`` is the interpreter of an environment that has the host and pytest; this package is
removed from it, installed, and removed again. The tests are those of the host's source distribution
on the package index, of the installed version, or of a checkout. MACE's that train run once more
with ``--loss=piwsl``, their own loss as the base loss, and weights 0 (``with_piwsl.py``), against
the same reference numbers.

Writes ``<run>.xml`` (JUnit) and ``<run>.log`` for each run, and ``summary.md``; exit code 1 if an
outcome differs. Nothing but the standard library is needed here.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = {"mace": "mace-torch", "nequip": "nequip"}
VARIABLES = {"mace": "MACE_SOURCE", "nequip": "NEQUIP_SOURCE"}
#: names of the runs
WITHOUT, WITH, WITH_LOSS = "without", "with", "with --loss=piwsl"
#: files of MACE's tests that train through its command line
TRAINING = ("run_train", "calculator", "freeze", "multifiles", "embedding_train", "pseudolabels")


def run(command: list[str], log: Path | None = None, **keywords: object) -> int:
    """Its exit code; what it prints goes to a log."""
    if log is None:
        return subprocess.run(command, check=True, **keywords).returncode
    with log.open("w", encoding="utf-8") as file:
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, **keywords).returncode


def version_of(python: Path, distribution: str) -> str:
    """The installed version, or the end of this program."""
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{python}: {distribution} is not installed there")
    return done.stdout.strip()


def source_of(framework: str, python: Path, folder: Path) -> Path:
    """The source distribution of the installed version, unpacked, or the end of this program."""
    name = DISTRIBUTIONS[framework]
    version = version_of(python, name)
    options = ["--no-deps", "--no-binary", name, "--dest", folder, f"{name}=={version}"]
    found = run([python, "-m", "pip", "download", *options], folder / "download.log") == 0
    for archive in folder.glob("*.tar.gz") if found else ():
        shutil.unpack_archive(archive, folder)
        source = folder / archive.name.removesuffix(".tar.gz")
        if any(source.glob("tests/**/test_*.py")):
            return source
    sys.exit(
        f"the package index has no source distribution of {name} {version} with its tests; give a "
        f"checkout of this version: make host-tests {VARIABLES[framework]}=FOLDER"
    )


def outcomes(junit: Path) -> dict[str, str]:
    """What became of each test: passed, failed, error or skipped."""
    found = {}
    for case in ET.parse(junit).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        kind = next(iter(sorted(kinds)), "passed")
        found[f"{case.get('classname')}::{case.get('name')}"] = kind
    return found


def differences(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """Tests of the second run that ended otherwise in the first, or were not in it."""
    return [
        f"{name}: {first.get(name, 'not run')}, then {kind}"
        for name, kind in sorted(second.items())
        if first.get(name) != kind
    ]


def summary(versions: str, runs: dict[str, dict[str, str]]) -> tuple[str, bool]:
    """The table in Markdown, and whether all runs agree with the first."""
    lines = [versions, "", "| | passed | failed | error | skipped |", "|---|---|---|---|---|"]
    for name, found in runs.items():
        n = Counter(found.values())
        numbers = (n["passed"], n["failure"], n["error"], n["skipped"])
        lines.append(f"| {name} | " + " | ".join(map(str, numbers)) + " |")
    first, agree = next(iter(runs.values())), True
    for name, found in list(runs.items())[1:]:
        changed = differences(first, found)
        if len(found) < len(first) and name == WITH:
            changed += [f"{test}: not run" for test in sorted(first.keys() - found.keys())]
        agree = agree and not changed
        lines += ["", f"{name}, other than {WITHOUT}: {len(changed) or 'none'}"]
        lines += [f"- {change}" for change in changed]
    failed = [f"- {test}" for test, kind in sorted(first.items()) if kind in ("failure", "error")]
    lines += ["", f"Failed {WITHOUT} this package: {len(failed) or 'none'}", *failed]
    return "\n".join(lines) + "\n", agree


def main() -> int:
    """Run the suites and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("framework", choices=DISTRIBUTIONS)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--source", type=Path, help="a checkout; default: from the package index")
    parser.add_argument("--tests", default="tests", help="arguments of pytest; default: all tests")
    options = parser.parse_args()
    # not resolved: the interpreter of a virtual environment is a link
    python, out = options.python.absolute(), options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    source = options.source or source_of(options.framework, python, out)
    if not (source / "tests").is_dir():
        parser.error(f"--source {source}: there is no folder tests in it")
    tests = shlex.split(options.tests)
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    # NequIP's documentation asks for the first (pytest-dev/pytest issue 1075)
    environment = os.environ | {"PATH": path, "PYTHONHASHSEED": "0", "MPLBACKEND": "Agg"}
    uninstall = [str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "piwsl-plugins"]
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(ROOT)]
    runs = {}

    def pytest(name: str, *more: str, **variables: str) -> None:
        junit = out / f"{name.replace(' ', '_')}.xml"
        junit.unlink(missing_ok=True)
        # the program, not python -m pytest: that would import the checkout in place of the host
        command = [str(python.with_name("pytest")), *tests, *more, f"--junitxml={junit}"]
        command += ["-q", "--timeout=1800", "-p", "no:cacheprovider"]
        print(f"{options.framework}: its tests, {name} …", flush=True)
        run(command, junit.with_suffix(".log"), cwd=source, env=environment | variables)
        if not junit.is_file():
            sys.exit(f"pytest has not run; see {junit.with_suffix('.log')}")
        runs[name] = outcomes(junit)

    run(uninstall)
    pytest(WITHOUT)
    run(install)
    try:
        pytest(WITH)
        if options.framework == "mace":
            plugin = ("-p", "with_piwsl", "-k", " or ".join(TRAINING))
            pytest(WITH_LOSS, *plugin, PYTHONPATH=str(Path(__file__).parent))
    finally:
        run(uninstall)
    versions = ", ".join(
        f"{name} {version_of(python, name)}" for name in (DISTRIBUTIONS[options.framework], "torch")
    )
    text, agree = summary(versions, runs)
    (out / "summary.md").write_text(text, encoding="utf-8")
    print(text)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
