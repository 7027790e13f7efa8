"""Curvature labels for a user's own structures: the command ``piwsl-curvature``."""
