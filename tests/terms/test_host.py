"""The third framework passes the conformance suite: a new one is a small folder."""

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from piwsl_plugins.testing import HostConformance

from . import pair_potential
from .pair_framework import PairFramework


class TestPairPotential(HostConformance):
    @pytest.fixture
    def small_model(self):
        return PairFramework()


def test_the_third_framework_is_small():
    lines = Path(pair_potential.__file__).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
