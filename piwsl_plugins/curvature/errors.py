"""The one error that bad input ends in."""

from __future__ import annotations


class CurvatureError(ValueError):
    """Input that cannot be used, in one sentence that names the file or option and the remedy."""
