"""`wordorder train --find-learning-rate`: short runs with multiples of both learning rates.

The table and the command to go on with go to stdout, progress to stderr. Nothing is changed.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from wordorder.cli.options.train import TrainOptions
from wordorder.cli.printed import screen
from wordorder.cli.runs_bar import RunsBar
from wordorder.experiments.rate_search import FLAT, PICTURE, RateSearch, search
from wordorder.experiments.wording import listed, times
from wordorder.table import Table
from wordorder.training.config import folder_of

OF_THE_SEARCH = ("--find-learning-rate", "--json", "--overwrite")
RATES = ("--learning-rate", "--matrix-learning-rate")


def find(options: TrainOptions, arguments: list[str]) -> int:
    """Run the search, print its result, and return the exit code."""
    config, show = options.train.plain(), RunsBar()
    command = shlex.join(["wordorder", "train", *arguments])
    folder = folder_of(config)
    with show.closing(folder.with_name(f"{folder.name}-rates")):
        found = search(config, show=show, command=command, trust=options.trust)
    following = next_command(found, arguments)
    if options.json:
        print(json.dumps(_as_json(found, following)))
        return 0
    screen().print(table(found).terminal())
    print(f"{verdict(found)}\n{found.folder / PICTURE}\nnext: {following}")
    return 0


def table(found: RateSearch) -> Table:
    """Return the loss of every factor, and its difference from the lowest."""
    means, rows = found.means, []
    for factor, losses in found.losses.items():
        first, second = found.rates(factor)
        mean = f"{means[factor]:.4f}" if factor in means else "failed"
        more = f"{means[factor] - means[found.best]:+.4f}" if factor in means else ""
        seeds = " ".join(f"{loss:.4f}" for loss in losses)
        rows.append([f"{factor:g}x", f"{first:g}", f"{second:g}", mean, more, seeds])
    headings = ["rates", "AdamW", "Muon", f"{found.text} loss", "above the best", "each seed"]
    return Table(headings, rows)


def verdict(found: RateSearch) -> str:
    """Return which rates are suggested, and how flat the optimum is."""
    best, flat = found.best, found.as_good
    width = (
        f"with {listed(map(times, flat))} the loss is within {FLAT:g} nats of "
        "the best, or not above it in one of the two seeds"
        if len(flat) > 1
        else f"every other multiple that was measured is more than {FLAT:g} nats above, in both "
        "seeds"
    )
    edge = ""
    if best in (min(found.losses), max(found.losses)) and len(found.losses) > 1:
        edge = "; it is at the edge of what was tried"
    keep = "keep the present rates" if found.suggested == 1 else f"use {best:g}x"
    shorter = (
        f" These runs have {found.steps:,} steps and yours {found.run_steps:,}; longer runs need "
        "the same rates or lower ones."
        if found.steps < found.run_steps
        else ""
    )
    return f"best: {best:g}x of both learning rates{edge}; {width}; {keep}.{shorter}"


def next_command(found: RateSearch, arguments: list[str]) -> str:
    """Return the command that trains with the suggested rates."""
    rest, is_value = [], False
    for word in arguments:
        name, equals, _ = word.partition("=")
        name = name.replace("_", "-")
        if name in OF_THE_SEARCH:
            continue
        is_rate = name in RATES
        if not is_rate and not is_value:
            rest.append(word)
        is_value = is_rate and not equals
    values = zip(RATES, found.rates(found.suggested), strict=True)
    rates = [text for name, rate in values for text in (name, f"{rate:g}")]
    if not found.config.muon:
        rates = rates[:2]
    return shlex.join(["wordorder", "train", *rest, *rates])


def _as_json(found: RateSearch, following: str) -> dict[str, Any]:
    losses = {f"{factor:g}": losses for factor, losses in found.losses.items()}
    return {
        "folder": str(found.folder),
        "text": found.text,
        "steps": found.steps,
        "losses": losses,
        "best": found.best,
        "as_good": found.as_good,
        "suggested": found.suggested,
        "learning_rate": found.rates(found.suggested)[0],
        "matrix_learning_rate": found.rates(found.suggested)[1],
        "command": following,
    }
