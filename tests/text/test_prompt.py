"""Prompts that end inside a token, and continuations as text: with any tokenizer."""

from __future__ import annotations

import random

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from wordorder.text.corpus import Corpus, Document
from wordorder.text.prompt import Prompt
from wordorder.text.stream import StreamDecoder
from wordorder.text.tokenizer import Tokenizer, make_tokenizer

TEXT = (
    "The cat saw a kite.\n\nThe old man  lost a red kite.\n\tThe 字 and the 字典 saw a cat.\n" * 4
)
BPE = make_tokenizer("bpe", Corpus("made", (Document(TEXT * 4, "all"),)), 320)


def backend_of(name: str) -> tokenizers.Tokenizer:
    """Tokenizers whose decoders strip the first space, and one that adds one."""
    trained = {"vocab_size": 400, "special_tokens": ["[UNK]", "</s>"], "show_progress": False}
    if name == "wordlevel":
        backend = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(**trained)
    elif name == "wordpiece":
        backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        backend.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(**trained)
    elif name == "metaspace":
        backend = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(**trained)
    elif name == "prefix-space":
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **trained)
    else:
        return llama()
    backend.train_from_iterator([TEXT] * 4, trainer)
    return backend


def llama() -> tokenizers.Tokenizer:
    """SentencePiece's manner: a mark for each space, one before the text, bytes for the unknown."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", *"abcdefghijklmnopqrstuvwxyzT.", "▁a", "▁c", "▁ca", "▁cat"]
    merges = [("▁", "a"), ("▁", "c"), ("▁c", "a"), ("▁ca", "t")]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    backend = tokenizers.Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    strip = decoders.Strip(content=" ", left=1, right=0)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return backend


NAMES = ("wordlevel", "wordpiece", "metaspace", "prefix-space", "llama")
BROUGHT = {name: Tokenizer(backend_of(name)) for name in NAMES}
ALL = {"bpe": BPE, **BROUGHT}


def written(prompt: Prompt, tokens: list[int], *, ran_out: bool = False) -> str:
    decoder = prompt.decoder()
    return "".join(map(decoder.feed, tokens)) + decoder.finish(ran_out=ran_out)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("prompt", ["", "The cat saw", "The cat saw ", "the old man", "The 字 "])
def test_a_continuation_goes_on_where_its_prompt_ends(name: str, prompt: str) -> None:
    """The tokens of a whole text, from where the prompt's end: what is printed is the text."""
    tokenizer = ALL[name]
    start = Prompt(prompt, tokenizer)
    text = prompt.rstrip() + " a kite" if prompt else "a kite"
    ids, before = tokenizer.encode(text), start.tokens[1:]
    if ids[: len(before)] != before:
        pytest.skip("the prompt's tokens are not those of the text")
    first = start.allowed(())
    assert first is None or ids[len(before)] in first
    assert start.tokens[0] == tokenizer.end_of_text
    assert prompt + written(start, ids[len(before) :]) == (
        f" {text}" if name == "prefix-space" and not prompt else text
    )


@pytest.mark.parametrize(
    ("prompt", "held_back"),
    [("cat ", " "), ("man  ", "  "), ("kite.\n\n", "\n\n"), ("kite.\n\t", "\n\t"), (" ", " "),
     ("cat\u3000", "\u3000"), ("cat", ""), ("", "")],
)  # fmt: skip
def test_whitespace_at_the_end_is_spelt_by_the_model(prompt: str, held_back: str) -> None:
    """Whatever tokens it takes of those that may come, the text is what was given."""
    start = Prompt(prompt, BPE)
    assert start.held_back == held_back
    assert start.tokens == [BPE.end_of_text, *BPE.encode(prompt[: len(prompt) - len(held_back)])]
    if not held_back:
        assert start.allowed(()) is None
    for seed in range(30 if held_back else 0):
        draw, tokens = random.Random(seed), []
        while (allowed := start.allowed(tokens)) is not None:
            assert BPE.end_of_text not in allowed
            tokens.append(draw.choice(allowed))
        whole = BPE.decode(tokens)
        assert whole.startswith(held_back)
        assert written(start, tokens) == whole.removeprefix(held_back)


def test_a_space_at_the_end_leaves_the_words_that_begin_with_one() -> None:
    start = Prompt("The cat ", BPE)
    (saw,) = BPE.encode(" saw")
    allowed = [BPE.decode([token]) for token in start.allowed(())]
    assert " saw" in allowed and all(piece.startswith(" ") for piece in allowed)
    assert start.tokens == Prompt("The cat", BPE).tokens
    assert written(start, [saw]) == "saw"


@pytest.mark.parametrize("how", ["bytes", "characters"])
def test_where_every_token_is_a_character_nothing_is_held_back(how: str) -> None:
    tokenizer = make_tokenizer(how, Corpus("made", (Document(TEXT * 4, "all"),)))
    start = Prompt("The cat ", tokenizer)
    assert (start.held_back, start.allowed(())) == ("", None)
    assert tokenizer.decode(start.tokens) == "The cat "


def test_whitespace_that_a_tokenizer_drops_is_said_and_not_doubled() -> None:
    tokenizer = BROUGHT["wordlevel"]
    start = Prompt("The cat\n", tokenizer)
    assert start.note == (
        "the tokenizer drops the whitespace at the end of the prompt, so the model does not see it"
    )
    assert start.allowed(()) is None
    assert written(start, tokenizer.encode("saw a")) == "saw a"
    assert not Prompt("The cat ", tokenizer).note


@pytest.mark.parametrize("name", ["wordlevel", "wordpiece"])
@pytest.mark.parametrize("prompt", ["Ω", "Ω ", "The Ω", "Ω cat"])
def test_after_a_word_that_is_unknown_a_space_comes_too(name: str, prompt: str) -> None:
    """The unknown word is a special token, which is silent."""
    tokenizer = BROUGHT[name]
    (unknown,) = tokenizer.encode("Ω")
    start = Prompt(prompt, tokenizer)
    ids = [*tokenizer.encode("cat"), unknown, *tokenizer.encode("saw")]
    assert (prompt + written(start, ids)).startswith(f"{prompt.strip()} cat saw")


@pytest.mark.parametrize("name", ["bpe", "llama", "bytes"])
def test_a_character_that_was_cut_short_is_left_out(name: str) -> None:
    """Where the tokens ran out; where the model ended the text it is an error of the model."""
    corpus = Corpus("made", (Document("x", "x"),))
    tokenizer = make_tokenizer("bytes", corpus) if name == "bytes" else ALL[name]
    ids = tokenizer.encode("cat典🙂")
    start = Prompt("The", tokenizer)
    for cut, whole in ((1, "cat典"), (3, "cat典"), (4, "cat典"), (5, "cat")):
        text = written(start, ids[:-cut], ran_out=True).strip()
        assert text == whole
        assert written(start, ids[:-cut]).strip().startswith(whole)
        assert ("\ufffd" in written(start, ids[:-cut])) == (cut != 4)


@pytest.mark.parametrize("name", ["bpe", "llama"])
def test_broken_bytes_inside_a_text_stay(name: str) -> None:
    tokenizer = ALL[name]
    broken = tokenizer.encode("典")[-1:]  # never the first byte of a character
    tokens = [*tokenizer.encode("cat"), *broken, *tokenizer.encode("cat")]
    assert written(Prompt("", tokenizer), tokens, ran_out=True).count("\ufffd") == 1
    assert written(Prompt("", tokenizer), [*tokens, *broken], ran_out=True).endswith("\ufffd")


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_pieces_add_up_to_the_text(name: str, data: st.DataObject) -> None:
    tokenizer = BROUGHT[name]
    pieces = ["The", "cat", "saw", "a", "kite", ".", "字"]
    text = " ".join(data.draw(st.lists(st.sampled_from(pieces), min_size=1, max_size=8)))
    ids = tokenizer.encode(text)
    cut = data.draw(st.integers(0, len(ids)))
    stream = StreamDecoder(tokenizer, ids[:cut])
    rest = "".join(map(stream.feed, ids[cut:])) + stream.finish()
    whole = tokenizer.decode(ids)
    assert whole.endswith(rest)
    assert len(whole) - len(rest) == len(tokenizer.decode(ids[:cut])) or "字" in text


def test_a_long_text_is_decoded_once() -> None:
    """Not again from its beginning for every token."""
    tokenizer = Tokenizer(llama())
    ids, decoded = tokenizer.encode("cat a " * 200), []
    stream = StreamDecoder(tokenizer, ids)

    class Counting:
        id_to_token = tokenizer.backend.id_to_token

        def decode(self, ids: list[int], **options: bool) -> str:
            decoded.append(len(ids))
            return backend.decode(ids, **options)

    backend, tokenizer.backend = tokenizer.backend, Counting()
    assert "".join(map(stream.feed, ids[1:])).startswith(" a cat a cat")
    assert sum(decoded) < 10 * len(ids)
