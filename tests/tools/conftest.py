import pytest

for package in ("ase", "matplotlib", "rich", "scipy", "jinja2"):
    pytest.importorskip(package, reason="needs piwsl-plugins[tools]")
