"""An explanation's numbers are the model's own, and what it says of order is so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from mechanisms import each
from random_weights import random_model
from torch import Tensor, nn

from wordorder.errors import BadInput
from wordorder.model import LanguageModel, TokenModel
from wordorder.positions import CATALOGUE, ModelShape, Position, PositionError, composed
from wordorder.positions import spec as spec_module
from wordorder.positions.reference_model import plain_attention
from wordorder.text.corpus import Corpus, Document
from wordorder.text.tokenizer import Tokenizer, make_tokenizer
from wordorder.words.activations import activations, attention_head, attention_of_copies
from wordorder.words.explain_view import page
from wordorder.words.explanation import Explanation, explain
from wordorder.words.sentences import Apart, sentence_vectors

MakeModel = Callable[..., TokenModel]
ORDERS = ("I love AI", "AI love I")
ROUNDING, APART = 1e-5, 1e-3
# Attention in another order of sums.
CLOSE = {"rtol": 0, "atol": 1e-5}
# One for each way in which positions act: the others are tried with the slow tests.
QUICK = "none learned rotary alibi t5 forgetting cope selective path shaw-values fope".split()
QUICK += ["log-temperature", "stick-breaking", "learned+alibi", "none/rotary"]
SPECS = each((*CATALOGUE, "learned+alibi", "none/rotary", "rotary:fraction=0.5"), QUICK)


@pytest.fixture(params=SPECS)
def model(request: pytest.FixtureRequest, make_random: MakeModel) -> TokenModel:
    return make_random(request.param)


def explained(model: TokenModel, tokenizer: Tokenizer, *texts: str) -> Explanation:
    return explain(model, tokenizer, *(texts or ORDERS))


def entering(model: LanguageModel, ids: list[int]) -> Tensor:
    """What the first block is given."""
    given: list[Tensor] = []
    hook = model.blocks[0].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.no_grad():
        model(torch.tensor([ids]))
    hook.remove()
    return given[0][0]


def test_word_vector_plus_position_vector_is_what_enters(
    model: LanguageModel, tokenizer: Tokenizer
) -> None:
    found = explained(model, tokenizer)
    for reading, text in zip(found.readings, ORDERS, strict=True):
        ids = tokenizer.encode(f" {text}")
        assert list(reading.ids) == ids and reading.tokens == (
            (" I", " love", " AI") if text == ORDERS[0] else (" AI", " love", " I")
        )
        assert torch.equal(reading.words, model.word_vectors(torch.tensor(ids)).detach())
        read = entering(model, [tokenizer.end_of_text, *ids])[1:]
        torch.testing.assert_close(reading.words + reading.added, read, **CLOSE)
        assert torch.equal(reading.inputs, read)
    at_input = any(entrance.at_input for entrance in found.entrances)
    assert at_input == bool(found.readings[0].added.any())


def test_scores_and_weights_are_those_of_plain_attention(
    model: LanguageModel, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode(" I love AI the king")
    attention = activations(model, ids).attention
    acts = any(e.layers for e in explained(model, tokenizer).entrances)
    assert (attention is not None) == acts
    if attention is None:
        return
    row = attention.last_row()
    if row.scores is not None:  # the last token sees all, so that nothing is masked
        torch.testing.assert_close(row.scores.softmax(-1), row.weights, **CLOSE)
    if model.config.position == "stick-breaking":
        assert 0 < row.weights.sum() < 1
    else:
        assert row.weights.sum() == pytest.approx(1, abs=1e-4)
    assert row.distances.tolist() == [4, 3, 2, 1, 0]
    torch.testing.assert_close(row.weights, plainly(model, ids, row.layer), **CLOSE)
    torch.testing.assert_close(row.scores_without.softmax(-1), row.weights_without, **CLOSE)


@torch.no_grad()
def plainly(model: LanguageModel, ids: list[int], layer: int) -> Tensor:
    """The last token's weights in the first head, by the definition: values tell who is read."""
    block = model.blocks[layer]
    x = block.attention_norm(activations(model, ids).states[layer][None])
    queries, keys, values = block.attention.project(x)
    layout = model.layout(torch.tensor([ids]))
    position, tables = model.position.sums[layer], model.position.prepare(layout)[layer]
    state = position.state(x, layout, None)
    found = []
    for token in range(len(ids)):
        given = []
        for size in (0.0, 1.0):
            own = torch.zeros_like(values)
            own[:, :, token] = size
            read = plain_attention(position, queries, keys, own, tables, state, layout)
            given.append(read[0, 0, -1, 0])
        found.append(given[1] - given[0])
    return torch.stack(found)


def test_every_embedding_tells_two_orders_apart_and_its_page_fits(
    model: LanguageModel, tokenizer: Tokenizer
) -> None:
    found = explained(model, tokenizer)
    assert found.same_tokens and found.after == "."
    relative = [apart.relative for apart in found.after_apart]
    assert len(relative) == model.config.layers + 1
    assert relative[0] == 0 and relative[-1] > APART
    assert 0 <= found.shared < 1
    lines = page(found, "a model")
    assert all(len(line) <= 80 for line in lines) and len(lines) < 60
    json.dumps(asdict(found), default=Tensor.tolist)


@pytest.mark.parametrize("causal", [True, False])
def test_what_is_explained_is_what_sentence_vectors_are_made_of(
    model: LanguageModel, make_random: MakeModel, tokenizer: Tokenizer, causal: bool
) -> None:
    """The two commands read a sentence alike, or one would call the same what the other does not.

    A model that reads both ways with ALiBi found the words of "I love AI" and of its mirror image
    the same where nothing stood before them, and other than the same after the end of text.
    """
    if not causal:
        try:
            model = make_random(model.config.position, causal=False)
        except PositionError as error:
            pytest.skip(str(error))
    found = explained(model, tokenizer)
    vectors = sentence_vectors(model, tokenizer, ORDERS)
    for number, reading in enumerate(found.readings):
        mean, last = (torch.from_numpy(vectors[kind][number]) for kind in ("mean", "last"))
        torch.testing.assert_close(reading.hidden.mean(0), mean, **CLOSE)
        torch.testing.assert_close(reading.hidden[-1], last, **CLOSE)
    apart = Apart.of(*vectors["mean"])
    words = [word.apart.same for word in found.words]
    assert apart.same == all(words)


def test_mirror_images_are_told_apart_both_ways_with_distances_alone(
    make_random: MakeModel, tokenizer: Tokenizer
) -> None:
    found = explained(make_random("alibi", causal=False), tokenizer)
    assert all(word.apart.relative > APART for word in found.words)
    assert "distinguishes the two orders" in " ".join(page(found, "")[-3:])


def test_without_embedding_the_first_layer_is_blind_and_the_mask_tells(
    make_random: MakeModel, tokenizer: Tokenizer
) -> None:
    found = explained(make_random("none"), tokenizer)
    relative = [apart.relative for apart in found.after_apart]
    assert relative[0] == 0 and relative[1] < ROUNDING and relative[2] > APART
    told = " ".join(" ".join(page(found, "")).split())
    assert "Before ␣love stands ␣I on the left and ␣AI on the right." in told
    assert "Layer 1 cannot distinguish the two orders" in told and "From layer 2 on" in told


def test_two_words_have_none_between_them_that_saw_others(
    make_random: MakeModel, tokenizer: Tokenizer
) -> None:
    lines = page(explained(make_random("none"), tokenizer, "love AI", "AI love"), "")
    told = " ".join(" ".join(lines).split())
    assert "Only the causal mask carries order" in told and "Before" not in told


def test_one_layer_without_embedding_differs_in_the_words_alone(
    make_random: MakeModel, tokenizer: Tokenizer
) -> None:
    found = explained(make_random("none", layers=1), tokenizer)
    assert all(apart.relative < ROUNDING for apart in found.after_apart)
    assert all(word.apart.relative > APART for word in found.words)
    assert "cannot distinguish the two orders" in " ".join(page(found, "")[-4:])


def test_both_ways_without_embedding_it_is_a_bag_of_words(
    make_random: MakeModel, tokenizer: Tokenizer
) -> None:
    found = explained(make_random("none", causal=False), tokenizer)
    assert found.after == "<|mask|>"
    assert all(apart.relative < ROUNDING for apart in found.after_apart)
    assert all(word.apart.relative < ROUNDING for word in found.words)
    assert [(word.token, word.places) for word in found.words] == [
        (" I", (0, 2)),
        (" love", (1, 1)),
        (" AI", (2, 0)),
    ]
    assert found.shared == pytest.approx(1, abs=1e-5)
    assert "It sees a bag of words." in " ".join(page(found, "")[-3:])

    other = explained(make_random("sinusoidal", causal=False), tokenizer)
    assert other.after_apart[1].relative > APART
    assert "distinguishes the two orders from layer 1 on" in " ".join(page(other, "")[-3:])


def test_where_only_a_later_layer_has_positions_it_is_said_which(
    make_random: MakeModel, tokenizer: Tokenizer
) -> None:
    found = explained(make_random("none/rotary"), tokenizer)
    names = {entrance.name: entrance.layers for entrance in found.entrances}
    assert names == {"none": (), "rotary": (1,)}
    assert found.readings[0].attention.layer == 1
    told = " ".join(" ".join(page(found, "")).split())
    assert "ATTENTION: rotary acts on queries and keys in layer 2." in told
    assert "orders from layer 2 on" in told


def test_a_recurrent_model_reads_in_order(make_random: MakeModel, tokenizer: Tokenizer) -> None:
    model = make_random(kind="gru")
    found = explained(model, tokenizer)
    assert found.position == "" and found.entrances == ()
    assert [apart.relative > APART for apart in found.after_apart] == [False, True, True]
    first, second = found.readings
    assert first.attention is None and not first.added.any()
    assert torch.equal(first.inputs, first.words)
    opening = model.embedding(torch.tensor([tokenizer.end_of_text]))
    steps = model.recurrences[0](model.norms[0](torch.cat([opening, first.words])[None]))[0][0]
    torch.testing.assert_close(first.steps, steps[1:].detach(), **CLOSE)
    assert not torch.allclose(first.steps[-1], second.steps[-1])
    told = page(found, "")
    assert any("A GRU READS IN ORDER" in line for line in told)
    assert all(len(line) <= 80 for line in told)


def test_the_next_token_is_the_models_own(make_random: MakeModel, tokenizer: Tokenizer) -> None:
    model = make_random()
    found = explained(model, tokenizer)
    chances = []
    for reading in found.readings:
        with torch.no_grad():
            ids = torch.tensor([[tokenizer.end_of_text, *reading.ids]])
            chances.append(model(ids)[0, -1].softmax(-1))
        token, share = reading.likeliest[0]
        assert share == pytest.approx(float(chances[-1].max()), abs=1e-5)  # float32, other shapes
        top = int(chances[-1].argmax())
        assert token == (tokenizer.decode([top]) or tokenizer.backend.id_to_token(top))
    difference = 0.5 * float((chances[0] - chances[1]).abs().sum())
    assert found.shared == pytest.approx(1 - difference, abs=1e-5)


class Raised(Position):
    """Raises the first word: an embedding that nobody has met."""

    summary = "Raises the first word."  # after the end of text that opens a document
    door = "input"
    absolute, shift_invariant = True, False

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)

    def embed(self, x: Tensor, layout) -> Tensor:  # type: ignore[no-untyped-def]
        first = (layout.query_positions == 1)[..., None]
        return torch.where(first, x + 1, x)


def test_an_embedding_of_ones_own_is_explained_like_any_other(
    make_random: MakeModel, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = {"mine.Raised": Raised}
    monkeypatch.setattr(
        "wordorder.words.explanation.parse", lambda s: spec_module.parse(s, catalogue)
    )
    model = make_random("none")
    model.position = composed.build(
        spec_module.parse("mine.Raised", catalogue), model.position.shape, catalogue
    )
    object.__setattr__(model.config, "position", "mine.Raised")
    found = explained(model, tokenizer)
    assert found.entrances[0].at_input and found.entrances[0].summary == "Raises the first word."
    torch.testing.assert_close(found.readings[0].added[0], torch.ones(32))
    assert not found.readings[0].added[1:].any()
    assert found.after_apart[1].relative > APART


def test_texts_that_are_no_two_orders(make_random: MakeModel, tokenizer: Tokenizer) -> None:
    model = make_random()
    for text, code, begin in (
        ("love", "words.one-word", "'love' has"),
        ("unlovable", "words.one-word", "'unlovable' has"),
        ("I love I", "words.same-order", "'I love I' is"),
        ("the king " * 300, "words.same-order", f"'{'the king ' * 4}the…' is"),
    ):
        with pytest.raises(BadInput) as caught:
            explained(model, tokenizer, text, text)
        assert caught.value.code == code and str(caught.value).startswith(begin)
    found = explained(model, tokenizer, "I love AI", "the king")
    assert not found.same_tokens
    assert "hold different tokens" in " ".join(page(found, "")[-2:])
    with pytest.raises((BadInput, PositionError), match="position"):
        explained(make_random("learned"), tokenizer, "I love " * 20, "love I " * 20)


def test_a_page_has_no_control_characters(make_random: MakeModel, tokenizer: Tokenizer) -> None:
    found = explained(make_random(), tokenizer, "I love AI", "AI love I")
    first = replace(found.readings[0], text="I \x1b[31m")
    lines = page(replace(found, readings=(first, found.readings[1])), "")
    assert "I \\x1b[31m" in "".join(lines) and "\x1b" not in "".join(lines)


def test_long_texts_are_shown_in_part(make_random: MakeModel, tokenizer: Tokenizer) -> None:
    text = "the king and the queen love the man and the woman"  # more tokens than a head is wide
    model = make_random("alibi")
    attention = activations(model, tokenizer.encode(f" {text}")).attention
    assert attention is not None
    row = attention.last_row()
    assert len(row.weights) == 11 > model.config.head_dim
    assert row.weights.sum() == pytest.approx(1, abs=1e-5)
    lines = page(explained(model, tokenizer, text, " ".join(text.split()[::-1])), "")
    assert all(len(line) <= 80 for line in lines) and len(lines) < 60


def test_characters_without_a_full_stop(make_random: MakeModel) -> None:
    tokenizer = make_tokenizer("characters", Corpus("c", (Document("ab c", "c"),)))
    model = make_random(vocabulary_size=tokenizer.vocabulary_size)
    found = explained(model, tokenizer, "ab c", "c ab")
    assert found.after == "<|endoftext|>" and found.same_tokens
    assert isinstance(model.embedding, nn.Embedding)


def test_each_word_is_compared_after_every_layer(
    make_random: MakeModel, tokenizer: Tokenizer
) -> None:
    found = explained(make_random("rotary"), tokenizer, "I love AI")
    assert all(word.layers[-1] == word.apart for word in found.words)
    assert all(len(word.layers) == len(found.after_apart) for word in found.words)
    assert all(word.layers[0].same and not word.layers[1].same for word in found.words)
    blind = explained(make_random("none", causal=False), tokenizer, "I love AI")
    assert all(apart.same for word in blind.words for apart in word.layers)


def test_any_head_can_be_explained(make_random: MakeModel, tokenizer: Tokenizer) -> None:
    model, ids = make_random("alibi"), tokenizer.encode(" I love AI the king")
    heads = [attention_head(model, ids, layer, head) for layer in (0, 1) for head in (0, 1)]
    assert len({tuple(each.last_row().weights.tolist()) for each in heads}) == 4
    whole = heads[-1]
    of_pass = activations(model, ids, 1, 1).attention
    assert of_pass is not None and torch.equal(whole.weights, of_pass.weights)
    assert whole.scores is not None and whole.may_attend.equal(torch.ones(5, 5).tril().bool())
    weights = whole.scores.masked_fill(~whole.may_attend, -torch.inf).softmax(-1)
    torch.testing.assert_close(weights, whole.weights, **CLOSE)
    with pytest.raises(BadInput) as caught:
        attention_head(model, ids, 0, 99)
    assert caught.value.code == "words.no-such-head"


def test_copies_of_a_token_show_the_embedding_alone(make_random: MakeModel) -> None:
    even = attention_of_copies(make_random("none"), 5, 8)
    torch.testing.assert_close(even, torch.full_like(even, 1 / 8))
    slopes = attention_of_copies(make_random("alibi"), 5, 8).log()
    falls = slopes[:, 1:] - slopes[:, :-1]  # a constant per head: its slope
    torch.testing.assert_close(falls, falls[:, :1].expand_as(falls), rtol=1e-4, atol=1e-4)


def test_each_text_runs_once_alone_and_once_with_the_mark(
    make_random: MakeModel, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in (make_random("rotary"), make_random(kind="gru")):
        runs, hidden = [], type(model).hidden
        monkeypatch.setattr(
            type(model), "hidden", lambda *a, _h=hidden, _r=runs, **k: _r.append(1) or _h(*a, **k)
        )
        explained(model, tokenizer)
        assert len(runs) == 4


@pytest.mark.parametrize("part", [{"attention_softcap": 5.0}, {"attention_sinks": True}])
@torch.no_grad()
def test_what_belongs_to_the_model_is_not_the_embeddings(part: dict[str, Any]) -> None:
    """Without an embedding, scores and weights with it and without it are the same."""
    model = random_model(40, position="none/rotary", layers=2, **part)
    head = attention_head(model, [1, 5, 9, 2], 0)
    assert head.scores is not None
    torch.testing.assert_close(head.scores_without, head.scores, **CLOSE)
    torch.testing.assert_close(head.weights_without, head.weights, **CLOSE)
