"""Progress events of an extension."""

from __future__ import annotations

from wordorder.extension.method_search import MethodResult, StreamingResult
from wordorder.training.display import Display


class ExtensionDisplay:
    """Receives progress and intermediate results of an extension; this one shows nothing."""

    training: Display = Display()

    def say(self, line: str) -> None: ...
    def progress(self, share: float, what: str) -> None: ...
    def tried(
        self,
        tried: list[MethodResult],
        streamed: list[StreamingResult],
        old: int,
        new: int,
        chosen_on: str,
    ) -> None: ...
