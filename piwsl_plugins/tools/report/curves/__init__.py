"""``piwsl report training``: the curves of trainings, overlaid."""
