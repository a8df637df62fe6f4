"""What an extended run's folder says of it: `extension.md`, and one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wordorder import drawing
from wordorder.atomic import write_text
from wordorder.evaluation.intervals import half_width
from wordorder.extension import record
from wordorder.extension.extend import Extended
from wordorder.extension.reach import Reach
from wordorder.extension.tables import cells_of, of_methods, tables
from wordorder.extension.trial import streamed_of, tried_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE, REPORT = "extension.png", "extension.md"
BEFORE, AFTER = "#9a9a9a", "#1f5a99"


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(each.kind for each in found.before.retrieved))
    with drawing.style({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(5.2 + 4.2 * len(kinds), 4.4), layout="constrained", dpi=130)
        FigureCanvasAgg(figure)
        figure.suptitle(drawing.plain(title), fontsize=11)
        parts = figure.subfigures(1, 1 + len(kinds), width_ratios=[5.2, *[4.2] * len(kinds)])
        parts = list(parts) if kinds else [parts]
        _draw_losses(parts[0].subplots(), found)
        for part, kind in zip(parts[1:], kinds, strict=True):
            above, below = part.subplots(2, 1, sharex=True)
            _draw_found(above, found.before, kind, f"{kind}, before")
            _draw_found(below, found.after, kind, f"{kind}, after")
            below.set_xlabel("tokens of context")
        drawing.save(figure, path)


def _draw_losses(axes: Axes, found: Extended) -> None:
    from matplotlib.ticker import NullLocator

    for reach, colour, name in (
        (found.before, BEFORE, "before"),
        (found.after, AFTER, f"after: {found.method}"),
    ):
        points = [each for each in reach.context.lengths if each.loss_nats is not None]
        axes.errorbar(
            [each.context_length for each in points],
            [each.loss_nats for each in points],
            yerr=[half_width(each) or 0.0 for each in points],
            color=colour,
            marker="o",
            markersize=4,
            capsize=2,
            label=name,
        )
    lengths = [each.context_length for each in found.before.context.lengths]
    known = any(each.standard_error for each in found.before.context.lengths)
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("tokens of context")
    axes.set_ylabel("loss of the same tokens, nats" + (" (95% interval)" if known else ""))
    axes.set_title("Does more context help?", loc="left", fontsize=10)
    axes.grid(alpha=0.2)
    axes.legend(frameon=False)


def _draw_found(axes: Axes, reach: Reach, kind: str, title: str) -> None:
    """A map: a row for each depth, a column for each length."""
    cells = cells_of(reach, kind)
    lengths = sorted({length for length, _ in cells})
    depths = sorted({depth for _, depth in cells})
    shown = [
        [float("nan") if (c := cells[n, d].chosen) is None else 100 * c for n in lengths]
        for d in depths
    ]
    axes.imshow(shown, aspect="auto", cmap="Blues", vmin=0, vmax=100)
    for y, row in enumerate(shown):
        for x, value in enumerate(row):
            text = "-" if value != value else f"{value:.0f}"
            colour = "white" if value > 60 else "#333333"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
    axes.set_yticks(range(len(depths)), [f"{depth:g}" for depth in depths])
    axes.set_ylabel("depth")
    axes.set_title(f"{title}: % right", loc="left", fontsize=10)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
