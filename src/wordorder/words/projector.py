"""Vectors for the TensorBoard projector: vectors.tsv and metadata.tsv, which its page loads."""

from __future__ import annotations

from pathlib import Path

from wordorder.atomic import replacing
from wordorder.text.user_text import user_path
from wordorder.words.vectors import Vectors

WHITESPACE = str.maketrans("\t\r\n", "   ")


def export(vectors: Vectors, folder: str | Path) -> tuple[Path, Path]:
    """Write the two files into a folder and return their paths.

    One row for each word; metadata of a single column has no header.

    Source: TensorBoard, Visualizing Data using the Embedding Projector, "Metadata".
    """
    folder = user_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, names = folder / "vectors.tsv", folder / "metadata.tsv"
    form = "\t".join(["%.6g"] * vectors.matrix.shape[1]) + "\n"
    with replacing(rows) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(form % tuple(row.tolist()) for row in vectors.matrix)
    with replacing(names) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{name.translate(WHITESPACE)}\n" for name in vectors.names)
    return rows, names
