"""The suite that a framework inherits."""

from __future__ import annotations

import pytest

from .agreement import Agreement
from .batches import Batching
from .framework import Framework, OnDevice
from .physics import Physics


class HostConformance(Agreement, Batching, Physics):
    """Tests of a framework's host; subclasses give the fixture ``small_model``.

    What is compared with the slow reference is on ``device``; the reference stays on the CPU.
    """

    @pytest.fixture
    def small_model(self) -> Framework:
        """The framework, with a model that tests leave as it is."""
        raise pytest.UsageError("give the fixture small_model, a piwsl_plugins.testing.Framework")

    @pytest.fixture
    def device(self, request: pytest.FixtureRequest) -> str:
        """As torch writes it: that of the option ``--device`` if there is one, or the CPU."""
        return request.config.getoption("--device", default=None) or "cpu"

    @pytest.fixture
    def framework(self, small_model: Framework, device: str) -> Framework:
        """The same with its model on the device."""
        return small_model if device == "cpu" else OnDevice(small_model, device)
