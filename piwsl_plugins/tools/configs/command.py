"""The command ``piwsl configs``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import InputError
from ..outputs import alone, check_file, check_new
from .arguments import build_parser
from .shipped import bundled_files, find, first_sentence, read_configs


def main(given: list[str]) -> None:
    """Run the command with its arguments."""
    options = build_parser().parse_args(given)
    configs = read_configs()
    if options.name is None:
        if options.out is not None or options.overwrite:
            raise InputError("--out and --overwrite are for copying: give the NAME of a config")
        print(_listed(configs))
        return
    name = find(options.name, configs)
    out = options.out or Path(f"{name.partition('/')[2]}.yaml")
    check_file(out)
    check_new(out, options.overwrite)
    with alone(out):
        out.write_text(configs[name], encoding="utf-8")
    print(_summary(name, out, configs[name]))


def _listed(configs: Mapping[str, str]) -> str:
    width = max(map(len, configs)) + 2
    lines = [f"{name:<{width}}{first_sentence(text)}" for name, text in configs.items()]
    return "\n".join([*lines, "", "Copy one: piwsl configs NAME [--out FILE]"])


def _summary(name: str, out: Path, text: str) -> str:
    command = "nequip-train" if "training_module:" in text else "mace_run_train --config"
    if name.endswith("/correction"):  # its files are replaced
        return f'{out}: the config {name}; piwsl weak … --train "{command} {out}" adds the files'
    lines = [f"{out}: the config {name}; train with: {command} {out}"]
    absent = [file for file in bundled_files(text) if not Path(file).exists()]
    if absent:
        lines.append(f"put your files in the place of {', '.join(absent)}")
    return "\n".join(lines)
