"""The runs that a studio shows, by name. Requests name a run and never a path."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from wordorder.errors import BadInput, Refused
from wordorder.model import LanguageModel, TokenModel
from wordorder.text.corpus import Corpus
from wordorder.text.files import stamps_of
from wordorder.text.load import load_corpus
from wordorder.text.store import TokenStore
from wordorder.text.user_text import printable
from wordorder.training.run import Run
from wordorder.training.run_text import text_of

Measured = TypeVar("Measured")


def _shared_corpus(data: tuple[str, ...], **options: Any) -> Corpus:
    """Return a text, read once for all runs trained on it, and again if a file has changed."""
    held_out = (options.get(part, ()) for part in ("validation", "development"))
    written = tuple(str(stamps_of(name)) for name in chain(data, *held_out))
    return _corpus(data, written, **options)


@lru_cache(maxsize=2)
def _corpus(data: tuple[str, ...], written: tuple[str, ...], **options: Any) -> Corpus:
    return load_corpus(data, **options)


def check_utf8(path: Path) -> None:
    """Check that a page can name a path.

    Raises:
        BadInput: its name is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise BadInput(
            f"{printable(path)}: the studio needs names in UTF-8: rename the folder",
            code="studio.not-utf8",
        ) from None


class OpenRuns:
    """The runs given on the command line.

    Args:
        folders: run folders; each gets its name, or a longer part of its path if others share it.

    Attributes:
        computing: held by a request while it computes, since two at once on a few cores each take
            more than twice as long.
        measuring: held by a measurement of many seconds, so that only one runs at a time; other
            requests are answered meanwhile.

    Raises:
        BadInput: a folder is not a run, or its name is not UTF-8.
        Refused: a run has code of its own.
    """

    def __init__(self, folders: Sequence[str | Path]) -> None:
        self.computing, self.measuring = threading.Lock(), threading.Lock()
        self._loading, self._changing = threading.Lock(), threading.Lock()
        self._runs: dict[str, Run] = {}
        self._measured: dict[tuple[str, str], Any] = {}
        for folder in folders:
            self.add(folder)

    def add(self, folder: str | Path) -> str:
        """Open a run, and return its name."""
        try:
            run = Run.load(folder)
        except Refused:
            raise Refused(
                f"{folder} has a user-defined positional embedding, and the studio runs no code of "
                "a run: look at it with wordorder explain --trust",
                code="studio.own-code",
            ) from None
        own = run.folder.resolve()
        check_utf8(own)
        if self.name_of(own) is not None:
            raise BadInput(f"{folder} is given twice: leave one out", code="studio.run-given-twice")
        names = ("/".join(own.parts[-length:]) for length in range(1, len(own.parts) + 1))
        name = next(name for name in names if name not in self._runs)
        self._runs[name] = run
        return name

    def name_of(self, folder: Path) -> str | None:
        """Return the name of the run in a folder; None if it is not open."""
        own = folder.resolve()
        return next((name for name, run in self if run.folder.resolve() == own), None)

    def update(self, folder: Path) -> None:
        """Open a run, or open it again because its weights have changed."""
        with self._changing:  # several pages look for changes at once
            name = self.name_of(folder)
            if name is None:
                self.add(folder)
                return
            run = Run.load(folder)
            with self._loading:
                self._runs[name] = run
                known = self._measured.items()
                self._measured = {key: kept for key, kept in known if key[0] != name}

    def __iter__(self) -> Iterator[tuple[str, Run]]:
        return iter(list(self._runs.items()))  # others may be opened meanwhile

    def __len__(self) -> int:
        return len(self._runs)

    def run(self, name: str) -> Run:
        """Return the run of a name.

        Raises:
            BadInput: no run has it, or its folder is gone.
        """
        if name not in self._runs:
            known = ", ".join(self._runs) or "none: start it with wordorder studio RUN"
            raise BadInput(
                f"no run {name[:80]!r} is open in this studio; open runs: {known}",
                code="studio.no-such-run",
            )
        run = self._runs[name]
        if not run.folder.is_dir():
            raise BadInput(
                f"{name} was moved or deleted while it was open: open it again with wordorder "
                f"studio RUN, or put {run.folder} back",
                code="studio.run-gone",
            )
        return run

    def model(self, name: str) -> TokenModel:
        """Return the model of a run, loaded once.

        Raises:
            BadInput: its weights are gone.
        """
        with self._loading:
            try:
                return self.run(name).model
            except FileNotFoundError as error:
                raise BadInput(
                    f"{name} has lost a file while it was open: {error}",
                    code="studio.run-incomplete",
                ) from None

    def once(
        self, name: str, measurement: str, measure: Callable[[OpenRuns, str], Measured]
    ) -> Measured:
        """Return a measurement of a run, made at the first request and kept.

        One of weights that change meanwhile is returned and not kept.
        """
        key, run = (name, measurement), self._runs.get(name)
        known: dict[tuple[str, str], Measured] = self._measured
        if key in known:
            return known[key]
        result = measure(self, name)
        with self._loading:
            if self._runs.get(name) is run:
                self._measured[key] = result
        return result

    def text(self, name: str) -> tuple[str, TokenStore]:
        """Return the name and the tokens of a run's validation text, read once."""

        def read(runs: OpenRuns, name: str) -> tuple[str, TokenStore]:
            return text_of(runs.run(name), (), "text", load=_shared_corpus)

        return self.once(name, "text", read)

    def transformer(self, name: str) -> LanguageModel:
        """Return the model of a run.

        Raises:
            BadInput: it is a GRU, which has no attention.
        """
        model = self.model(name)
        if not isinstance(model, LanguageModel):
            raise BadInput(
                f"{name} is a GRU, which reads in order and has no attention to show: open a run "
                "of a transformer",
                code="studio.gru",
            )
        return model


def embedding_of(run: Run) -> str:
    """Return the embedding of a run; "" for a GRU, which has none."""
    config = run.model_config
    return config.position if config.kind == "transformer" else ""


def _opened(request: Request) -> OpenRuns:
    runs: OpenRuns = request.app.state.runs
    return runs


Runs = Annotated[OpenRuns, Depends(_opened)]
