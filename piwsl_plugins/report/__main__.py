"""``python -m piwsl_plugins.report``: the same as ``piwsl-report``."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
