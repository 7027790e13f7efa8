"""PIWSL (physics-informed weakly supervised learning) for MACE and NequIP training."""

__version__ = "0.1.0"
