"""``piwsl report``: judge trained potentials side by side, from any ASE calculator."""
