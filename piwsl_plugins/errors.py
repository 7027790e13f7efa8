"""What a user reads instead of a traceback: one sentence that names the cause and the remedy."""

from __future__ import annotations


class PIWSLError(Exception):
    """Base of all errors that a user can mend.

    Attributes:
        exit_code: of a command that ends with it.
    """

    exit_code: int


class InputError(PIWSLError):
    """A wrong call, or data that cannot be used."""

    exit_code = 2


class RunError(PIWSLError):
    """A run that failed on the way: a calculator, a worker process, a model."""

    exit_code = 1


class SettingsError(InputError, ValueError):
    """An option that cannot be used; names the option, its value and the remedy."""

    def __init__(self, name: str, value: object, remedy: str) -> None:
        super().__init__(f"PIWSL option '{name}' = {value!r}: {remedy}")
        self.name = name
        self.value = value
        self.remedy = remedy


def reason_of(error: BaseException) -> str:
    """Kind and words of any exception, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
