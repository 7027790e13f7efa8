"""Which tests run in both environments: those in which a framework takes part."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.relative_to(HERE).parts[0] in ("mace", "nequip"):
            item.add_marker(pytest.mark.framework)
