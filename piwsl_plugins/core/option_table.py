"""The option table of the documentation: ``python -m piwsl_plugins.core.option_table``."""

from __future__ import annotations

from .settings import default_text, options


def markdown_table() -> str:
    """All options with default, unit, allowed values and meaning, as a Markdown table."""
    lines = [
        "| option | default | allowed | meaning |",
        "|---|---|---|---|",
    ]
    for name, option in options().items():
        allowed = "; ".join(f"`{value}`: {text}" for value, text in option.choices.items())
        only = f" *{option.hosts[0]} only.*" if len(option.hosts) == 1 else ""
        cells = (f"`{name}`", default_text(name), allowed or option.allowed, option.help + only)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown_table(), end="")
