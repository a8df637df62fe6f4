"""What a model makes of two orders of the same words, with its own numbers at every step.

Text becomes tokens, tokens ids, ids word vectors; what enters the first layer is each word's
vector and, where the embedding comes in at the input, its position's. Where it comes in later,
the same is shown there: what attention's scores are with it and without. Then what comes out.

Texts are read as documents are in training, and as `sentences.py` reads them: after the end-of-text
token, at position 0, which both orders share. Without it a model that reads both ways with an
embedding of distances would see a text and its mirror image as one, which no training text is.

Whether a model tells two orders apart is seen on one token that stands after both: what differs
in its vector can come from the order of the words before it and from nothing else.

Nothing here knows any one embedding: where it acts is told by its hooks, and what by its facts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.model import LanguageModel, TokenModel
from wordorder.positions import Position, parse
from wordorder.positions.base import overrides
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.user_text import shown
from wordorder.words.observed import (
    AttentionRow,
    acts_in_attention,
    attention_row,
    layer_states,
    observed,
)
from wordorder.words.sentences import Apart, other_order, tokens_of

LIKELIEST = 3


@dataclass(frozen=True)
class Entrance:
    """One embedding of a model, and where it comes in.

    Args:
        name: as a spec spells it.
        door, summary, formula, order_leak: what its class says.
        layers: in which it acts, from 0; none for one that acts at the input, or not at all.
        at_input: it changes the word vectors.
        feeds: it says which positions training feeds.
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
    """One order of the words, and what the model makes of it.

    Args:
        tokens, ids: one for each place, the end-of-text before them left out, here and below.
        words: (time, width) word vectors, times the model's embedding scale.
        added: (time, width) what the embedding adds to them at the input.
        inputs: (time, width) what enters the first layer.
        attention: where an embedding acts in attention, the end-of-text first; None where none
            does.
        steps: (time, width) what the first layer of a recurrent model gives after each token.
        hidden: (time, width) final hidden states.
        likeliest: tokens after the text, or in place of the mask there, with probabilities.
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
    """A token of both orders: where it stands in each, and how far its final vectors are apart."""

    token: str
    places: tuple[int, int]
    apart: Apart


@dataclass(frozen=True)
class Explanation:
    """Two orders of the same words, read by one model.

    Args:
        position: the model's positional embedding as a spec; "" for a recurrent model.
        causal: whether each token sees only those before it.
        fills_in: whether the model was asked for a hidden token, not for the next one.
        opening: the token that stands before both texts, as text.
        input_norm: what enters the first layer is normalised.
        entrances: the embeddings.
        readings: of the two texts.
        same_tokens: the texts hold the same tokens, each as often.
        words: of the tokens that both hold, their final vectors compared.
        after: a token that is put after both, as text.
        after_apart: how far its vectors are apart: at the input, after each layer but the last,
            and at the end.
        shared: of the probability of the next token, what the two orders have in common.
        reversed: what the second text has from the last to the first: words, or tokens where
            there are no spaces; "" where it was given.
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
    """Read two texts and return what happens to them.

    Args:
        model: ready to evaluate, on the CPU.
        text: a text of two words or more, or of two tokens where it has no spaces.
        other: the same words in another order; None: from the last to the first. Each is read
            with a blank before it if it has spaces, so that the first word is the same token as
            elsewhere.
        fills_in: the model was trained on hidden tokens; None: if it sees both ways.

    Raises:
        BadInput: a text without two tokens, or longer than the model can read.
    """
    text = text.strip()
    other, reordered, unit = other_order(tokenizer, text, other and other.strip())
    ids = [tokens_of(tokenizer, text), reordered]
    _check_orders(text, other, ids)
    fills_in = not model.config.causal if fills_in is None else fills_in
    mark, opening = _mark(tokenizer, fills_in), tokenizer.end_of_text
    after = [layer_states(model, [opening, *tokens, mark]) for tokens in ids]
    hidden = [mark] if fills_in else []
    chances = [_chances(model, [opening, *tokens, *hidden]) for tokens in ids]
    first, second = (
        _reading(model, tokenizer, *each) for each in zip((text, other), ids, chances, strict=True)
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
            raise BadInput(f"{shown(each)} is no order of words: give two words at least")
    if ids[0] != ids[1]:
        return
    if text != other:
        raise BadInput(
            f"{shown(text)} and {shown(other)} are the same tokens to this tokenizer: "
            "give words that it tells apart"
        )
    raise BadInput(
        f"{shown(text)} is the same text in the same order: give one with two different words, "
        "or another order with --other"
    )


def _mark(tokenizer: Tokenizer, fills_in: bool) -> int:
    """A token to stand after both texts: the one that hides others, or a full stop."""
    if fills_in and tokenizer.mask is not None:
        return tokenizer.mask
    try:
        stop = tokenizer.encode(".")
    except BadInput:  # characters of a text that has none
        stop = []
    return stop[0] if len(stop) == 1 else tokenizer.end_of_text


def _chances(model: TokenModel, ids: list[int]) -> Tensor:
    """Probabilities (vocabulary,) of the token after a text, or of the hidden one at its end."""
    probabilities: Tensor = model.logits(layer_states(model, ids)[-1][-1]).float().softmax(-1)
    return probabilities


def _reading(
    model: TokenModel, tokenizer: Tokenizer, text: str, ids: list[int], chances: Tensor
) -> Reading:
    read = [tokenizer.end_of_text, *ids]
    inputs, *_, hidden = layer_states(model, read)
    words = model.word_vectors(torch.tensor(read))
    added, row, steps = torch.zeros_like(words), None, None
    if isinstance(model, LanguageModel):
        geometry = model.geometry(torch.tensor([read]), None, None, None)
        added = model.position.embed(words[None], geometry)[0] - words
        row = attention_row(model, read)
    else:
        steps = observed(model, read, [model.recurrences[0]])[0][0].output[0][0][1:]
    top = chances.topk(min(LIKELIEST, len(chances)))
    likeliest = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return Reading(
        text=text,
        tokens=tuple(_spelt(tokenizer, token) for token in ids),
        ids=tuple(ids),
        words=words[1:],
        added=added[1:],
        inputs=inputs[1:],
        attention=row,
        steps=steps,
        hidden=hidden[1:],
        likeliest=tuple((_spelt(tokenizer, token), share) for token, share in likeliest),
    )


def _entrances(model: LanguageModel) -> tuple[Entrance, ...]:
    """The embeddings of a model: one for each part of its spec, with the layers it acts in."""
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
            overrides(part, "embed"),
            overrides(part, "place"),
        )
        for name, part in kinds.items()
    )


def _words_apart(first: Reading, second: Reading) -> tuple[WordApart, ...]:
    """Tokens of both texts, the first time they come in each."""
    found = []
    for token in dict.fromkeys(first.ids):
        if token in second.ids:
            places = first.ids.index(token), second.ids.index(token)
            apart = _apart(first.hidden[places[0]], second.hidden[places[1]])
            found.append(WordApart(first.tokens[places[0]], places, apart))
    return tuple(found)


def _apart(first: Tensor, second: Tensor) -> Apart:
    return Apart.of(first.float().numpy(), second.float().numpy())


def _spelt(tokenizer: Tokenizer, token: int) -> str:
    """A token as text; a special one, which decodes to nothing, by its name."""
    return tokenizer.decode([token]) or tokenizer.backend.id_to_token(token)
