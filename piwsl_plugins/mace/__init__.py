"""The adapter for MACE (mace-torch); see :mod:`piwsl_plugins.mace.hooks` for how it attaches."""
