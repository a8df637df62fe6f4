"""No text in two parts, no part empty, nothing lost; and what each part is said to be."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordorder.errors import BadInput
from wordorder.text.corpus import Corpus, Document
from wordorder.text.split import Split, split_corpus
from wordorder.text.split_notes import PARTS, described, repeated_lines

FRACTIONS = st.floats(0.01, 0.49)
# Letters that are few, so that texts and their pieces often come out equal.
TEXTS = st.text("ab \n", min_size=1, max_size=12) | st.text(min_size=1, max_size=30)


def corpus_of(*texts: str) -> Corpus:
    return Corpus("made", tuple(Document(text, f"text {n}") for n, text in enumerate(texts)))


def many(count: int) -> Corpus:
    return corpus_of(*(f"document number {n} says {n * n}" for n in range(count)))


def words_of(part: Corpus | None) -> set[tuple[str, ...]]:
    """The texts of a part, as the words that they are."""
    return {tuple(document.text.split()) for document in part.documents} if part else set()


def parts_of(split: Split) -> list[Corpus]:
    return [part for name in PARTS if (part := getattr(split, name)) is not None]


def share_repeated(split: Split) -> float:
    return repeated_lines(split.training, split.validation)


def check_apart(split: Split) -> None:
    """Every part has text, and no text is in two."""
    parts = parts_of(split)
    assert all(part.characters for part in parts)
    assert all(document.text for part in parts for document in part.documents)
    words = [words_of(part) for part in parts]
    assert sum(map(len, words)) == len(set().union(*words))


@given(
    st.lists(TEXTS, min_size=1, max_size=40),
    st.lists(st.integers(0, 39), max_size=40),
    FRACTIONS,
    FRACTIONS | st.just(0.0),
)
def test_no_text_is_in_two_parts_and_none_is_lost(
    texts: list[str], repeated: list[int], validation: float, development: float
) -> None:
    texts += [texts[n % len(texts)] + "\n" * (n % 2) for n in repeated]
    corpus = corpus_of(*texts)
    try:
        split = split_corpus(corpus, validation, development)
    except BadInput as error:
        assert "give more text" in str(error)
        # Only where a few texts have a few characters each, such as "aaaa".
        assert len(words_of(corpus)) < 20 and max(map(len, texts)) <= 31
        return
    check_apart(split)
    assert (split.development is None) == (not development)
    by_source = {document.source: "" for document in corpus.documents}
    for part in parts_of(split):
        for document in part.documents:
            by_source[document.source] += document.text
    whole = {document.source: document.text for document in corpus.documents}
    if split.facts["rule"] == "hash":
        assert by_source == whole
    else:  # of each different text once
        kept = {source: text for source, text in by_source.items() if text}
        assert kept.items() <= whole.items()
        assert {tuple(t.split()) for t in kept.values()} == words_of(corpus)
        assert len(kept) == split.facts["documents"]["different"]


@given(st.lists(TEXTS, min_size=20, max_size=60, unique_by=lambda text: tuple(text.split())))
def test_the_development_part_is_taken_from_training_text(texts: list[str]) -> None:
    two, three = (split_corpus(corpus_of(*texts), 0.1, share) for share in (0.0, 0.2))
    assert three.validation.documents == two.validation.documents
    assert words_of(three.training) | words_of(three.development) == words_of(two.training)


def test_hashing_takes_about_the_fractions() -> None:
    split = split_corpus(many(4000), 0.1, 0.04)
    # Four standard deviations of a binomial with these numbers are 76 and 50.
    assert abs(len(split.validation.documents) - 400) < 76
    assert split.development is not None and abs(len(split.development.documents) - 160) < 50
    assert split.facts["documents"] == {
        "all": 4000,
        "different": 4000,
        **{part.name[6:-1]: len(part.documents) for part in parts_of(split)},
    }


def test_hashing_moves_no_document_when_others_come() -> None:
    few, more = (split_corpus(many(count), 0.2, 0.1) for count in (200, 400))
    old = set(many(200).documents)
    for before, after in zip(parts_of(few), parts_of(more), strict=True):
        assert set(before.documents) == old & set(after.documents)


def test_hashing_is_the_same_in_another_process() -> None:
    program = (
        "from wordorder.text.corpus import Corpus, Document;"
        "from wordorder.text.split import split_corpus;"
        "c = Corpus('', [Document(str(n), '') for n in range(100)]);"
        "print(' '.join(d.text for d in split_corpus(c, 0.1).validation.documents))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    # Written down once: a change of hash would move every user's validation text.
    assert out == "3 9 16 21 38 46 66 67 68 79 92\n"


@pytest.mark.parametrize("fraction", [0.0001, 0.9499])
def test_hashing_leaves_a_document_in_each_part(fraction: float) -> None:
    check_apart(split_corpus(many(20), fraction, 0.05))


def test_among_many_documents_copies_stay_and_stay_together() -> None:
    texts = [f"line {n}" for n in range(90)] + ["same"] * 5 + ["same\n", " same"] * 5
    split = split_corpus(corpus_of(*texts), 0.3, 0.2)
    held = [sum(d.text.strip() == "same" for d in part.documents) for part in parts_of(split)]
    assert sorted(held) == [0, 0, 15]
    assert split.notes == (
        "14 of 105 documents repeat the text of another and are in the same part as that one",
    )


def test_one_file_keeps_nanogpts_split_to_the_character() -> None:
    text = "".join(chr(97 + n % 26) for n in range(1_115_394))
    split = split_corpus(corpus_of(text), 0.1, 0.04)
    assert split.validation.documents[0].text == text[1_003_854:]
    assert split.development is not None
    assert split.development.documents[0].text == text[959_238:1_003_854]
    assert split.training.documents[0].text == text[:959_238]
    split = split_corpus(corpus_of(text))
    training, validation = split.training, split.validation
    assert training.documents[0].text == text[:1_003_854]
    assert validation.documents == split.validation.documents


STORY = "".join(f"and then, on day {n}, something else came. " for n in range(60))


@pytest.mark.parametrize("copies", [2, 25, 500])
def test_a_text_that_is_given_many_times_is_one_text(copies: int) -> None:
    split = split_corpus(corpus_of(*[STORY, STORY + "\n"] * (copies // 2), STORY), 0.1, 0.04)
    once = split_corpus(corpus_of(STORY), 0.1, 0.04)
    for part, alone in zip(parts_of(split), parts_of(once), strict=True):
        assert [d.text for d in part.documents] == [d.text for d in alone.documents]
    assert split.notes[0].endswith("documents repeat the text of another and were dropped")
    assert once.notes == ()


def test_two_texts_of_250_copies_each_are_two_texts() -> None:
    split = split_corpus(corpus_of(*[STORY, STORY[::-1]] * 250), 0.1, 0.04)
    check_apart(split)
    assert split.facts["documents"] == {
        "all": 500,
        "different": 2,
        **dict.fromkeys(PARTS, 2),
    }


def test_below_20_documents_each_gives_its_own_end() -> None:
    texts = ["an English text. " * 50, "ein deutscher Text. " * 40, "中文的文本。" * 60]
    split = split_corpus(corpus_of(*texts), 0.1, 0.04)
    for n, text in enumerate(texts):
        begin, end = int(len(text) * 0.86), int(len(text) * 0.9)
        pieces = [part.documents[n].text for part in parts_of(split)]
        assert pieces == [text[:begin], text[begin:end], text[end:]]


def test_short_documents_give_what_they_have() -> None:
    split = split_corpus(corpus_of("x", "yz", "abc", "a longer one of several words"), 0.1, 0.04)
    check_apart(split)
    assert [d.text for d in split.training.documents] == ["x", "y", "a", "a longer one of several "]
    assert described(split.facts)["validation"] == (
        "the last 10% of 3 of 4 documents (others are too short)"
    )


def test_pieces_that_would_be_equal_are_not_cut() -> None:
    """The end of "xaa" is "a", which is a document, and "aa" is twice the same."""
    split = split_corpus(corpus_of("xaa", "aa", "a", "different"), 0.1)
    assert [d.text for d in split.training.documents] == ["xaa", "aa", "a", "differen"]
    assert [d.text for d in split.validation.documents] == ["t"]


@pytest.mark.parametrize(
    ("validation", "development", "said"),
    [
        *((f, 0.0, "validation_fraction is .* above 0 and below 1") for f in (0, 1, -0.1)),
        (float("nan"), 0.0, "validation_fraction is nan: it must be a finite number, above 0"),
        (0.1, -0.1, "development_fraction is -0.1: it must be at least 0 and below 1"),
        (0.1, float("nan"), "development_fraction is nan"),
        (
            0.5,
            0.5,
            "--validation-fraction 0.5 and --development-fraction 0.5 leave no text",
        ),
    ],
)
def test_impossible_fractions_are_named(validation: float, development: float, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        split_corpus(many(30), validation, development)


def test_too_little_text_is_named() -> None:
    with pytest.raises(BadInput, match=r"1 different document and 1 characters") as caught:
        split_corpus(corpus_of("x"))
    assert caught.value.code == "text.too-short-to-split"
    with pytest.raises(BadInput, match=r"in three: it has 25 documents with the same text"):
        split_corpus(corpus_of(*"x" * 25), 0.1, 0.04)
    with pytest.raises(BadInput, match=r"split in two: it has 1 different document"):
        split_corpus(corpus_of("long enough"), rule="hash")


@pytest.mark.parametrize(
    ("corpus", "development", "expected"),
    [
        (corpus_of(STORY), 0.04, ("the last 10% of the text", "the 4% before that")),
        (
            corpus_of(STORY, STORY[::-1]),
            0.0,
            ("the last 10% of each of 2 documents", "none: nothing is chosen"),
        ),
        (
            many(100),
            0.04,
            (
                "9 of 100 documents, chosen by a hash of their text",
                "1 of 100 documents, chosen by a hash of their text",
            ),
        ),
    ],
)
def test_what_is_held_out_is_described(
    corpus: Corpus, development: float, expected: tuple[str, str]
) -> None:
    said = described(split_corpus(corpus, 0.1, development).facts)
    assert (said["validation"], said["development"]) == expected


def test_lines_that_training_has_too_are_counted() -> None:
    """A document that another contains is no copy of it, and yet read twice."""
    lines = [f"the line of number {n} is long enough to be counted as one" for n in range(200)]
    alone = split_corpus(corpus_of("\n".join(lines)))
    assert share_repeated(alone) == 0
    # The end of the first is held out and stands in the middle of the second.
    contained = split_corpus(corpus_of("\n".join(lines[:100]), "\n".join(lines)))
    assert share_repeated(contained) > 0.3
    assert share_repeated(split_corpus(corpus_of("short\n" * 50 + "lines"))) == 0


def assigned(part: str, *texts: str) -> tuple[Document, ...]:
    return tuple(Document(text, f"{part} {n}", (), part) for n, text in enumerate(texts))


@pytest.mark.parametrize("development", [0.0, 0.04])
def test_held_out_text_of_ones_own_is_all_of_a_part_and_none_of_it_is_trained_on(
    development: float,
) -> None:
    own = many(30).documents
    text = Corpus("made", own + assigned("validation", "new text", own[3].text + "\n"))
    split = split_corpus(text, 0.1, development)
    check_apart(split)
    assert words_of(split.validation) == {("new", "text"), tuple(own[3].text.split())}
    assert split.facts["dropped"] == 1 and "1 document was dropped" in split.notes[0]
    others = words_of(split.training) | words_of(split.development)
    assert others == {tuple(d.text.split()) for d in own if d is not own[3]}
    assert (split.development is None) == (not development)
    described_parts = described(split.facts)
    assert described_parts["validation"] == "2 documents of --validation-data"


def test_copies_dropped_beside_held_out_text_have_a_note() -> None:
    text = "a text that is given twice, " * 9
    own = (Document(text, "0"), Document(f"{text}\n", "1"))
    split = split_corpus(Corpus("made", own + assigned("validation", "new text")), 0.1, 0.04)
    assert len(split.training.documents) == 1
    assert split.notes == ("1 of 2 documents repeats the text of another and was dropped",)


def test_validation_text_comes_before_development_text_and_both_before_training_text() -> None:
    texts = assigned("validation", "a b") + assigned("development", "a  b", "c") + (
        Document("c ", "0"), Document("a b", "1"), Document("d", "2"))  # fmt: skip
    split = split_corpus(Corpus("made", texts), 0.1, 0.04)
    assert [part.documents[0].text for part in parts_of(split)] == ["d", "c", "a b"]
    assert split.facts["dropped"] == 3
    only_development = split_corpus(
        Corpus("made", many(40).documents + assigned("development", "c")), 0.1, 0.04
    )
    check_apart(only_development)
    assert words_of(only_development.development) == {("c",)}
    with pytest.raises(BadInput) as caught:
        split_corpus(Corpus("made", texts[:4]))
    assert caught.value.code == "text.only-held-out"


def test_the_same_text_in_another_part_is_another_corpus() -> None:
    plain, held_out = Document("a", "1"), Document("a", "1", (), "validation")
    hashes = {Corpus("made", (each,)).content_hash for each in (plain, held_out)}
    assert len(hashes) == 2
