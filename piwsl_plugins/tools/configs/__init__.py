"""The commented configs of both frameworks, listed and copied: ``piwsl configs``."""
