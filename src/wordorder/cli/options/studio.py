"""The options of `wordorder studio`. Imports no torch, so that --help is fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from annotated_types import Interval

from wordorder.cli.arguments import parse
from wordorder.settings import PathName


@dataclass(frozen=True)
class StudioOptions:
    """Open a page that shows how order enters a model.

    Needs the extra wordorder[studio]. The page is served on this machine alone; Ctrl-C ends it.

    Args:
        runs: run folders that `wordorder train` wrote, and folders of `wordorder compare`;
            without any, the page shows models with random weights.
        host: serve at this address instead of 127.0.0.1, also to other machines; the printed URL
            then has a token, without which every request is refused.
        port: 0: the first free one from 8321 on.
        browser: open the page in a browser.
        folder: where runs that are started from the page are written, and found again.
    """

    runs: Annotated[
        tuple[PathName, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN ...]")
    ] = ()
    host: str = ""
    port: Annotated[int, Interval(ge=0, le=65535)] = 0
    browser: bool = True
    folder: PathName = "runs"


def read_options(arguments: list[str]) -> StudioOptions:
    """Parse the arguments; --help prints the help and exits."""
    return parse(StudioOptions, arguments, command="wordorder studio")
