"""Which tests run in both environments, and where those of the training step do: ``--device``."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_addoption(parser):
    text = "device of the models in piwsl_plugins.testing, as torch writes it; default: cpu"
    parser.addoption("--device", default="cpu", help=text)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.relative_to(HERE).parts[0] in ("mace", "nequip"):
            item.add_marker(pytest.mark.framework)
