"""``python -m piwsl_plugins``: the same as ``piwsl``."""

import sys

from .tools.command import main

if __name__ == "__main__":
    sys.exit(main())
