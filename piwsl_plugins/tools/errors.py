"""The two ways in which a command ends badly, and its exit code for each."""

from __future__ import annotations


class ToolError(Exception):
    """What a user reads instead of a traceback: one sentence with the file and the remedy."""

    exit_code: int


class InputError(ToolError):
    """A wrong call, or input that cannot be used."""

    exit_code = 2


class RunError(ToolError):
    """A run that failed on the way: a calculator, a worker process, a model."""

    exit_code = 1


def reason_of(error: BaseException) -> str:
    """Kind and words of any exception, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
