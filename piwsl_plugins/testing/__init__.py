"""What a framework must do, as tests that its own package inherits: needs pytest, ASE and torch.

Subclass :class:`HostConformance` in a module of tests, and give the fixture ``small_model``::

    from piwsl_plugins.testing import HostConformance


    class TestMyFramework(HostConformance):
        @pytest.fixture
        def small_model(self):
            return MyFramework()  # as the protocol Framework says

Nothing else of the package imports this, or pytest.
"""

import pytest

# so that a failed assertion shows its values; pytest does this for modules of tests alone
pytest.register_assert_rewrite(
    f"{__name__}.agreement", f"{__name__}.batches", f"{__name__}.physics"
)

from .conformance import HostConformance  # noqa: E402
from .framework import Framework  # noqa: E402

__all__ = ["Framework", "HostConformance"]
