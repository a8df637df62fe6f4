"""Pictures of word vectors: a plane of some words, and files for TensorBoard's projector.

The plane is the one through the vectors of the drawn words in which they lie farthest apart: its
directions are their first two principal components, and no other word's. The axes say how much of
the words' spread each direction shows, since two directions of a hundred never show all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wordorder import drawing
from wordorder.atomic import replacing
from wordorder.errors import BadInput
from wordorder.text.user_text import user_path
from wordorder.words.vectors import Vectors

POINT, ARROW = "#1f5a99", "#c8501e"
WHITESPACE = str.maketrans("\t\r\n", "   ")


def plane(matrix: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the places of rows on their first two principal components, and their shares.

    Shapes: matrix (words, dimensions); places (words, 2), shares of the variance (2,).
    """
    centred = matrix.astype(np.float64) - matrix.mean(0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(matrix), 2))
    shown = min(2, len(sizes))
    places[:, :shown] = left[:, :shown] * sizes[:shown]
    shares = np.zeros(2)
    shares[:shown] = (sizes**2 / max((sizes**2).sum(), 1e-30))[:shown]
    return places, shares


@drawing.style()
def draw(
    path: str | Path,
    vectors: Vectors,
    words: Sequence[str],
    arrows: Sequence[tuple[str, str]] = (),
) -> None:
    """Draw words as points of a plane, and arrows from the first of a pair to the second.

    Args:
        path: its suffix decides the kind: .png, .svg or .pdf.
        words: at least two that have vectors; those of `arrows` are drawn too.

    Raises:
        BadInput: another suffix, no such folder, a word without a vector, fewer than two words.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = user_path(path)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise BadInput(f"--picture {path}: its name must end in .png, .svg or .pdf")
    if not path.parent.is_dir():
        raise BadInput(f"--picture {path}: there is no folder {path.parent}")
    drawn = list(dict.fromkeys([*words, *(word for pair in arrows for word in pair)]))
    if len(drawn) < 2:
        raise BadInput("a picture needs two words at least: name more, or an --analogy")
    rows = [vectors.row(word) for word in drawn]
    places, shares = plane(vectors.matrix[rows])
    at = dict(zip(drawn, places, strict=True))
    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.scatter(*places.T, color=POINT, s=18, zorder=2)
    for word, place in at.items():
        axes.annotate(
            drawing.plain(word), place, xytext=(4, 4), textcoords="offset points", fontsize=10
        )
    for first, second in arrows:
        style = {"arrowstyle": "->", "color": ARROW, "shrinkA": 4, "shrinkB": 4}
        axes.annotate("", at[second], at[first], arrowprops=style)
    axes.set_xlabel(f"first direction ({shares[0]:.0%} of their spread)")
    axes.set_ylabel(f"second direction ({shares[1]:.0%})")
    axes.set_title(drawing.plain(vectors.source), fontsize=11)
    axes.set_aspect("equal", "datalim")
    axes.margins(0.15)
    axes.grid(alpha=0.25)
    drawing.save(figure, path, dpi=120)


def export(vectors: Vectors, folder: str | Path) -> tuple[Path, Path]:
    """Write vectors.tsv and metadata.tsv, which TensorBoard's projector loads; return their paths.

    One row for each word; metadata of a single column has no header.

    Source: TensorBoard, Visualizing Data using the Embedding Projector, "Metadata".
    """
    folder = user_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, names = folder / "vectors.tsv", folder / "metadata.tsv"
    with replacing(rows) as beside:
        np.savetxt(beside, vectors.matrix, "%.6g", "\t")
    with replacing(names) as beside:
        lines = (f"{name.translate(WHITESPACE)}\n" for name in vectors.names)
        beside.write_text("".join(lines), encoding="utf-8", newline="\n")
    return rows, names
