"""Arguments of ``piwsl configs``."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """\
examples:
  piwsl configs                                   all of them, with a line on each
  piwsl configs mace/weak                         ./weak.yaml
  piwsl configs nequip/hessian --out mine.yaml

In a copy, put your files in the place of data/..., which only a checkout has. Which override other
elements need is in the config itself.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog="piwsl configs",
        description="List the commented configs for mace_run_train --config and nequip-train, or "
        "copy one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="of one to copy, as in mace/weak (default: list)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="to write (default: its own name in this folder)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    return parser
