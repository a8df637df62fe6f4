"""Tokenizers that someone brings are tried on the text."""

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from wordorder.errors import BadInput
from wordorder.text.corpus import Corpus, Document
from wordorder.text.round_trip import round_trip
from wordorder.text.store import open_store
from wordorder.text.tokenizer import Tokenizer, make_tokenizer

CORPUS = Corpus("made", [Document("the cat sat on the mat\n" * 9, "a.txt")])


def words(tmp_path: Path, known: str) -> Tokenizer:
    vocabulary = {word: index for index, word in enumerate(known.split())}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    if "[UNK]" in vocabulary:
        backend.add_special_tokens(["[UNK]"])
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.save(str(tmp_path / "words.json"))
    return make_tokenizer(str(tmp_path / "words.json"), CORPUS)


def test_a_word_that_cannot_be_encoded_is_named(tmp_path: Path) -> None:
    tokenizer = words(tmp_path, "the cat sat on")
    with pytest.raises(BadInput) as caught:
        open_store(CORPUS, tokenizer)
    assert caught.value.code == "text.document-not-encoded"
    assert str(caught.value).startswith("a.txt: the tokenizer cannot encode 'mat' (WordLevel error")
    assert len(open_store(CORPUS, make_tokenizer("bpe", CORPUS)))  # what the message says to do


def test_what_does_not_come_back_is_counted(tmp_path: Path) -> None:
    tokenizer = words(tmp_path, "the sat on mat [UNK]")
    assert tokenizer.notes(CORPUS) == (
        "the tokenizer does not restore this text: 9 of 54 words are lost ('cat' as ''), so bits "
        "per byte cannot be computed",
    )
    assert not open_store(CORPUS, tokenizer).lossless


def test_white_space_that_is_lost(tmp_path: Path) -> None:
    tokenizer = words(tmp_path, "the cat sat on mat [UNK]")
    assert tokenizer.notes(CORPUS) == (
        "the tokenizer does not restore this text: white space changes ('on the mat\\nthe cat sat "
        "on the mat\\nthe c…' as 'on the mat the cat sat on the mat the c…'), so bits per byte "
        "cannot be computed",
    )


@pytest.mark.parametrize("what", ["decoder", "added"])
def test_a_bpe_that_is_not_quite_ours_is_tried(what: str, tmp_path: Path) -> None:
    backend = make_tokenizer("bpe", CORPUS, 280).backend
    data = json.loads(backend.to_str())
    if what == "decoder":
        data["decoder"] = None
    else:
        added = tokenizers.AddedToken("sat", rstrip=True, normalized=False)
        backend.add_tokens([added])
        data = json.loads(backend.to_str())
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data), encoding="utf-8-sig")
    tokenizer = Tokenizer.load(path)
    assert tokenizer.kind == "custom"
    assert not open_store(CORPUS, tokenizer).lossless


def test_a_text_is_the_same_tokens_every_time() -> None:
    data = json.loads(make_tokenizer("bpe", CORPUS, 280).backend.to_str())
    data["model"]["dropout"] = 0.9
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(data)))
    text = CORPUS.documents[0].text
    assert tokenizer.encode(text) == make_tokenizer("bpe", CORPUS, 280).encode(text)


def test_a_tokenizer_that_makes_no_token_is_refused() -> None:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.add_special_tokens(["<|endoftext|>"])
    with pytest.raises(BadInput) as caught:
        open_store(CORPUS, Tokenizer(backend))
    assert caught.value.code == "text.no-tokens"


def test_our_own_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("wordorder.text.tokenizer.round_trip")
    for how in ("bpe", "bytes", "characters"):
        tokenizer = make_tokenizer(how, CORPUS, 300)
        assert open_store(CORPUS, tokenizer).lossless


def test_a_first_blank_is_not_the_texts() -> None:
    assert round_trip(["a b"], lambda text: " " + text).lossless
    assert round_trip([" a b"], str.strip).lossless
    assert round_trip(["a b"], str.upper).lost == 2


def test_a_sample_of_a_long_text_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordorder.text.round_trip.MOST_CHARACTERS", 4000)
    tried: list[str] = []
    round_trip(["x" * 9000, "y" * 9000], lambda text: tried.append(text) or text)
    assert {text[0] for text in tried} == {"x", "y"}
    assert sum(map(len, tried)) <= 4000


def byte_level() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(make_tokenizer("bpe", CORPUS, 270).backend.to_str())


def test_a_token_that_is_not_spelt_in_bytes() -> None:
    data = json.loads(byte_level().to_str())
    data["model"]["vocab"]["a→b"] = 270
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(data)))
    assert tokenizer.decode([270]) == "a→b" == tokenizer.backend.decode([270])
    assert tokenizer.token_bytes([270]) == 5


def test_a_byte_level_decoder_inside_a_sequence() -> None:
    backend = byte_level()
    backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()])
    tokenizer, text = Tokenizer(backend), "the cat sát"
    assert tokenizer.kind == "custom"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes(np.array(ids)) == len(text.encode())
