"""One name for one text, that every file system can hold."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordorder.names import file_name
from wordorder.training.config import TrainConfig, folder_of

ANY = st.text(st.characters() | st.sampled_from("aA./$ \udcff"), max_size=300)


@pytest.mark.parametrize("text", ["rotary", "learned+alibi", "python-docs-rotary", "t5.x_2"])
def test_a_plain_text_is_its_own_name(text: str) -> None:
    assert file_name(text) == text


def test_names_that_runs_already_have() -> None:
    assert file_name("rotary:base=500,fraction=0.5") == "rotary_base=500_fraction=0.5-ae118163"


@given(ANY)
def test_every_file_system_can_hold_it(text: str) -> None:
    name = file_name(text)
    assert 1 <= len(name.encode()) <= 100
    assert name[0] not in ".-" and not set(name) & set('/\\:*?"<>|$ {}\0')


@given(st.lists(ANY, min_size=2, max_size=2, unique=True))
def test_two_texts_have_two_names(texts: list[str]) -> None:
    assert len(set(map(file_name, texts))) == 2


@pytest.mark.parametrize(
    "texts",
    [
        ("a/b", "a:b", "a_b"),
        ("a", "A"),
        ("x" * 200 + "1", "x" * 200 + "2"),
        (unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")),
        ("", ".", "..", "-", "/", "$"),
        ("\udcff", "\udcfe", "?"),
        ("A", file_name("A").lower()),
    ],
)
def test_texts_that_lose_something_are_told_apart(texts: tuple[str, ...]) -> None:
    names = {unicodedata.normalize("NFC", file_name(text)).casefold() for text in texts}
    assert len(names) == len(texts)


def test_the_folder_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder_of(TrainConfig()) == Path("runs/python-docs-rotary")
    for name in ("x" * 250 + ".txt", "$x{.txt", "\udcff.txt", ".hidden"):
        folder = folder_of(TrainConfig(data=(name,)))
        assert folder.parent == Path("runs") and len(folder.name.encode()) < 100
