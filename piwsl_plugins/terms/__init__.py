"""The physics of PIWSL in a training, of no framework: on torch, NumPy, SciPy and ASE."""
