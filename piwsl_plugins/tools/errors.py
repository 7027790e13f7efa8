"""The errors of the commands, see :mod:`piwsl_plugins.errors`."""

from ..errors import InputError, PIWSLError, RunError, reason_of

ToolError = PIWSLError

__all__ = ["InputError", "RunError", "ToolError", "reason_of"]
