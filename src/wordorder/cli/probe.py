"""`wordorder probe`: measures what a trained model knows about order.

The tables go to stdout, a plot goes into the run folder, and progress goes to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from wordorder.cli.opened import open_run
from wordorder.cli.options.probe import read_options
from wordorder.cli.printed import percent, screen
from wordorder.cli.progress import transient_progress
from wordorder.evaluation.attention_mass import AttentionMass, HeadMass
from wordorder.evaluation.intervals import with_half_width
from wordorder.evaluation.order import OrderLosses
from wordorder.evaluation.position_probe import PositionProbe
from wordorder.evaluation.preferences import Preference, read_pairs
from wordorder.evaluation.probe import ProbeResults, check_parts, probe
from wordorder.evaluation.probe_picture import draw_results
from wordorder.numerals import counted, signed
from wordorder.table import Table
from wordorder.training.compute import pick_device
from wordorder.training.run import Run
from wordorder.training.run_text import text_of
from wordorder.training.threads import use_free_cores

PICTURE = "probe.png"
MOST_HEADS = 48  # in the table; more heads are in the plot and in --json


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    check_parts(options.only)
    pairs = [(Path(name).name, read_pairs(name)) for name in options.pairs]
    run = open_run(options.run, trust=options.trust)
    if set(options.only) != {"position"} or pairs:
        run.check_next_token("probe (except --only position)")
    use_free_cores()
    name, store = text_of(run, options.data, options.field)
    model = run.load_model(pick_device(options.device))
    with transient_progress() as progress:
        bar = progress.add_task("", total=1.0)
        results = probe(
            model,
            store,
            run.tokenizer,
            only=options.only,
            pairs=pairs,
            seed=options.seed,
            progress=lambda share, part: progress.update(bar, completed=share, description=part),
        )
    picture = _draw(run, results, f"{run.folder.name} on {name}")
    if options.json:
        record = {"run": str(run.folder), "data": name, "picture": picture, **asdict(results)}
        print(json.dumps(record))
    else:
        console = screen()
        console.print(name, style="bold", markup=False)
        for part in _tables(results):
            console.print()
            console.print(part)
        if picture:
            print(f"\n{picture}")
    return 0


def _draw(run: Run, results: ProbeResults, title: str) -> str | None:
    """Draw the plot and return its path; None if it is empty or cannot be written."""
    path, config = run.folder / PICTURE, run.model_config
    position = config.position if config.kind == "transformer" else config.kind
    try:
        return str(path) if draw_results(path, results, title, position) else None
    except OSError as error:
        print(f"cannot write {path}: {error.strerror}", file=sys.stderr)
        return None


def _tables(results: ProbeResults) -> Iterator[RenderableType]:
    length = results.trained_length
    if results.reach:
        yield _changes(
            "How far back order matters: loss of one token with the tokens before it shuffled",
            results.reach,
        )
    if results.order:
        yield _changes(
            f"Loss of the last {length // 4:,} of {length:,} tokens with their context reordered",
            results.order,
        )
    if results.moved:
        yield _changes(
            f"Positions replaced by others from training, in windows of {length // 2:,}",
            results.moved,
        )
    if results.removed:
        yield _changes("The embedding removed, without retraining", results.removed)
    if results.attention:
        yield _attention(results.attention)
    if results.position:
        yield _position(results.position)
    if results.sentences:
        yield _preferences("Sentences against shuffles of their own words", results.sentences)
    if results.pairs:
        yield _preferences("Minimal pairs", results.pairs)
    for part, why in results.cannot.items():
        yield Text(f"{part}: cannot: {why}")


def _table(columns: list[str], rows: list[list[str]], title: str, lead: str) -> RenderableType:
    """Return a table in which only the first column may be folded."""
    return Table(columns, rows, title, lead, wrap=frozenset({0})).terminal()


def _changes(title: str, losses: OrderLosses) -> RenderableType:
    rows = []
    for each in losses.probes:
        if each.increase_nats is None:
            rows.append([f"{each.meaning}\ncannot: {each.cannot}", "cannot", ""])
            continue
        bits = each.increase_bits_per_byte
        change = with_half_width(signed(each.increase_nats, 4), each, 4)
        rows.append([each.meaning, change, "" if bits is None else signed(bits, 4)])
    plain = (
        f"{counted(losses.targets, 'token')} in {counted(losses.windows, 'window')}, undisturbed "
        f"{losses.loss_nats:.4f} nats"
    )
    return _table(["change", "nats", "bits/byte"], rows, title, plain)


def _attention(mass: AttentionMass) -> Group:
    distances = [str(a) if a == b else f"{a}+" for a, b in mass.buckets]
    rows = []
    below = (
        "percent at each distance, seen from the last quarter of "
        f"{counted(mass.windows, 'window')} of {mass.context_length:,}\nmean: "
        "distance in tokens; first: share of the window's first token; even: all attended alike"
    )
    if len(mass.heads) <= MOST_HEADS:
        for head in mass.heads:
            rows.append([str(head.layer), str(head.head), *_shares([head])])
    else:
        below += f"\nmeans of each layer; its heads are in {PICTURE} and in --json"
        for layer in dict.fromkeys(head.layer for head in mass.heads):
            own = [head for head in mass.heads if head.layer == layer]
            rows.append([str(layer), "all", *_shares(own)])
    rows.append(["even", "", *map(percent, mass.even), "", ""])
    table = Table(
        ["layer", "head", *distances, "mean", "first"],
        rows,
        "Where attention goes",
        below,
        left=frozenset(),
        wrap=frozenset(),
        row_styles={len(rows) - 1: "dim"},
        gap=1,
    )
    return Group(table.terminal(), *map(Text, mass.cannot))


def _shares(heads: Sequence[HeadMass]) -> list[str]:
    """Return the cells of a row: the means over some heads."""
    columns = zip(*((*h.by_distance, h.mean_distance, h.first_token) for h in heads), strict=True)
    *shares, distance, first = (sum(each) / len(heads) for each in columns)
    return [*map(percent, shares), f"{distance:.1f}", percent(first)]


def _position(reading: PositionProbe) -> RenderableType:
    rows = []
    for each in reading.layers:
        error = with_half_width(f"{each.error:.1f}", each, 1)
        layer = str(each.layer) if each.layer else "0 (input)"
        of_chance = f"{each.error / reading.chance:.0%}"
        rows.append([layer, error, of_chance, f"{each.r_squared:z.2f}"])
    below = (
        f"a {reading.reader} probe, fitted on even positions of "
        f"{counted(reading.fitted, 'window')}, scored on odd ones of {reading.scored:,} others\n"
        f"mean error in positions; always answering the middle: {reading.chance:.1f}"
    )
    title = "Reading the position from hidden states"
    return _table(["after layer", "error", "of chance", "R²"], rows, title, below)


def _preferences(title: str, preferences: tuple[Preference, ...]) -> RenderableType:
    rows = []
    for each in preferences:
        low, high = map(percent, each.interval)
        share = f"{each.accuracy:.1%} [{low}, {high}]"
        rows.append([each.name, f"{each.pairs:,}", share, signed(each.difference_nats, 1)])
    below = (
        "how often the whole sentence is likelier, with the 95% interval over sentences, and by "
        "how much on average"
    )
    return _table(["", "pairs", "preferred", "nats"], rows, title, below)
