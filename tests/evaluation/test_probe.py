"""All parts of a probe at once: what can be asked of each kind of model, and what cannot."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from random_weights import filled

from wordorder.errors import BadInput
from wordorder.evaluation.preferences import Pair
from wordorder.evaluation.probe import PARTS, ProbeResults, probe
from wordorder.evaluation.probe_picture import draw_results
from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.text.corpus import Corpus, Document
from wordorder.text.store import TokenStore, open_store
from wordorder.text.tokenizer import Tokenizer, make_tokenizer

LENGTH = 32
WORDS = "the old dog saw a man in the town and ran after him to the end of the road".split()
RESULTS = {
    "order": ("reach", "order", "moved"),
    "removed": ("removed",),
    "attention": ("attention",),
    "position": ("position",),
    "sentences": ("sentences",),
}


@pytest.fixture(scope="module")
def text() -> Corpus:
    drawn = np.random.default_rng(0)
    documents = [" ".join(drawn.choice(WORDS, 60)) for _ in range(10)]
    return Corpus("words", tuple(Document(each, "words") for each in documents))


@pytest.fixture(scope="module")
def tokenizer(text: Corpus) -> Tokenizer:
    return make_tokenizer("bytes", text)


@pytest.fixture(scope="module")
def store(text: Corpus, tokenizer: Tokenizer) -> TokenStore:
    return open_store(text, tokenizer)


def random_model(position: str = "rotary", **options: object) -> TokenModel:
    shape = {"width": 16, "heads": 2, "layers": 2, "trained_length": LENGTH, "dropout": 0.0}
    return filled(
        make_model(ModelConfig(position=position, vocabulary_size=257, **{**shape, **options}))
    ).eval()


@pytest.mark.parametrize(
    ("options", "cannot"),
    [
        ({"position": "rotary"}, {}),
        ({"position": "learned+fire", "layers": 1}, {}),
        ({"position": "none", "layers": 1}, {"removed": "the model has no positional embedding"}),
        (
            {"kind": "gru"},
            {
                "removed": "a GRU has no positional embedding: choose a run of a transformer",
                "attention": "a GRU has no attention: choose a run of a transformer",
            },
        ),
    ],
)
def test_every_part_has_a_result_or_a_reason(
    options: dict[str, object],
    cannot: dict[str, str],
    store: TokenStore,
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    told: list[tuple[float, str]] = []
    found = probe(
        random_model(**options),  # type: ignore[arg-type]
        store,
        tokenizer,
        progress=lambda *each: told.append(each),
    )
    if "learned" in str(options):  # its 32 positions end before most sentences
        cannot = {"sentences": found.cannot["sentences"]}
        assert "is past the largest that" in cannot["sentences"]
    assert found.cannot == cannot
    for part, results in RESULTS.items():
        assert all(bool(getattr(found, name)) == (part not in cannot) for name in results)
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    json.dumps(asdict(found), allow_nan=False)
    assert draw_results(tmp_path / "probe.png", found, "a $ and a $", "rotary")
    assert (tmp_path / "probe.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["probe.png"]


@pytest.mark.parametrize("part", PARTS)
def test_one_part_may_be_asked_for(part: str, store: TokenStore, tokenizer: Tokenizer) -> None:
    found = probe(random_model(), store, tokenizer, only=[part])
    results = {name for name, value in asdict(found).items() if value and name != "trained_length"}
    assert results == set(RESULTS[part])


def test_bits_are_over_bytes_that_the_tokenizer_counts(
    store: TokenStore, tokenizer: Tokenizer
) -> None:
    """With bytes as tokens a target is a byte, but for the ends of documents."""
    found = probe(random_model(), store, tokenizer, only=["order"])
    for losses in (found.reach, found.order, found.moved):
        assert losses is not None and losses.bytes is not None
        assert 0.9 * losses.targets < losses.bytes <= losses.targets


def test_moves_stay_within_what_was_trained(store: TokenStore, tokenizer: Tokenizer) -> None:
    """A learned table ends with the trained length: it can be moved within it."""
    found = probe(random_model("learned"), store, tokenizer, only=["order"])
    assert found.order is not None and found.moved is not None
    assert found.order.probes[-1].cannot is not None
    assert [(each.name, each.cannot) for each in found.moved.probes] == [
        ("shifted", None),
        ("gap", None),
    ]


def test_pairs_are_asked_whatever_the_parts(store: TokenStore, tokenizer: Tokenizer) -> None:
    pairs = [("one", [Pair("a dog", "dog a", "one, line 1")]), ("two", [Pair("a", "b", "two")])]
    found = probe(random_model(), store, tokenizer, only=["attention"], pairs=pairs)
    assert [(each.name, each.pairs) for each in found.pairs] == [("one", 1), ("two", 1)]
    assert not found.sentences


def test_sentences_come_together_and_each(store: TokenStore, tokenizer: Tokenizer) -> None:
    found = probe(random_model(), store, tokenizer, only=["sentences"]).sentences
    whole, *each = found
    assert whole.pairs == sum(one.pairs for one in each) == 128
    assert whole.accuracy == pytest.approx(np.mean([one.accuracy for one in each]))
    other = probe(random_model(), store, tokenizer, only=["sentences"], seed=1).sentences
    assert other != found


def refused(
    store: TokenStore, tokenizer: Tokenizer, model: TokenModel, **options: object
) -> BadInput:
    with pytest.raises(BadInput) as caught:
        probe(model, store, tokenizer, **options)  # type: ignore[arg-type]
    return caught.value


def test_what_cannot_be_probed_is_refused(store: TokenStore, tokenizer: Tokenizer) -> None:
    error = refused(store, tokenizer, random_model(), only=["atention"])
    assert error.code == "evaluation.unknown-part" and "did you mean attention?" in str(error)
    error = refused(store, tokenizer, random_model(), only=["all"])
    assert "order, removed, attention, position, sentences" in str(error)
    error = refused(store, tokenizer, random_model(causal=False))
    assert error.code == "evaluation.bidirectional"
    error = refused(store, tokenizer, random_model(trained_length=15))
    assert error.code == "evaluation.trained-length-too-short" and "length of 15" in str(error)
    error = refused(store, tokenizer, random_model(trained_length=100_000))
    assert error.code == "evaluation.text-shorter-than-trained-length"


def test_the_shortest_model_can_be_probed(store: TokenStore, tokenizer: Tokenizer) -> None:
    found = probe(random_model(trained_length=16), store, tokenizer)
    assert not found.cannot


def test_a_pair_that_the_model_cannot_read_is_no_part(
    store: TokenStore, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named before minutes of other measurements."""
    pairs = [("f", [Pair("a" * 40, "b", "f, line 3")])]
    never = PARTS["position"]._replace(measure=lambda *_: pytest.fail("measured"))
    monkeypatch.setitem(PARTS, "position", never)
    said = refused(store, tokenizer, random_model("learned"), only=["position"], pairs=pairs)
    assert str(said).startswith("f, line 3: 40 tokens are too long: position 40 is past the")


def test_nothing_to_draw_is_no_picture(tmp_path: Path) -> None:
    assert not draw_results(tmp_path / "probe.png", ProbeResults(32), "nothing", "rotary")
    assert not list(tmp_path.iterdir())
