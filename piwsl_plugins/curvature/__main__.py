"""``python -m piwsl_plugins.curvature``: the same as ``piwsl-curvature``."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
