"""The options of `wordorder claims`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.settings import Duration, Positive, Repetitions


@dataclass(frozen=True)
class ClaimsOptions:
    """Try statements about positional embeddings: the article's, and the literature's.

    Each has a criterion that was fixed before it was run, and comes out as holds, direction
    only (the effect has the claimed sign, and misses the threshold), does not hold, undecided
    (the interval contains the threshold), or not testable at this size (the experiment could not
    have told, and what would be needed). Asked again, it goes on: what was trained is reused.

    Args:
        only: claims by name, or article or literature; by default all.
        budget: only those that fit in this much time, such as 10m, in order.
        list: say which claims there are, and train nothing.
        seeds: runs of each model; by default three, and more for claims that need more to be
            decided. One gives no interval, and so decides little.
        steps: optimizer steps of each language model.
        data: the text that language models are trained on.
        languages: two files, the same sentences line by line, for the claims on two languages;
            by default English and its clone, other tokens for the same text.
        words: word vectors, or a large text to train them on, for the claims on analogies.
        questions: a file of analogies, as questions-words.txt.
        out: the folder.
        overwrite: replace what the folder holds.
        strict: exit with 3 where any claim is not found to hold.
        json: print one JSON object instead of a table.
        markdown: print a table in Markdown.
    """

    only: tuple[str, ...] = ()
    budget: Duration | None = None
    list: tyro.conf.FlagCreatePairsOff[bool] = False
    seeds: Repetitions | None = None
    steps: Positive = 300
    data: tuple[str, ...] = ("python-docs",)
    languages: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    questions: str = ""
    out: str = "runs/claims"
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    strict: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> ClaimsOptions:
    """Return the options that were typed; --help prints them and leaves."""
    options = parse(ClaimsOptions, arguments, command="wordorder claims")
    refuse_typed(
        typed_names(arguments),
        (options.json, "markdown", "{} and --json are two forms of one output: give one"),
    )
    return options
