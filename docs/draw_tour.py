"""Draw the picture of the tour and the README from the first three runs of docs/tour.md.

    python docs/draw_tour.py [FOLDER]

Writes evidence/tour.json and docs/tour.png. FOLDER holds the three runs (default: runs). The
numbers are those of `wordorder explain RUN --json`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent
RED = "#D55E00"
PANELS = {
    "both-none": ("Bidirectional, no positions", "the same: a bag of words", "#222222"),
    "both-sinusoidal": ("Bidirectional, sinusoidal", "told apart from layer 1 on", "#0072B2"),
    "causal-none": (
        "Causal, no positions",
        "told apart from layer 2 on:\nthe mask leaks order",
        RED,
    ),
}


def differences(run: Path) -> list[float]:
    """Return how far apart the same token is after both orders, before and after each layer.

    The length of the difference of the two vectors, over their length.
    """
    command = [sys.executable, "-m", "wordorder", "explain", str(run), "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [each["relative"] for each in json.loads(output)["after_apart"]]


def draw(by_run: dict[str, list[float]], path: Path) -> None:
    """Draw a panel for each run, with one bar for each layer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from wordorder.drawing import STYLE, save, style

    top = 1.45 * max(max(values) for values in by_run.values())
    with style(STYLE):
        figure = Figure(figsize=(9.2, 3.3), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(
            "“I love AI” or “AI love I”? "
            "How far apart they leave the vector of the token that follows",
            fontsize=12,
        )
        for axes, (run, values) in zip(
            figure.subplots(1, len(by_run), sharey=True), by_run.items(), strict=True
        ):
            title, verdict, colour = PANELS[run]
            axes.bar(range(len(values)), values, width=0.62, color=colour)
            for layer, value in enumerate(values):
                label = f"{value:.3f}" if value > 1e-6 else "0"
                axes.annotate(
                    label,
                    (layer, value),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=9,
                )
            axes.set_title(title, fontsize=11, color=colour, fontweight="bold")
            axes.text(0.5, 0.97, verdict, transform=axes.transAxes, ha="center", va="top")
            axes.set_xticks(range(len(values)), ["input", *map(str, range(1, len(values)))])
            axes.set_xlabel("layer")
            axes.set_ylim(0, top)
        figure.axes[0].set_ylabel("relative difference")
        save(figure, path, dpi=150, metadata={"Software": None})


def main() -> None:
    """Draw the picture from the runs of a folder."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    by_run = {name: differences(folder / name) for name in PANELS}
    evidence = DOCS.parent / "evidence" / "tour.json"
    evidence.write_text(json.dumps(by_run, indent=1) + "\n", encoding="utf-8")
    draw(by_run, DOCS / "tour.png")


if __name__ == "__main__":
    main()
