"""A name has one meaning: modules that share theirs have one role, classes share none."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "piwsl_plugins"
#: of every verb, or of both frameworks
ROLES = {
    "__init__", "__main__", "arguments", "command", "settings", "summary", "figure", "output",
    "run", "pool", "labels", "data", "training", "loss", "host", "structures", "first_energies",
}  # fmt: skip


def modules():
    """All but those of the report, which are looked at there."""
    tools = PACKAGE / "tools"
    paths = [path for path in PACKAGE.rglob("*.py") if tools / "report" not in path.parents]
    return paths


def of_the_tools(paths):
    return [path for path in paths if PACKAGE / "tools" in path.parents]


def test_modules_of_the_tools_share_names_only_for_a_role():
    places = defaultdict(list)
    for path in modules():
        places[path.stem].append(path)
    for name, paths in places.items():
        assert name in ROLES or len(paths) == 1 or not of_the_tools(paths), paths


def test_classes_of_the_tools_share_no_name():
    places = defaultdict(list)
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    for name, paths in places.items():
        assert len(paths) == 1 or not of_the_tools(paths), (name, paths)
