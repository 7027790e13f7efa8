"""``piwsl-report``: judge trained potentials side by side, from any ASE calculator.

Nothing is imported until a command runs; the command line is in :mod:`.command`.
"""
