"""Pictures of word vectors: a scatter plot, and files for TensorBoard's projector.

The axes of the plot are the first two principal components of the drawn words alone. Their labels
give the explained variance, because two of a hundred dimensions never show all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wordorder import drawing
from wordorder.atomic import cannot_write, replacing
from wordorder.errors import BadInput
from wordorder.text.user_text import user_path
from wordorder.words.vectors import Vectors

POINT, ARROW = "#1f5a99", "#c8501e"
WHITESPACE = str.maketrans("\t\r\n", "   ")


def projection(
    matrix: NDArray[np.floating], axes: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project rows onto their first principal components.

    Shapes: matrix (words, dimensions); returns (words, axes), and fractions (axes,) of the
    variance.
    """
    centred = matrix.astype(np.float64) - matrix.mean(0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    shares = sizes**2 / max((sizes**2).sum(), 1e-30)
    padding = 0, max(0, axes - len(sizes))  # vectors of one number lie on a line
    return np.pad(left * sizes, ((0, 0), padding))[:, :axes], np.pad(shares, padding)[:axes]


@drawing.style()
def draw(
    path: str | Path,
    vectors: Vectors,
    words: Sequence[str],
    arrows: Sequence[tuple[str, str]] = (),
) -> None:
    """Draw words as points, and an arrow from the first of each pair to the second.

    Args:
        path: its suffix decides the format: .png, .svg or .pdf.
        words: drawn together with those of `arrows`; two or more in all.

    Raises:
        BadInput: the suffix is not one of these, the folder is missing, a word has no vector, or
            there are fewer than two words.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = user_path(path)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise BadInput(
            f"--picture {path}: its name must end in .png, .svg or .pdf",
            code="words.picture-suffix",
        )
    if not path.parent.is_dir():
        raise BadInput(
            f"--picture {path}: the folder {path.parent} does not exist: create it first",
            code="words.picture-folder",
        )
    drawn = list(dict.fromkeys([*words, *(word for pair in arrows for word in pair)]))
    if len(drawn) < 2:
        raise BadInput(
            "--picture needs at least two words: give more words, or an --analogy",
            code="words.picture-of-one-word",
        )
    rows = [vectors.row(word) for word in drawn]
    places, shares = projection(vectors.matrix[rows])
    at = dict(zip(drawn, places, strict=True))
    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.scatter(places[:, 0], places[:, 1], color=POINT, s=18, zorder=2)
    for word, place in at.items():
        axes.annotate(
            drawing.plain(word), place, xytext=(4, 4), textcoords="offset points", fontsize=10
        )
    for first, second in arrows:
        arrow = {"arrowstyle": "->", "color": ARROW, "shrinkA": 4, "shrinkB": 4}
        axes.annotate("", at[second], at[first], arrowprops=arrow)
    axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second principal component ({shares[1]:.0%})")
    axes.set_title(drawing.plain(vectors.source), fontsize=11)
    axes.set_aspect("equal", "datalim")
    axes.margins(0.15)
    axes.grid(alpha=0.25)
    drawing.save(figure, path, dpi=120)


def export(vectors: Vectors, folder: str | Path) -> tuple[Path, Path]:
    """Write vectors.tsv and metadata.tsv, which TensorBoard's projector loads; return their paths.

    Each file has one row for each word; metadata of a single column has no header.

    Raises:
        BadInput: the folder cannot be created or written, as where it is a file.

    Source: TensorBoard, Visualizing Data using the Embedding Projector, "Metadata".
    """
    folder = user_path(folder)
    rows, names = folder / "vectors.tsv", folder / "metadata.tsv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(rows) as beside:
            np.savetxt(beside, vectors.matrix, "%.6g", "\t")
        with replacing(names) as beside:
            lines = (f"{name.translate(WHITESPACE)}\n" for name in vectors.names)
            beside.write_text("".join(lines), encoding="utf-8", newline="\n")
    except OSError as error:
        remedy = "choose another folder for --export"
        raise cannot_write(error.filename or folder, error, remedy) from None
    return rows, names
