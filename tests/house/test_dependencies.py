"""What each room imports is declared in pyproject.toml, and what is declared is imported."""

import ast
import functools
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "piwsl_plugins"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

#: of each room: the extras that it is of, and what it imports beside them where the user has it
ROOMS = {
    "frames": ((), set()),
    "labels": ((), set()),
    "options": ((), set()),
    "terms": ((), {"torch"}),
    "testing": ((), {"torch", "pytest"}),
    "mace": (("mace",), {"wandb"}),
    "nequip": (("nequip",), set()),
    # models of both frameworks, calculators and other programs are the user's choice
    "tools": (
        ("tools", "cluster"),
        {"torch", "mace-torch", "nequip", "tblite", "phonopy", "phono3py", "torch-geometric"},
    ),
}
#: they bring what their own interface is made of: torch, Hydra, Lightning, SOAP's tensors
BRINGING = {"mace-torch", "nequip", "featomic"}
BLOCKED = """
import importlib, json, sys
refused, modules = json.load(sys.stdin)
class Only:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{name} is not declared", name=name)
sys.meta_path.insert(0, Only())
for module in modules:
    importlib.import_module(module)
"""


def canonical(requirement):
    """The name of the distribution."""
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def declared(extras):
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return {canonical(line) for line in lines}


def closure(names):
    """These distributions and all that they need, as far as they are installed."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needed = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [canonical(line) for line in needed if "extra ==" not in line]
    return found


@functools.cache
def installed():
    """The distributions of each top-level module."""
    return importlib.metadata.packages_distributions()


def modules_of(distributions):
    """The top-level modules that distributions install."""
    table = installed()
    return {m for m, of in table.items() if {canonical(d) for d in of} & distributions}


def names_of(distributions):
    """By which they are imported; one that is not installed by its own name."""
    named = {"mace-torch": "mace"}
    own = {named.get(name, name.replace("-", "_")) for name in distributions}
    return own | modules_of(distributions)


def files(room):
    """The modules of a room; those beside the rooms belong to all of them, but for one."""
    beside = {*PACKAGE.glob("*.py")}
    door = PACKAGE / "functional.py"  # of the terms
    if room is None:
        return sorted(beside - {door})
    found = [*(PACKAGE / room).rglob("*.py"), *([door] if room == "terms" else [])]
    assert found
    return found


def imported(paths):
    """What they import at any place, by top-level name, without the standard library and us."""
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module)
    names = {name.partition(".")[0] for name in names}
    return names - set(sys.stdlib_module_names) - {"piwsl_plugins"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_is_declared_for_it(room):
    extras, chosen = ROOMS[room]
    for framework in {"mace", "nequip"} & {*extras}:
        pytest.importorskip(framework)
    direct = declared(extras) | chosen
    known = names_of(direct) | modules_of(closure(direct & BRINGING))
    assert not imported(files(room)) - known


def test_what_lies_beside_the_rooms_needs_no_extra():
    assert imported(files(None)) <= names_of(declared(()))


def test_nothing_is_declared_that_nobody_imports():
    everywhere = imported([path for room in (None, *ROOMS) for path in files(room)])
    for extras in ((), ("tools",), ("cluster",)):
        for name in declared(extras):
            assert names_of({name}) & everywhere, f"{name} is declared, and imported nowhere"


@pytest.mark.parametrize("room", ["frames", "labels", "options", "terms"])
def test_a_room_works_with_nothing_else_installed(room):
    """All its modules are imported in an interpreter that refuses every other distribution."""
    extras, chosen = ROOMS[room]
    allowed = modules_of(closure(declared(extras) | chosen))
    refused = {*installed()} - allowed - {"piwsl_plugins"}
    assert {"pytest", "matplotlib"} & refused
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in [*files(None), *files(room)]
        if path.stem not in ("__init__", "__main__")
    ]
    given = json.dumps([sorted(refused), modules])
    command = [sys.executable, "-c", BLOCKED]
    done = subprocess.run(command, input=given, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_types_travel_with_the_package():
    assert (PACKAGE / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]
