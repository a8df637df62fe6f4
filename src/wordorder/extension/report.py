"""Writes `extension.md` and `extension.png` into the folder of an extended run."""

from __future__ import annotations

from pathlib import Path

from wordorder import drawing
from wordorder.atomic import write_text
from wordorder.evaluation.intervals import interval_around
from wordorder.extension import record
from wordorder.extension.extend import Extended
from wordorder.extension.method_search import streamed_of, tried_of
from wordorder.extension.reach import RunMeasurements
from wordorder.extension.tables import cells_of, of_methods, tables
from wordorder.panels import QUIET, Heatmap, Line, Lines, Look, look_of

PICTURE, REPORT = "extension.png", "extension.md"
WIDTH = 5.2  # inches of a column


def write_report(extended: Extended) -> None:
    """Write the tables and the picture of an extension into the new run's folder."""
    folder = extended.run.folder
    entry = record.extension_of(extended.run)
    old, new = entry["from_length"], entry["to_length"]
    tried, streamed = tried_of(entry["tried"]), streamed_of(entry["streamed"])
    methods = of_methods(tried, streamed, old, new, entry.get("chosen_on"))
    parts = [methods, *tables(extended)]
    title = f"# {folder.name}: from {old:,} to {new:,} tokens with {extended.method}"
    lines = [
        title,
        "",
        f"Extended from `{entry['parent']}` with `{extended.run.config['command']}`.",
        f"The new embedding is `{extended.run.model_config.position}`.",
        "",
        f"![before and after]({PICTURE})",
        "",
    ]
    write_text(folder / REPORT, "\n".join(lines) + "\n" + "\n".join(p.markdown() for p in parts))
    draw(folder / PICTURE, extended, title.removeprefix("# "))


def draw(path: Path, extended: Extended, title: str) -> None:
    """Draw losses by context length and retrieval by length and depth, before and after."""
    kinds = dict.fromkeys(cell.kind for cell in extended.before.retrieved)
    maps = [[_retrieval(run, kind, when) for run, when in _states(extended)] for kind in kinds]
    drawing.save_panels(path, [[_losses(extended)], *maps], title=title, width=WIDTH)


def _states(extended: Extended) -> tuple[tuple[RunMeasurements, str], tuple[RunMeasurements, str]]:
    return (extended.before, "before"), (extended.after, "after")


def _losses(extended: Extended) -> Lines:
    looks = Look(QUIET, "s", 1), look_of(extended.run.model_config.position)
    names = "before", f"after: {extended.method}"
    lines = []
    for (run, _), look, name in zip(_states(extended), looks, names, strict=True):
        points = [loss for loss in run.context.lengths if loss.loss_nats is not None]
        losses = tuple((float(loss.context_length), loss.loss_nats or 0.0) for loss in points)
        intervals = tuple(interval_around(loss.loss_nats or 0.0, loss) for loss in points)
        lines.append(Line(name, look, losses, intervals))
    lengths = [loss.context_length for loss in extended.before.context.lengths]
    has_errors = any(loss.standard_error for loss in extended.before.context.lengths)
    return Lines(
        "losses",
        "Loss by context length",
        "tokens of context",
        "loss of the same tokens, nats" + (" (95% interval)" if has_errors else ""),
        tuple(lines),
        ticks=tuple((float(length), f"{length:,}") for length in lengths),
    )


def _retrieval(run: RunMeasurements, kind: str, when: str) -> Heatmap:
    """Draw a row for each depth and a column for each length."""
    cells = cells_of(run, kind)
    lengths = sorted({length for length, _ in cells})
    depths = sorted({depth for _, depth in cells})
    chance = 100 * next(iter(cells.values())).chance
    shares = {place: cell.chosen for place, cell in cells.items()}
    return Heatmap(
        f"{kind}-{when}",
        f"{kind}, {when}: % correct (chance: {chance:.0f})",
        "tokens of context",
        "depth",
        columns=tuple(f"{length:,}" for length in lengths),
        rows=tuple((float(y), f"{depth:g}") for y, depth in enumerate(depths)),
        values=tuple(
            tuple(None if (share := shares[n, d]) is None else 100 * share for n in lengths)
            for d in depths
        ),
    )
