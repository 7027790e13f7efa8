"""``piwsl pool``: structures for a pool, by molecular dynamics from given frames."""
