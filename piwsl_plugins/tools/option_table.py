"""The option table of the documentation: ``python -m piwsl_plugins.tools.option_table``."""

from __future__ import annotations

from ..mace.arguments import MaceSettings
from ..nequip.settings import NequIPSettings
from ..options.settings import Settings, default_text


def markdown_table() -> str:
    """All options with default, unit, allowed values and meaning, as a Markdown table."""
    lines = ["| option | default | allowed | meaning |", "|---|---|---|---|"]
    everywhere = Settings.options()
    for settings, host in ((Settings, ""), (MaceSettings, "MACE"), (NequIPSettings, "NequIP")):
        for name, option in settings.options().items():
            if host and name in everywhere:
                continue
            allowed = "; ".join(f"`{value}`: {text}" for value, text in option.choices.items())
            only = f" *{host} only.*" if host else ""
            default = default_text(settings, name)
            cells = (f"`{name}`", default, allowed or option.allowed, option.help + only)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown_table(), end="")
