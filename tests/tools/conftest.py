import pytest

for package in ("ase", "matplotlib", "pandas", "scipy", "jinja2"):
    pytest.importorskip(package, reason="needs piwsl-plugins[tools]")
