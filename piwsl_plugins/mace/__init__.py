"""The adapter for MACE (mace-torch); :mod:`piwsl_plugins.mace._hooks` is how it attaches."""
