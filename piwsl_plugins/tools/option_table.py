"""The option table of the documentation: ``python -m piwsl_plugins.tools.option_table``."""

from __future__ import annotations

from ..core.settings import Settings, default_text
from ..mace.arguments import MaceSettings


def markdown_table() -> str:
    """All options with default, unit, allowed values and meaning, as a Markdown table."""
    lines = ["| option | default | allowed | meaning |", "|---|---|---|---|"]
    everywhere = Settings.options()
    for name, option in MaceSettings.options().items():
        allowed = "; ".join(f"`{value}`: {text}" for value, text in option.choices.items())
        only = "" if name in everywhere else " *MACE only.*"
        default = default_text(MaceSettings, name)
        cells = (f"`{name}`", default, allowed or option.allowed, option.help + only)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown_table(), end="")
