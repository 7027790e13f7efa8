"""What docstrings have of reStructuredText, for pages in Markdown."""

import re
from typing import Any

import griffe


class Markdown(griffe.Extension):
    """Roles become code, and the directive before a code block goes."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"\.\. code-block:: \w+\n\n", "", text)
