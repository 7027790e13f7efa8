"""The physics of PIWSL and its options, of no framework: on torch, NumPy, SciPy and ASE."""
