"""A tokenizer.json declares the roles of special tokens and is otherwise what it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import AddedToken, processors

from wordorder.text.backends import byte_backend
from wordorder.text.corpus import Corpus, Document
from wordorder.text.prompt import Prompt
from wordorder.text.special_tokens import declare, declared, make_special, own_post_processor
from wordorder.text.tokenizer import Tokenizer, make_tokenizer

SPECIAL = ("<pad>", "<eos>", "<bos>", "<turn>")
PAD, EOS, BOS, TURN, HTML = range(256, 261)
AROUND = [("<bos>", BOS), ("<eos>", EOS)]
POST_PROCESSORS = {
    "none": None,
    "template": processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> $B:1 <eos>:1", special_tokens=AROUND
    ),
    "bert": processors.BertProcessing(("<eos>", EOS), ("<bos>", BOS)),
    "roberta": processors.RobertaProcessing(("<eos>", EOS), ("<bos>", BOS)),
    "sequence": processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(single="<bos> $A", special_tokens=AROUND),
        ]
    ),
}


def backend_with(post_processor: str = "none", *, ordinary: str = "</s>") -> tokenizers.Tokenizer:
    """Return a tokenizer of bytes with Gemma's special tokens, and HTML's tag as ordinary text."""
    backend = byte_backend()
    backend.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in SPECIAL])
    backend.add_tokens([AddedToken(ordinary, special=False, normalized=False)])
    backend.post_processor = POST_PROCESSORS[post_processor]
    return backend


@pytest.mark.parametrize("name", POST_PROCESSORS)
def test_a_declaration_changes_nothing_else(name: str) -> None:
    plain, declaring = backend_with(name), backend_with(name)
    declare(declaring, {"end_of_text": [TURN], "eos_token_id": [TURN, EOS]})
    declare(declaring, {"end_of_text": [EOS], "eos_token_id": [EOS, TURN]})  # instead of the first
    declaring = tokenizers.Tokenizer.from_str(declaring.to_str())
    assert declared(declaring) == {"end_of_text": [EOS], "eos_token_id": [EOS, TURN]}
    for texts in (("a b",), ("a b", "c")):
        for added in (True, False):
            ours, theirs = (
                backend.encode(*texts, add_special_tokens=added) for backend in (declaring, plain)
            )
            assert (ours.ids, ours.type_ids, ours.offsets, ours.sequence_ids) == (
                theirs.ids,
                theirs.type_ids,
                theirs.offsets,
                theirs.sequence_ids,
            )
    data, before = (json.loads(each.to_str())["post_processor"] for each in (declaring, plain))
    assert own_post_processor(data) == before == own_post_processor(before)


def test_the_declared_end_counts_and_not_a_known_name() -> None:
    backend = backend_with()
    assert Tokenizer(backend).end_of_text == HTML  # known by name
    declare(backend, {"end_of_text": [EOS], "eos_token_id": [EOS, TURN], "pad_token": [PAD]})
    tokenizer = Tokenizer(backend)
    assert tokenizer.end_of_text == EOS and tokenizer.ends_of_text == (EOS, TURN)
    assert tokenizer.roles == {"pad_token": PAD}
    assert Prompt("a", tokenizer).ends == {EOS, TURN}
    assert tokenizer.encode("a</s>b<eos>") == [97, HTML, 98, *b"<eos>"]
    again = tokenizer.with_special(("<more>",))
    assert again.end_of_text == EOS and again.ends_of_text == (EOS, TURN)


def test_a_declared_end_has_any_name(tmp_path: Path) -> None:
    backend = backend_with(ordinary="<html>")
    declare(backend, {"end_of_text": [TURN]})
    Tokenizer(backend).save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path)
    assert loaded.end_of_text == TURN and loaded.vocabulary_size == HTML + 1


def test_a_token_that_is_made_special_keeps_how_it_matches() -> None:
    backend = backend_with()
    backend.add_tokens([AddedToken("[M]", lstrip=True, normalized=False)])
    index = backend.token_to_id("[M]")
    make_special(backend, [index, EOS, 97])
    token = backend.get_added_tokens_decoder()[index]
    assert token.special and token.lstrip
    assert backend.get_added_tokens_decoder()[97].content == "a"


def test_a_users_file_never_ends_a_text_with_ordinary_text(tmp_path: Path) -> None:
    path, corpus = tmp_path / "tokenizer.json", Corpus("a", (Document("a", "a"),))
    backend_with().save(str(path))
    tokenizer = make_tokenizer(str(path), corpus)
    assert tokenizer.end_of_text == EOS and tokenizer.encode("</s>") == [HTML]
    alone = byte_backend()
    alone.add_tokens([AddedToken("</s>", special=False, normalized=False)])
    alone.save(str(path))
    tokenizer = make_tokenizer(str(path), corpus)
    assert tokenizer.end_of_text == 256 and tokenizer.encode("</s>") == list(b"</s>")
