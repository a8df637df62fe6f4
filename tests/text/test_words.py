"""Words in every script, and which text has no spaces between them."""

from __future__ import annotations

import re
import unicodedata
from pydoc_data.topics import topics

import pytest

from wordorder.text.words import (
    is_unspaced,
    lower_words_of,
    normalized,
    note_of_spaces,
    words_of,
)


@pytest.mark.parametrize(
    "text",
    [
        "किताब पढ़ना अच्छा है",
        "বাংলা ভাষা",
        "தமிழ் மொழி",
        "తెలుగు భాష",
        "ภาษา ไทย ที่นี่",
        "ភាសា ខ្មែរ",
        "မြန်မာ ဘာသာ",
        "مُحَمَّدٌ كِتَاب",
        "שָׁלוֹם עֲלֵיכֶם",
        "می\u200cخواهم نامه\u200cها",
        "ന്\u200d മലയാളം",
        "Tiếng Việt",
    ],
)
def test_a_word_goes_on_through_its_marks(text: str) -> None:
    assert words_of(f"({text}).") == normalized(text).split()


def test_words_are_composed() -> None:
    assert words_of("le cafe\u0301 noir") == ["le", "caf\u00e9", "noir"]
    assert words_of(unicodedata.normalize("NFD", "한국어")) == ["한국어"]


def test_what_is_no_word() -> None:
    assert words_of("1 2_a \u0301 \u200d — don’t 'tis x'y' ½") == ["a", "don't", "tis", "x'y", "½"]
    assert lower_words_of("The _King's_ İstanbul") == ["the", "king's", "i̇stanbul"]


def test_english_has_the_words_that_it_had() -> None:
    before = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
    for line in "\n".join(topics.values()).split("\n"):
        assert lower_words_of(line) == before.findall(line.lower().replace("’", "'"))


def note(text: str) -> str:
    return " ".join(note_of_spaces([text], "it", "Then."))


@pytest.mark.parametrize(
    "text",
    [
        "天亮以前，老渔夫轻轻放下一封旧信。到了秋天，山上的和尚画出了远处的雪山。",
        "その晩、老人は門の前に座って、遠くの山を見ていた。",
        "เย็นวันนั้นชายชรานั่งอยู่หน้าประตูและมองดูภูเขาที่อยู่ไกลออกไป",
        "ACGTACGTGACCAGT\nTTGACAGTACGTACC\n" * 5 + "ACGTACGTGACCAGTA\n" * 20,
        "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ",
    ],
)
def test_text_without_spaces_is_said_to_be_so(text: str) -> None:
    told = note(text)
    assert re.match(r"most words of it are longer than \d characters \(half of them have \d+", told)
    assert told.endswith("is this text without spaces? Then.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The old man sat before the gate.",
        "Donaudampfschifffahrtsgesellschaften befördern Reisende.",
        "Epäjärjestelmällisyydestäkään huolimatta matkustajat saapuivat.",
        "മലയാളം സംസാരിക്കുന്നവർ കേരളത്തിലാണ് കൂടുതലായുള്ളത്",
        "天亮 以前 ， 老 渔夫 轻轻 放下 一 封 旧 信 。",
        "เย็น วัน นั้น ชาย ชรา นั่ง อยู่ หน้า ประตู",
    ],
)
def test_text_with_spaces_is_not(text: str) -> None:
    assert note(text) == ""


def test_which_texts_have_no_words_to_reorder() -> None:
    assert is_unspaced(" 我爱人工智能 ") and is_unspaced("ที่นี่") and is_unspaced("ACGT" * 10)
    assert not is_unspaced("我 爱") and not is_unspaced("love") and not is_unspaced(" ")
