"""``piwsl weak``: labels of a cheap method plus a learned correction, for a pool of structures."""
