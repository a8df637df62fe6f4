"""The three figures of docs/evidence.md, as SVG with the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ten_million_evidence import (
    CONTEXTS,
    GRU,
    LENGTH,
    N_GRAM,
    Evidence,
    Line,
    at_length,
    by_seed,
    context_loss,
)
from ten_million_table import ranked, score

from wordorder.drawing import STYLE, save, style
from wordorder.experiments.statistics import interval
from wordorder.interop.harness.blimp import phenomena
from wordorder.panels import QUIET, Look, looks

# Embeddings have the colour that they have everywhere; these two are none.
OTHERS = {GRU: Look(QUIET, "h", 1), N_GRAM: Look(QUIET, "*", 2)}
DASHES = {1: (0, (5, 2)), 2: (0, (1.5, 1.5))}


def write_figures(evidence: Evidence, folder: Path) -> None:
    """Write evidence-bits.svg, evidence-context.svg and evidence-blimp.svg."""
    for name, (size, draw) in FIGURES.items():
        _write(folder / f"evidence-{name}.svg", size, draw, evidence)


def _write(
    path: Path, size: tuple[float, float], draw: Callable[..., None], evidence: Evidence
) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = [position for position, _ in ranked(evidence)]
    chosen = {**looks(name for name in names if name not in OTHERS), **OTHERS}
    # Black and grey are read on a white and on a dark page if the figure has its own ground.
    with style({**STYLE, "svg.hashsalt": path.name}):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasSVG(figure)
        draw(figure.subplots(), evidence, chosen)
        save(figure, path, metadata={"Date": None, "Creator": None})


def draw_bits(axes: Any, evidence: Evidence, chosen: dict[str, Look]) -> None:
    """Draw bits per byte with intervals over seeds, and the seeds; what is far off as a note."""
    rows = {name: [line["bits_per_byte"] for line in r.values()] for name, r in ranked(evidence)}
    if evidence.n_gram:
        rows[N_GRAM] = [evidence.n_gram["bits_per_byte"]]
    near = [value for name, values in rows.items() if name not in OTHERS for value in values]
    for y, (name, values) in enumerate(rows.items()):
        look, over = chosen[name], interval(values)
        if near and over.mean > max(near) + 3 * (max(near) - min(near)) + 0.02:
            axes.text(0.98, y, f"{over.mean:.3f} →", transform=axes.get_yaxis_transform(),
                      ha="right", va="center", color=look.colour)  # fmt: skip
            continue
        if over.low is not None:
            axes.plot((over.low, over.high), (y, y), color=look.colour, linewidth=2)
        axes.plot(values, [y + 0.25] * len(values), look.marker, color=look.colour, alpha=0.5,
                  markersize=3.5, markeredgewidth=0)  # fmt: skip
        axes.plot(over.mean, y, look.marker, color=look.colour, markersize=7)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("bits per byte of the validation books, mean and 95% interval over seeds")


def draw_context(axes: Any, evidence: Evidence, chosen: dict[str, Look]) -> None:
    """Draw the loss of the same targets by the length of their context."""
    within = []
    for name, lines in ranked(evidence):
        look, points = chosen[name], []
        for length in CONTEXTS:
            if not any("cannot" in at_length(line, length) for line in lines.values()):
                losses = by_seed(lines, lambda line, n=length: context_loss(line, n))
                points.append((length, interval([*losses.values()])))
        if name not in OTHERS:
            within += [over.mean for length, over in points if length <= LENGTH]
        xs = [length for length, _ in points]
        axes.plot(xs, [over.mean for _, over in points], look.marker, label=name,
                  color=look.colour, linestyle=DASHES.get(look.dashes, "-"))  # fmt: skip
        low, high = ([o.mean if end is None else end for o, end in ends] for ends in (
            [(o, o.low) for _, o in points], [(o, o.high) for _, o in points]))  # fmt: skip
        axes.fill_between(xs, low, high, color=look.colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(CONTEXTS, [f"{length:,}" for length in CONTEXTS])
    axes.axvline(LENGTH, color=QUIET, linestyle=DASHES[1], linewidth=1)
    axes.set_xlabel(f"tokens of context before the same targets (trained on {LENGTH})")
    axes.set_ylabel("nats per token")
    if within:
        spread = max(within) - min(within)
        axes.set_ylim(min(within) - 0.1 * spread, max(within) + 0.5 * spread)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def draw_blimp(axes: Any, evidence: Evidence, chosen: dict[str, Look]) -> None:
    """Draw the accuracy on each phenomenon of BLiMP; chance is 50%."""
    columns: list[tuple[str, list[Line]]] = [(n, [*r.values()]) for n, r in ranked(evidence)]
    if evidence.n_gram:
        columns.append((N_GRAM, [evidence.n_gram]))
    parts = phenomena()
    for number, (name, lines) in enumerate(columns):
        look = chosen[name]
        ys = [y + 0.6 * (number / max(1, len(columns) - 1) - 0.5) for y in range(len(parts))]
        scores = [score(lines, names) for names in parts.values()]
        axes.plot(scores, ys, look.marker, color=look.colour, label=name, markersize=5)
    for y in range(1, len(parts)):
        axes.axhline(y - 0.5, color=QUIET, alpha=0.3, linewidth=0.5)
    axes.axvline(50, color=QUIET, linestyle=DASHES[1], linewidth=1)
    axes.set_yticks(range(len(parts)), [name.replace("_", " ") for name in parts])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(parts) - 0.4, -0.6)
    axes.set_xlabel("pairs of BLiMP whose acceptable sentence is more probable, % (chance: 50)")
    if columns:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


FIGURES: dict[str, tuple[tuple[float, float], Callable[..., None]]] = {
    "bits": ((7.4, 3.6), draw_bits),
    "context": ((7.4, 4.0), draw_context),
    "blimp": ((7.4, 6.0), draw_blimp),
}
