"""A griffe extension: brackets in docstrings are text (`hf:NAME[:CONFIG][:SPLIT]`), not links."""

from __future__ import annotations

from typing import Any

import griffe


class Brackets(griffe.Extension):
    """Escapes `][`, which Markdown would read as a reference to a link."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Escape the docstring of an object when it is loaded."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("][", "]\\[")
