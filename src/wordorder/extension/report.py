"""What an extended run's folder says of it: `extension.md`, and one picture."""

from __future__ import annotations

from pathlib import Path

from wordorder import drawing
from wordorder.atomic import write_text
from wordorder.evaluation.intervals import interval_around
from wordorder.extension import record
from wordorder.extension.extend import Extended
from wordorder.extension.reach import Reach
from wordorder.extension.tables import cells_of, of_methods, tables
from wordorder.extension.trial import streamed_of, tried_of
from wordorder.panels import QUIET, Heatmap, Line, Lines, Look, look_of

PICTURE, REPORT = "extension.png", "extension.md"
WIDTH = 5.2  # inches of a column


def write_report(found: Extended) -> None:
    """Write the tables and the picture of an extension beside its run."""
    folder = found.run.folder
    made = record.extension_of(found.run)
    old, new = made["from_length"], made["to_length"]
    tried, streamed = tried_of(made["tried"]), streamed_of(made["streamed"])
    methods = of_methods(tried, streamed, old, new, made.get("chosen_on"))
    parts = [methods, *tables(found)]
    title = f"# {folder.name}: from {old:,} to {new:,} tokens by {found.method}"
    lines = [
        title,
        "",
        f"Made from `{made['parent']}` by `{found.run.config['command']}`.",
        f"The embedding is now `{found.run.model_config.position}`.",
        "",
        f"![before and after]({PICTURE})",
        "",
    ]
    write_text(folder / REPORT, "\n".join(lines) + "\n" + "\n".join(p.markdown() for p in parts))
    draw(folder / PICTURE, found, title.removeprefix("# "))


def draw(path: Path, found: Extended, title: str) -> None:
    """Draw losses by context, and what is found again by length and depth, before and after."""
    kinds = dict.fromkeys(each.kind for each in found.before.retrieved)
    maps = [[_found(reach, kind, when) for reach, when in _states(found)] for kind in kinds]
    drawing.save_panels(path, [[_losses(found)], *maps], title=title, width=WIDTH)


def _states(found: Extended) -> tuple[tuple[Reach, str], tuple[Reach, str]]:
    return (found.before, "before"), (found.after, "after")


def _losses(found: Extended) -> Lines:
    looks = Look(QUIET, "s", 1), look_of(found.run.model_config.position)
    names = "before", f"after: {found.method}"
    lines = []
    for (reach, _), look, name in zip(_states(found), looks, names, strict=True):
        points = [each for each in reach.context.lengths if each.loss_nats is not None]
        losses = tuple((float(each.context_length), each.loss_nats or 0.0) for each in points)
        intervals = tuple(interval_around(each.loss_nats or 0.0, each) for each in points)
        lines.append(Line(name, look, losses, intervals))
    lengths = [each.context_length for each in found.before.context.lengths]
    known = any(each.standard_error for each in found.before.context.lengths)
    return Lines(
        "losses",
        "Does more context help?",
        "tokens of context",
        "loss of the same tokens, nats" + (" (95% interval)" if known else ""),
        tuple(lines),
        ticks=tuple((float(length), f"{length:,}") for length in lengths),
    )


def _found(reach: Reach, kind: str, when: str) -> Heatmap:
    """A map: a row for each depth, a column for each length."""
    cells = cells_of(reach, kind)
    lengths = sorted({length for length, _ in cells})
    depths = sorted({depth for _, depth in cells})
    chance = 100 * next(iter(cells.values())).chance
    shares = {place: cell.chosen for place, cell in cells.items()}
    return Heatmap(
        f"{kind}-{when}",
        f"{kind}, {when}: % right (guessing: {chance:.0f})",
        "tokens of context",
        "depth",
        columns=tuple(f"{length:,}" for length in lengths),
        rows=tuple((float(y), f"{depth:g}") for y, depth in enumerate(depths)),
        values=tuple(
            tuple(None if (share := shares[n, d]) is None else 100 * share for n in lengths)
            for d in depths
        ),
    )
