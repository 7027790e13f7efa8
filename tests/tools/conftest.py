import pytest

for package in ("ase", "matplotlib", "scipy", "jinja2"):
    pytest.importorskip(package, reason="needs piwsl-plugins[tools]")
