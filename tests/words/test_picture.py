"""Pictures and exports of vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wordorder.errors import BadInput
from wordorder.words.picture import draw, export, projection
from wordorder.words.vectors import Vectors


def test_the_plane_shows_points_of_a_plane_as_they_lie(make_drawn: Callable[..., Vectors]) -> None:
    flat = make_drawn(12, 2).matrix.astype(np.float64)
    turned, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((7, 7)))
    places, shares = projection(flat @ turned[:2] + 5)  # somewhere in seven dimensions

    def distances(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    np.testing.assert_allclose(distances(places), distances(flat), atol=1e-9)
    assert shares.sum() == pytest.approx(1) and shares[0] >= shares[1]


def test_a_king_is_to_a_man_as_a_queen_to_a_woman_in_the_plane(planted: Vectors) -> None:
    places, _ = projection(planted.matrix[:4])
    np.testing.assert_allclose(places[0] - places[2], places[1] - places[3], atol=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_picture_is_drawn(tmp_path: Path, planted: Vectors, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    draw(path, planted, ["king"], [("man", "king"), ("woman", "queen")])
    assert path.stat().st_size > 1000 and list(tmp_path.iterdir()) == [path]
    if suffix == ".svg":
        drawn = path.read_text(encoding="utf-8")
        assert all(f"<!-- {word} -->" in drawn for word in ("king", "man", "queen", "woman"))
        assert "<!-- chair -->" not in drawn


def test_a_picture_that_cannot_be_drawn(tmp_path: Path, planted: Vectors) -> None:
    with pytest.raises(BadInput) as caught:
        draw(tmp_path / "p.gif", planted, ["king", "man"])
    assert caught.value.code == "words.picture-suffix"
    with pytest.raises(BadInput) as caught:
        draw(tmp_path / "p.png", planted, ["king", "king"])
    assert caught.value.code == "words.picture-of-one-word"
    with pytest.raises(BadInput) as caught:
        draw(tmp_path / "p.png", planted, ["king", "kin"])
    assert caught.value.code == "words.unknown-word"
    with pytest.raises(BadInput) as caught:
        draw(tmp_path / "no" / "p.png", planted, ["king", "man"])
    assert caught.value.code == "words.picture-folder"
    assert not list(tmp_path.iterdir())


def test_the_projectors_files_have_a_row_for_each_word(tmp_path: Path, planted: Vectors) -> None:
    odd = Vectors("odd", ["a\tb", "two words", "é"], planted.matrix[:3])
    rows, names = export(odd, tmp_path / "new" / "folder")
    assert names.read_text(encoding="utf-8") == "a b\ntwo words\né\n"
    read = [line.split("\t") for line in rows.read_text(encoding="utf-8").splitlines()]
    assert np.array(read, np.float32).tolist() == planted.matrix[:3].tolist()


def test_an_export_to_a_file_says_what_to_do(tmp_path: Path, planted: Vectors) -> None:
    file = tmp_path / "w.txt"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(
        BadInput, match=r"w\.txt: File exists: choose another .* --export"
    ) as caught:
        export(planted, file)
    assert caught.value.code == "atomic.cannot-write"
    assert file.read_text(encoding="utf-8") == "mine"
