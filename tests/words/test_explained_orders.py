"""Which texts, layers and heads are explained."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.text.tokenizer import Tokenizer
from wordorder.words.explain_view import page
from wordorder.words.explanation import explain

MakeModel = Callable[..., TokenModel]


def test_spaces_between_words_are_not_part_of_their_order(
    make_random: MakeModel, tokenizer: Tokenizer
) -> None:
    model = make_random("none")
    found = explain(model, tokenizer, "  I\nlove   AI ")
    assert (
        found.same_tokens
        and found.readings[0].tokens == explain(model, tokenizer, "I love AI").readings[0].tokens
    )


def test_a_layer_that_is_asked_for_is_shown_and_a_head_is_checked(
    make_random: MakeModel, tokenizer: Tokenizer
) -> None:
    """Also where no embedding acts in attention."""
    model = make_random("sinusoidal")
    assert explain(model, tokenizer, "I love AI").readings[0].attention is None
    asked = explain(model, tokenizer, "I love AI", layer=1, head=1)
    assert asked.readings[0].attention is not None
    assert len(page(asked, "a run")) > len(page(explain(model, tokenizer, "I love AI"), "a run"))
    with pytest.raises(BadInput, match="has no head 100"):
        explain(model, tokenizer, "I love AI", head=99)
    gru = make_random("none", kind="gru")
    for options in ({"layer": 0}, {"head": 1}):
        with pytest.raises(BadInput) as caught:
            explain(gru, tokenizer, "I love AI", **options)
        assert caught.value.code == "words.no-attention"
