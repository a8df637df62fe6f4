"""Traces a model on two orders of the same words, with its activations at every step.

Text becomes tokens, tokens become ids, ids become word vectors. The first layer gets each word's
vector, plus its position's vector if the embedding acts at the input. If it acts in attention, the
trace holds the scores with it and without it. The outputs come last.

Texts are encoded as in training and in `sentences.py`: after the end-of-text token at position 0.
Without that token a bidirectional model whose embedding depends on distance alone could not
distinguish a text from its mirror image, a case that training never contains.

Whether a model distinguishes two orders is measured on a token appended to both: any difference in
its vectors comes from the order of the words before it.

No embedding is treated by name: its hooks tell where it acts, its class attributes what it does.
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
from wordorder.text.words import is_unspaced
from wordorder.words.activations import (
    Activations,
    AttentionRow,
    activations,
    acts_in_attention,
)
from wordorder.words.sentences import Apart, other_order, spaced_once, tokens_of

LIKELIEST = 3  # tokens of the predicted distribution that are listed


@dataclass(frozen=True)
class EmbeddingUse:
    """One positional embedding of a model, and where it acts.

    Args:
        name: its spec.
        door, summary, formula, order_leak: attributes of its class.
        layers: the layers in whose attention it acts, from 0.
        at_input: whether it changes the word vectors.
        feeds: whether it samples the positions used in training.
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
class TextTrace:
    """One order of the words, and what the model computes from it.

    Every (time, ...) is float32 and leaves out the end-of-text token, unless stated otherwise.

    Args:
        tokens, ids: the tokens as text, and their numbers in the vocabulary.
        words: (time, width) word vectors, multiplied by the model's embedding scale.
        added: (time, width) what the embedding adds to them at the input.
        inputs: (time, width) inputs of the first layer.
        attention: starts with the end-of-text token; None if no embedding acts in attention.
        steps: (time, width) outputs of the first layer, for a recurrent model only.
        hidden: (time, width) final hidden states.
        likeliest: the most probable tokens after the text, or in place of a mask token there.
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
class TokenGap:
    """A token in both orders: its index in each, and the difference of its vectors.

    Args:
        apart: the difference of its final vectors.
        layers: the same at the input, after each layer but the last, and in the final state.
    """

    token: str
    places: tuple[int, int]
    apart: Apart
    layers: tuple[Apart, ...]


@dataclass(frozen=True)
class Explanation:
    """The traces of one model on two orders of the same words.

    Args:
        position: the model's positional embedding as a spec; "" for a recurrent model.
        causal: whether each token attends only to itself and the tokens before it.
        fills_in: whether the model predicts a masked token, not the next one.
        opening: the token at position 0 of both texts.
        input_norm: whether the input of the first layer is normalised.
        entrances: the model's embeddings; empty for a recurrent model.
        readings: one for each text.
        same_tokens: whether both texts hold the same tokens, equally often.
        words: the tokens that occur in both texts.
        after: the token appended to both texts.
        after_apart: the difference of its vectors at the input, after each layer but the last, and
            in the final hidden state.
        shared: the overlap of the two predicted distributions, 0 … 1.
        reversed: what the second text reverses: words, or tokens if there are no spaces; "" if
            the caller gave the second text.
    """

    position: str
    causal: bool
    fills_in: bool
    opening: str
    input_norm: bool
    entrances: tuple[EmbeddingUse, ...]
    readings: tuple[TextTrace, TextTrace]
    same_tokens: bool
    words: tuple[TokenGap, ...]
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
    layer: int | None = None,
    head: int = 0,
) -> Explanation:
    """Trace a model on two orders of the same words.

    Args:
        model: in evaluation mode, on the CPU.
        text: at least two words, or two tokens if it has no spaces.
        other: the same words in another order; None: in reverse order. A space is put before a
            text that has spaces, so that its first word is the same token as elsewhere.
        fills_in: whether the model was trained on masked tokens; None: if it is bidirectional.
        layer, head: of the attention, from 0; None: the first layer in which an embedding acts.

    Raises:
        BadInput: a text has fewer than two tokens, or the two have the same tokens in order; the
            model does not have that layer or head.
        PositionError: a text has more tokens than the embedding has positions.
    """
    text = spaced_once(text, other)
    other, reordered, unit = other_order(tokenizer, text, other and other.strip())
    ids = [tokens_of(tokenizer, text), reordered]
    _check_orders(text, other, ids)
    fills_in = not model.config.causal if fills_in is None else fills_in
    mark, opening = _mark(tokenizer, fills_in), tokenizer.beginning_of_text
    runs = [activations(model, [opening, *tokens], layer, head) for tokens in ids]
    after = [activations(model, [opening, *tokens, mark]) for tokens in ids]
    predicting = [run.states[-1][-1] for run in (after if fills_in else runs)]
    chances = [model.logits(hidden).float().softmax(-1) for hidden in predicting]
    first, second = (
        _trace(model, tokenizer, *inputs)
        for inputs in zip((text, other), ids, runs, chances, strict=True)
    )
    return Explanation(
        position=model.config.position if isinstance(model, LanguageModel) else "",
        causal=model.config.causal,
        fills_in=fills_in,
        opening=spelling(tokenizer, opening),
        input_norm=getattr(model, "embedding_norm", None) is not None,
        entrances=embedding_uses(model) if isinstance(model, LanguageModel) else (),
        readings=(first, second),
        same_tokens=Counter(ids[0]) == Counter(ids[1]),
        words=_token_gaps(first, second, runs),
        after=spelling(tokenizer, mark),
        after_apart=tuple(
            _gap(a[-1], b[-1]) for a, b in zip(*(run.states for run in after), strict=True)
        ),
        shared=float(torch.minimum(*chances).sum()),
        reversed=unit,
    )


def _check_orders(text: str, other: str, ids: list[list[int]]) -> None:
    """Check that two texts are different orders of tokens."""
    for order, tokens in zip((text, other), ids, strict=True):
        if len(tokens) < 2:
            raise _one_word(order)
    if ids[0] == ids[1] and text == other:
        if len(text.split()) < 2 and not is_unspaced(text):  # one word of several tokens
            raise _one_word(text)
        raise BadInput(
            f"{shown(text)} is the same in reverse order: give a text with two different words, "
            "or a second order that differs",
            code="words.same-order",
        )
    if ids[0] == ids[1]:
        raise BadInput(
            f"{shown(text)} and {shown(other)} are the same tokens for this tokenizer: give words "
            "that it encodes differently",
            code="words.same-tokens",
        )


def _one_word(text: str) -> BadInput:
    return BadInput(
        f"{shown(text)} has fewer than two words: give at least two words", code="words.one-word"
    )


def _mark(tokenizer: Tokenizer, fills_in: bool) -> int:
    """Return the token to append to both texts: the mask token, or a full stop."""
    if fills_in and tokenizer.mask is not None:
        return tokenizer.mask
    try:
        stop = tokenizer.encode(".")
    except BadInput:  # a character tokenizer without a full stop
        stop = []
    return stop[0] if len(stop) == 1 else tokenizer.end_of_text


def _trace(
    model: TokenModel,
    tokenizer: Tokenizer,
    text: str,
    ids: list[int],
    run: Activations,
    chances: Tensor,
) -> TextTrace:
    sequence = [tokenizer.beginning_of_text, *ids]
    words = model.word_vectors(torch.tensor(sequence))
    added = torch.zeros_like(words)
    if isinstance(model, LanguageModel):
        layout = model.layout(torch.tensor([sequence]))
        added = model.position.embed(words[None], layout)[0] - words
    top = chances.topk(min(LIKELIEST, len(chances)))
    likeliest = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return TextTrace(
        text=text,
        tokens=tuple(spelling(tokenizer, token) for token in ids),
        ids=tuple(ids),
        words=words[1:],
        added=added[1:],
        inputs=run.states[0][1:],
        attention=None if run.attention is None else run.attention.last_row(),
        steps=None if isinstance(model, LanguageModel) else run.first_output[1:],
        hidden=run.states[-1][1:],
        likeliest=tuple((spelling(tokenizer, token), share) for token, share in likeliest),
    )


def embedding_uses(model: LanguageModel) -> tuple[EmbeddingUse, ...]:
    """Return the embeddings of a model, one for each part of its spec."""
    pattern = parse(model.config.position).layers
    layers: dict[str, list[int]] = {}
    kinds: dict[str, Position] = {}
    for layer, whole in enumerate(model.position.sums):
        names = map(str, pattern[layer % len(pattern)])
        for name, part in zip(names, whole.parts, strict=True):
            kinds[name] = part
            layers.setdefault(name, []).extend([layer] if acts_in_attention(part) else [])
    return tuple(
        EmbeddingUse(
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


def _token_gaps(
    first: TextTrace, second: TextTrace, runs: list[Activations]
) -> tuple[TokenGap, ...]:
    """Return the tokens of both texts, each at its first occurrence."""
    states = [run.states for run in runs]
    common = (token for token in dict.fromkeys(first.ids) if token in second.ids)
    gaps = []
    for a, b in ((first.ids.index(token), second.ids.index(token)) for token in common):
        # The end-of-text token precedes both texts.
        layers = tuple(_gap(x[a + 1], y[b + 1]) for x, y in zip(*states, strict=True))
        gaps.append(TokenGap(first.tokens[a], (a, b), layers[-1], layers))
    return tuple(gaps)


def _gap(first: Tensor, second: Tensor) -> Apart:
    return Apart.of(first.float().numpy(), second.float().numpy())


def spelling(tokenizer: Tokenizer, token: int) -> str:
    """Return a token as text; a special token, which decodes to nothing, by its name."""
    return tokenizer.decode([token]) or str(tokenizer.backend.id_to_token(token))
