"""How a model reads two orders of the same words, with its own numbers at every step.

Text becomes tokens, tokens ids, ids word vectors. What enters the first layer is each word's vector
and, if the embedding acts at the input, its position's. If it acts in attention, the scores are
shown with it and without it. Then come the outputs.

Texts are read as in training and in `sentences.py`: after the end-of-text token at position 0.
Without it a bidirectional model whose embedding depends on distance alone would read a text and its
reverse as the same, which no training text is.

Whether a model tells two orders apart is measured on a token that follows both: any difference in
its vector comes from the order of the words before it.

No embedding is known here by name: its hooks tell where it acts, its class what it does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.model import LanguageModel, TokenModel
from wordorder.positions import Position, parse
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.user_text import shown
from wordorder.words.observed import (
    AttentionRow,
    acts_in_attention,
    attention_row,
    layer_outputs,
    layer_states,
)
from wordorder.words.sentences import Apart, other_order, tokens_of

LIKELIEST = 3


@dataclass(frozen=True)
class Entrance:
    """One embedding of a model, and where it acts.

    Args:
        name: as in a spec.
        door, summary, formula, order_leak: facts of its class.
        layers: those in whose attention it acts, from 0.
        at_input: it changes the word vectors.
        feeds: it chooses the positions that training feeds.
    """

    name: str
    door: str
    summary: str
    formula: str
    order_leak: str
    layers: tuple[int, ...]
    at_input: bool
    feeds: bool


@dataclass(frozen=True)
class Reading:
    """One order of the words, and what the model computes from it.

    Args:
        tokens, ids: one for each place, without the end-of-text before them, here and below.
        words: (time, width) word vectors, times the model's embedding scale.
        added: (time, width) what the embedding adds to them at the input.
        inputs: (time, width) what enters the first layer.
        attention: with the end-of-text first; None if no embedding acts in attention.
        steps: (time, width) the outputs of a recurrent model's first layer.
        hidden: (time, width) final hidden states.
        likeliest: tokens after the text, or for the hidden token there, with probabilities.
    """

    text: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    words: Tensor
    added: Tensor
    inputs: Tensor
    attention: AttentionRow | None
    steps: Tensor | None
    hidden: Tensor
    likeliest: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class WordApart:
    """A token of both orders: its place in each, and how far apart its final vectors are."""

    token: str
    places: tuple[int, int]
    apart: Apart


@dataclass(frozen=True)
class Explanation:
    """Two orders of the same words, read by one model.

    Args:
        position: the model's positional embedding as a spec; "" for a recurrent model.
        causal: each token sees only those before it.
        fills_in: the model predicts a hidden token, not the next one.
        opening: the token before both texts, as text.
        input_norm: what enters the first layer is normalised.
        entrances: the embeddings.
        readings: of the two texts.
        same_tokens: the texts hold the same tokens, each as often.
        words: tokens that both texts hold.
        after: the token that follows both texts, as text.
        after_apart: how far apart its vectors are: at the input, after each layer but the last,
            and at the end.
        shared: the overlap of the two distributions of the predicted token, 0 … 1.
        reversed: what the second text has in reverse order: words, or tokens if there are no
            spaces; "" if the second text was given.
    """

    position: str
    causal: bool
    fills_in: bool
    opening: str
    input_norm: bool
    entrances: tuple[Entrance, ...]
    readings: tuple[Reading, Reading]
    same_tokens: bool
    words: tuple[WordApart, ...]
    after: str
    after_apart: tuple[Apart, ...]
    shared: float
    reversed: str


@torch.no_grad()
def explain(
    model: TokenModel,
    tokenizer: Tokenizer,
    text: str,
    other: str | None = None,
    *,
    fills_in: bool | None = None,
) -> Explanation:
    """Return how a model reads two orders of the same words.

    Args:
        model: in evaluation mode, on the CPU.
        text: two words or more, or two tokens if it has no spaces.
        other: the same words in another order; None: in reverse order. A space is put before each
            text that has spaces, so that its first word is the same token as elsewhere.
        fills_in: the model was trained on hidden tokens; None: if it is bidirectional.

    Raises:
        BadInput: a text has fewer than two tokens, or more than the model can read.
    """
    text = text.strip()
    other, reordered, unit = other_order(tokenizer, text, other and other.strip())
    ids = [tokens_of(tokenizer, text), reordered]
    _check_orders(text, other, ids)
    fills_in = not model.config.causal if fills_in is None else fills_in
    mark, opening = _mark(tokenizer, fills_in), tokenizer.end_of_text
    states = [layer_states(model, [opening, *tokens]) for tokens in ids]
    after = [layer_states(model, [opening, *tokens, mark]) for tokens in ids]
    predicting = [each[-1][-1] for each in (after if fills_in else states)]
    chances = [model.logits(hidden).float().softmax(-1) for hidden in predicting]
    first, second = (
        _reading(model, tokenizer, *each)
        for each in zip((text, other), ids, states, chances, strict=True)
    )
    return Explanation(
        position=model.config.position if isinstance(model, LanguageModel) else "",
        causal=model.config.causal,
        fills_in=fills_in,
        opening=_spelt(tokenizer, opening),
        input_norm=getattr(model, "embedding_norm", None) is not None,
        entrances=_entrances(model) if isinstance(model, LanguageModel) else (),
        readings=(first, second),
        same_tokens=Counter(ids[0]) == Counter(ids[1]),
        words=_words_apart(first, second),
        after=_spelt(tokenizer, mark),
        after_apart=tuple(_apart(a[-1], b[-1]) for a, b in zip(*after, strict=True)),
        shared=float(torch.minimum(*chances).sum()),
        reversed=unit,
    )


def _check_orders(text: str, other: str, ids: list[list[int]]) -> None:
    """Check that two texts are two orders to a tokenizer."""
    for each, tokens in zip((text, other), ids, strict=True):
        if len(tokens) < 2:
            raise BadInput(f"{shown(each)} has no order of words: give two words at least")
    if ids[0] == ids[1] and text == other:
        raise BadInput(
            f"{shown(text)} is the same text in the same order: give one with two different words, "
            "or another order with --other"
        )
    if ids[0] == ids[1]:
        raise BadInput(
            f"{shown(text)} and {shown(other)} are the same tokens to this tokenizer: "
            "give words that it tells apart"
        )


def _mark(tokenizer: Tokenizer, fills_in: bool) -> int:
    """The token that follows both texts: the one that hides others, or a full stop."""
    if fills_in and tokenizer.mask is not None:
        return tokenizer.mask
    try:
        stop = tokenizer.encode(".")
    except BadInput:  # a character tokenizer without a full stop
        stop = []
    return stop[0] if len(stop) == 1 else tokenizer.end_of_text


def _reading(
    model: TokenModel,
    tokenizer: Tokenizer,
    text: str,
    ids: list[int],
    states: list[Tensor],
    chances: Tensor,
) -> Reading:
    read = [tokenizer.end_of_text, *ids]
    words = model.word_vectors(torch.tensor(read))
    added, row, steps = torch.zeros_like(words), None, None
    if isinstance(model, LanguageModel):
        layout = model.layout(torch.tensor([read]))
        added = model.position.embed(words[None], layout)[0] - words
        row = attention_row(model, read)
    else:
        steps = layer_outputs(model, read)[0][1:]
    top = chances.topk(min(LIKELIEST, len(chances)))
    likeliest = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return Reading(
        text=text,
        tokens=tuple(_spelt(tokenizer, token) for token in ids),
        ids=tuple(ids),
        words=words[1:],
        added=added[1:],
        inputs=states[0][1:],
        attention=row,
        steps=steps,
        hidden=states[-1][1:],
        likeliest=tuple((_spelt(tokenizer, token), share) for token, share in likeliest),
    )


def _entrances(model: LanguageModel) -> tuple[Entrance, ...]:
    """The embeddings of a model: one for each part of its spec."""
    pattern = parse(model.config.position).layers
    layers: dict[str, list[int]] = {}
    kinds: dict[str, Position] = {}
    for layer, whole in enumerate(model.position.sums):
        names = map(str, pattern[layer % len(pattern)])
        for name, part in zip(names, whole.parts, strict=True):
            kinds[name] = part
            layers.setdefault(name, []).extend([layer] if acts_in_attention(part) else [])
    return tuple(
        Entrance(
            name,
            part.door,
            part.summary,
            part.formula,
            part.order_leak,
            tuple(layers[name]),
            "embed" in part.active_hooks(),
            "sample_positions" in part.active_hooks(),
        )
        for name, part in kinds.items()
    )


def _words_apart(first: Reading, second: Reading) -> tuple[WordApart, ...]:
    """Tokens of both texts, each where it first occurs."""
    common = (token for token in dict.fromkeys(first.ids) if token in second.ids)
    places = ((first.ids.index(token), second.ids.index(token)) for token in common)
    return tuple(
        WordApart(first.tokens[a], (a, b), _apart(first.hidden[a], second.hidden[b]))
        for a, b in places
    )


def _apart(first: Tensor, second: Tensor) -> Apart:
    return Apart.of(first.float().numpy(), second.float().numpy())


def _spelt(tokenizer: Tokenizer, token: int) -> str:
    """A token as text; a special token, which decodes to nothing, by its name."""
    return tokenizer.decode([token]) or tokenizer.backend.id_to_token(token)
