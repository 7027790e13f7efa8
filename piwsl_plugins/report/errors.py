"""The one error that bad input ends in."""

from __future__ import annotations


class ReportError(ValueError):
    """Input that cannot be used, in one sentence that names the file, the frame and the remedy."""
