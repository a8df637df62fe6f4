import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from wordorder.errors import BadInput
from wordorder.text.backends import MASK, sample
from wordorder.text.corpus import END_OF_TEXT, Corpus, Document
from wordorder.text.pieces import BETWEEN_GPT2_PARTS, BETWEEN_PARTS, LONG_RUNS, pieces
from wordorder.text.stream import StreamDecoder
from wordorder.text.tokenizer import Tokenizer, make_tokenizer

# Every code point that a test's text may have, so that the character tokenizer knows it.
ALPHABET = "abcdefghijklmnopqrstuvwxyz ABC0123.,'<|>\n\t\r\f\0éßñ日本語🙂\u0301\u2028\u200b"
CORPUS = Corpus(
    "made", (Document(ALPHABET * 3, "all"), Document("the cat and the hat " * 9, "cat"))
)
HOW = ("bpe", "bytes", "characters")
TOKENIZERS = {how: make_tokenizer(how, CORPUS, 280) for how in HOW}

TEXT = st.text(st.sampled_from(ALPHABET))


def custom() -> tokenizers.Tokenizer:
    """SentencePiece's manner: a mark for blanks, bytes for what is unknown."""
    spelt = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b"]
    vocabulary = {piece: index for index, piece in enumerate(spelt)}
    vocabulary["▁a"] = len(spelt)
    backend = tokenizers.Tokenizer(
        models.BPE(vocabulary, [("▁", "a")], unk_token="<unk>", byte_fallback=True)
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return backend


@pytest.mark.parametrize("how", HOW)
@given(text=TEXT)
@example(text=END_OF_TEXT)
@example(text=f"a{MASK}b")
@example(text="")
def test_round_trip(how: str, text: str) -> None:
    tokenizer = TOKENIZERS[how]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes(ids) == len(text.encode())
    assert tokenizer.end_of_text not in ids


@pytest.mark.parametrize("how", ["bpe", "bytes"])
@given(text=st.text())
def test_round_trip_of_any_text(how: str, text: str) -> None:
    assert TOKENIZERS[how].decode(TOKENIZERS[how].encode(text)) == text


@pytest.mark.parametrize("how", HOW)
@given(text=TEXT)
def test_same_ids_as_the_backend(how: str, text: str) -> None:
    tokenizer = TOKENIZERS[how]
    theirs = tokenizer.backend.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text) == theirs
    assert tokenizer.backend.decode(theirs) == text


@pytest.mark.parametrize("how", HOW)
@given(data=st.data())
def test_stream_equals_decode_for_any_ids(how: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[how]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1), max_size=20))
    stream = StreamDecoder(tokenizer)
    text = "".join(map(stream.feed, ids)) + stream.finish()
    assert text == tokenizer.decode(ids) == tokenizer.backend.decode(ids)


def test_stream_never_gives_half_a_character() -> None:
    stream = StreamDecoder(TOKENIZERS["bytes"])
    assert [stream.feed(byte) for byte in "aé🙂".encode()] == ["a", "", "é", "", "", "", "🙂"]
    stream.feed("🙂".encode()[0])
    assert stream.finish() == "\ufffd"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("mask", [False, True])
def test_saved_file_is_the_same_tokenizer(how: str, mask: bool, tmp_path: Path) -> None:
    made = make_tokenizer(how, CORPUS, 280, mask=mask)
    made.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path)
    facts = ("kind", "vocabulary_size", "end_of_text", "mask", "content_hash")
    assert [getattr(loaded, f) for f in facts] == [getattr(made, f) for f in facts]
    assert loaded.kind == how
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    text = "the cat, naïve"[:10] + " 日本"
    assert loaded.encode(text) == made.encode(text)


@pytest.mark.parametrize("how", HOW)
def test_transformers_reads_the_file(how: str, tmp_path: Path) -> None:
    ours = TOKENIZERS[how]
    ours.save(tmp_path / "tokenizer.json")
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token=END_OF_TEXT
    )
    text = "the cat's hat\n  and 日本語 🙂"
    text = text if how != "characters" else text.replace("'s", "")
    assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text)
    assert theirs.decode(ours.encode(text)) == text
    assert theirs.eos_token_id == ours.end_of_text
    assert len(theirs) == ours.vocabulary_size


def test_bytes_are_their_values() -> None:
    tokenizer = TOKENIZERS["bytes"]
    assert tokenizer.encode("aé\0") == [*"aé\0".encode()]
    assert (tokenizer.vocabulary_size, tokenizer.end_of_text, tokenizer.mask) == (257, 256, None)


def test_characters_are_counted_once() -> None:
    tokenizer = TOKENIZERS["characters"]
    assert tokenizer.vocabulary_size == len(set(ALPHABET)) + 1
    assert tokenizer.encode("\0\t\n") == [0, 1, 2]


def test_mask_is_added_last() -> None:
    for how in HOW:
        plain, masked = (make_tokenizer(how, CORPUS, 300, mask=mask) for mask in (False, True))
        assert plain.mask is None
        assert masked.mask == masked.vocabulary_size - 1
        assert masked.token_bytes([masked.mask, masked.end_of_text]) == 0
        assert masked.mask not in masked.encode("a<|mask|>b")


def test_bpe_fills_its_vocabulary_and_shortens_text() -> None:
    tokenizer = make_tokenizer("bpe", CORPUS, 270)
    assert tokenizer.vocabulary_size == 270
    assert len(tokenizer.encode("the cat and the hat")) < 19


def test_bpe_is_deterministic_across_processes() -> None:
    program = (
        "from wordorder.text.corpus import Corpus, Document;"
        "from wordorder.text.tokenizer import make_tokenizer;"
        f"c = Corpus('', [Document({CORPUS.documents[0].text!r} * 3, ''), "
        f"Document({CORPUS.documents[1].text!r}, '')]);"
        "print(make_tokenizer('bpe', c, 300).content_hash)"
    )
    command = [sys.executable, "-c", program]
    runs = [subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1] != b""


GPT2_PATTERN = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
ODD_TEXT = st.text(
    alphabet="aéZ日न\u093f\u0301\u200d1½-.,'/_。，\u3000\xa0\x85\x1c \t\n\r", max_size=40
)


@pytest.mark.parametrize("pattern", ["ours", "gpt-2"])
@given(text=ODD_TEXT)
def test_a_cut_changes_no_token(pattern: str, text: str) -> None:
    tokenizer = TOKENIZERS["bpe"]
    cuts = BETWEEN_PARTS
    if pattern == "gpt-2":
        backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
        backend.pre_tokenizer = GPT2_PATTERN
        tokenizer, cuts = Tokenizer(backend), BETWEEN_GPT2_PARTS
    whole = tokenizer.backend.encode(text).ids
    for cut in cuts.finditer(text):
        parts = text[: cut.end()], text[cut.end() :]
        assert [i for part in parts for i in tokenizer.backend.encode(part).ids] == whole


@given(text=ODD_TEXT, size=st.integers(1, 9))
def test_pieces_are_the_text_and_bounded(text: str, size: int) -> None:
    cut = list(pieces(text, BETWEEN_PARTS, size))
    assert "".join(cut) == text
    assert all(len(piece) <= 2 * size for piece in cut)


@pytest.mark.parametrize(
    "text", ["ACGT" * 250_000, "\n　　天亮以前，她来了" * 45_000, " " * 1_000_000, "!" * 1_000_000]
)
def test_text_without_spaces_is_learnt_from_in_short_runs(text: str) -> None:
    corpus = Corpus("", [Document(text, "")])
    assert not any(LONG_RUNS.search(part) for part in sample(corpus))
    tokenizer = make_tokenizer("bpe", corpus, 300)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_word_goes_on_through_combining_marks() -> None:
    text = "वह किताब पढ़ती है और पानी पीती है\n" * 40
    tokenizer = make_tokenizer("bpe", Corpus("", [Document(text, "")]), 600)
    assert len(tokenizer.encode(text)) <= 1.3 * len(text.split())


def test_how_english_is_split() -> None:
    split = TOKENIZERS["bpe"].backend.pre_tokenizer.pre_tokenize_str
    words = " ".join(word for word, _ in split("I don't (really) know why\nit's so."))
    assert words == "I Ġdon 't Ġ( really ) Ġknow Ġwhy Ċ it 's Ġso ."


def test_tokenizers_of_before_load_and_encode_as_before(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer.from_str(TOKENIZERS["bpe"].backend.to_str())
    backend.pre_tokenizer = GPT2_PATTERN
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.kind == "bpe"
    assert tokenizer.encode("the\n  cat's") == backend.encode("the\n  cat's").ids


def test_unknown_character_is_named() -> None:
    with pytest.raises(BadInput) as caught:
        TOKENIZERS["characters"].encode("the Ω")
    assert caught.value.code == "text.unknown-character"
    assert str(caught.value).startswith(
        f"character 'Ω' (U+03A9) at offset 4 is not among the {len(set(ALPHABET))} characters"
    )


def test_custom_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    custom().save(str(path))
    tokenizer = make_tokenizer(str(path), CORPUS)
    text = "a b é a🙂"
    ids = tokenizer.encode(text)
    assert tokenizer.kind == "custom"
    assert tokenizer.end_of_text == 2  # its own </s>, not a new one
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes(ids) == len(text.encode())
    assert tokenizer.token_bytes([0, 1, 2]) == 0
    stream = StreamDecoder(tokenizer)
    streamed = [stream.feed(token) for token in ids]
    assert "".join(streamed) + stream.finish() == text
    assert not any("\ufffd" in piece for piece in streamed)


def test_a_name_on_the_hub_needs_no_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def downloaded(name: str, files: list[str]) -> Path:
        asked.append(name)
        raise BadInput("no network", code="text.hub-unreachable")

    monkeypatch.setattr("wordorder.text.tokenizer_file.downloaded", downloaded)
    with pytest.raises(BadInput, match="no network"):
        make_tokenizer("hf:gpt2", CORPUS)
    assert asked == ["hf:gpt2"]


def test_custom_byte_level_tokenizer_is_counted_by_bytes(tmp_path: Path) -> None:
    TOKENIZERS["bpe"].save(tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [data["pre_tokenizer"]]}
    data["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    tokenizer = make_tokenizer(str(tmp_path / "a.json"), CORPUS)
    ids = tokenizer.encode("the 🙂 cat")
    assert tokenizer.kind == "custom"
    assert tokenizer.token_bytes(np.array(ids)) == 12
    assert tokenizer.decode(ids) == "the 🙂 cat"  # the file's truncation is not taken over


def test_bad_tokenizers(tmp_path: Path) -> None:
    def message(how: str, size: int = 300, mask: bool = False) -> str:
        with pytest.raises(BadInput) as caught:
            make_tokenizer(how, CORPUS, size, mask=mask)
        return f"{caught.value.code}: {caught.value}"

    assert message("bpee").startswith("text.unknown-tokenizer: unknown tokenizer 'bpee': ")
    small = "text.vocabulary-too-small: vocabulary size"
    assert message("bpe", 256) == f"{small} 256 is too small for bpe: use at least 257"
    assert message("bpe", 257, mask=True) == f"{small} 257 is too small for bpe: use at least 258"
    assert message("no/such.json").startswith("text.no-tokenizer-file: no tokenizer file no/such")
    (tmp_path / "bad.json").write_text("{")
    assert message(f"{tmp_path}/bad.json").startswith(
        f"text.damaged-tokenizer: cannot read {tmp_path}/bad.json "
    )


def test_wordpiece_counts_its_pieces() -> None:
    backend = tokenizers.Tokenizer(
        models.WordPiece({"[UNK]": 0, "cat": 1, "##s": 2}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens([END_OF_TEXT])
    tokenizer = Tokenizer(backend)
    assert tokenizer.token_bytes(tokenizer.encode("cats")) == 4
