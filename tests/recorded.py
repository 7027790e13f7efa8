"""Which calls a test has caused."""

from typing import Any

import pytest


def calls_of(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[tuple[Any, ...]]:
    """The arguments of every call of a function in this process, from now on."""
    function, calls = getattr(owner, name), []

    def recorded(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    monkeypatch.setattr(owner, name, recorded)
    return calls
