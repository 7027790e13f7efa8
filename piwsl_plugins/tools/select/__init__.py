"""The verb ``piwsl select``: which structures to label, before any label exists."""
