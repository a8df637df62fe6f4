"""Order: whether models distinguish two orders of the same words, layer by layer."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from wordorder.errors import BadInput
from wordorder.evaluation.ablation import without_position
from wordorder.evaluation.preferences import log_probabilities
from wordorder.model import TokenModel
from wordorder.studio.fields import (
    Layer,
    RunName,
    Sentence,
    SpecText,
    check_tokens,
    command,
    option,
)
from wordorder.studio.opened import OpenRuns, Runs, embedding_of
from wordorder.studio.random_models import random_model, tokenizer_of
from wordorder.text.tokenizer import Tokenizer
from wordorder.words.explain_view import verdict
from wordorder.words.explanation import Explanation, explain
from wordorder.words.sentences import Apart, tokens_of

router = APIRouter()

RANDOM = """\
from wordorder.studio.random_models import random_model, tokenizer_of
tokenizer = tokenizer_of(*texts)
model = random_model({position!r}, {causal}, tokenizer.vocabulary_size)
"""
TRAINED = """\
from wordorder.training.run import Run
run = Run.load({folder!r})
tokenizer, model = run.tokenizer, run.model
"""
WITHOUT = """\
from wordorder.evaluation.ablation import without_position
for layer in {layers}:
    model = without_position(model, layer)
"""
EVERYWHERE = """\
from wordorder.evaluation.ablation import without_position
model = without_position(model)
"""
IN_PYTHON = """\
from wordorder.words.explanation import explain
texts = {texts!r}
{model}explain(model, tokenizer, *texts, fills_in={fills_in}).after_apart"""


class OrderQuestion(BaseModel):
    """Two orders of words for one model: an open run, or an embedding with random weights.

    Args:
        run: name of an open run, or null.
        position: an embedding, without a run.
        causal: of the random model.
        other: the second order; empty: the words of the first, reversed.
        without: layers, from 0, in which the embedding is switched off.
    """

    run: RunName | None = None
    position: SpecText = "none"
    causal: bool = True
    text: Sentence
    other: Annotated[str, Field(max_length=400)] = ""
    without: Annotated[tuple[Layer, ...], Field(max_length=64)] = ()


class OrderLayer(BaseModel):
    """Relative distances between the two orders at one depth; 0 is the input.

    Args:
        words: the largest of any word's vectors: 0 if both texts are the same set of vectors; null
            if they have different tokens.
        after: of a token appended to both texts.
        words_off, after_off: the same with the embedding switched off everywhere; null if it
            cannot be.
    """

    words: float | None
    after: float
    words_off: float | None
    after_off: float | None


class OrderAnswer(BaseModel):
    """What one model does with two orders.

    Args:
        tokens: of both texts.
        overlap: of the two predicted distributions, 0 to 1.
        difference_nats: log P(first) - log P(second); null for random or masked models.
        note: why the embedding could not be switched off as requested, or empty.
        sees_from: the first layer after which `after` differs, from 1; null if none does.
        set_until: the last depth at which the words are the same set; null if none.
    """

    position: str
    layers: int
    texts: tuple[str, str]
    tokens: tuple[list[str], list[str]]
    same_tokens: bool
    after: str
    by_layer: list[OrderLayer]
    overlap: float
    difference_nats: float | None
    verdict: str
    note: str
    sees_from: int | None
    set_until: int | None
    command: str


@router.post("/compare")
def compare_orders(asked: OrderQuestion, runs: Runs) -> OrderAnswer:
    """Compare what one model makes of two orders of the same words."""
    other = asked.other.strip() or None
    with runs.computing:
        model, tokenizer, fills_in = _model_of(asked, runs)
        off_in = _layers(asked.without, model)
        for text in filter(None, (asked.text, other)):
            check_tokens(tokens_of(tokenizer, text))
        note, changed, without = "", model, None
        try:
            without = _without(asked, runs, model)
            changed = _switched_off(model, without, off_in)
        except BadInput as error:
            note, off_in = f"Still switched on: {error}." if asked.without else "", ()
        explained = explain(changed, tokenizer, asked.text, other, fills_in=fills_in)
        off = None
        if without is not None:
            off = explain(without, tokenizer, asked.text, other, fills_in=fills_in)
        difference = None
        if asked.run is not None and not fills_in:
            ids = [list(reading.ids) for reading in explained.readings]
            end, opening = tokenizer.end_of_text, tokenizer.beginning_of_text
            first, second = log_probabilities(changed, ids, end, beginning=opening).tolist()
            difference = first - second
        ran = _in_terminal(asked, runs, explained, model, off_in)
    return _answer(asked, runs, explained, off, difference, note, ran)


def _model_of(asked: OrderQuestion, runs: OpenRuns) -> tuple[TokenModel, Tokenizer, bool]:
    if asked.run is not None:
        run = runs.run(asked.run)
        return runs.model(asked.run), run.tokenizer, run.fills_in
    other = asked.other.strip() or " ".join(reversed(asked.text.split()))
    tokenizer = tokenizer_of(asked.text.strip(), other)
    model = random_model(asked.position, asked.causal, tokenizer.vocabulary_size)
    return model, tokenizer, not asked.causal


def _without(asked: OrderQuestion, runs: OpenRuns, model: TokenModel) -> TokenModel:
    """Return the model without its embedding, made once: that takes as long as two passes.

    Raises:
        BadInput: its embedding cannot be removed.
    """
    if asked.run is None:
        return _without_random(model)
    return runs.once(
        asked.run, "without its embedding", lambda runs, name: without_position(runs.model(name))
    )


_without_random = lru_cache(maxsize=64)(without_position)


def _layers(asked: tuple[int, ...], model: TokenModel) -> tuple[int, ...]:
    """Return the layers that the model has, each once, from 1."""
    return tuple(layer + 1 for layer in dict.fromkeys(asked) if layer < model.config.layers)


def _switched_off(model: TokenModel, without: TokenModel, layers: tuple[int, ...]) -> TokenModel:
    """Return the model with its embedding removed from these layers, from 1."""
    if len(layers) == model.config.layers:
        return without
    for layer in layers:
        model = without_position(model, layer)
    return model


def _in_terminal(
    asked: OrderQuestion,
    runs: OpenRuns,
    explained: Explanation,
    model: TokenModel,
    layers: tuple[int, ...],
) -> str:
    """Return what gives the same numbers: the command, or Python where there is no option."""
    first, second = explained.readings
    if asked.run is None:
        made = RANDOM.format(position=asked.position, causal=asked.causal)
    elif layers:
        made = TRAINED.format(folder=str(runs.run(asked.run).folder))
    else:
        other = option("--other", second.text) if asked.other.strip() else ()
        return command("explain", *other, given=(runs.run(asked.run).folder, first.text))
    if layers:
        everywhere = len(layers) == model.config.layers
        made += EVERYWHERE if everywhere else WITHOUT.format(layers=list(layers))
    return IN_PYTHON.format(
        texts=(first.text, second.text), model=made, fills_in=explained.fills_in
    )


def _answer(
    asked: OrderQuestion,
    runs: OpenRuns,
    explained: Explanation,
    off: Explanation | None,
    difference: float | None,
    note: str,
    ran: str,
) -> OrderAnswer:
    by_layer = [
        OrderLayer(
            words=_largest(explained, layer),
            after=_relative(apart),
            words_off=None if off is None else _largest(off, layer),
            after_off=None if off is None else _relative(off.after_apart[layer]),
        )
        for layer, apart in enumerate(explained.after_apart)
    ]
    first, second = explained.readings
    equal = [layer for layer, each in enumerate(by_layer) if each.words == 0]
    apart_from = [layer for layer, each in enumerate(by_layer) if each.after]
    return OrderAnswer(
        position=asked.position if asked.run is None else embedding_of(runs.run(asked.run)),
        layers=len(by_layer) - 1,
        texts=(first.text, second.text),
        tokens=(list(first.tokens), list(second.tokens)),
        same_tokens=explained.same_tokens,
        after=explained.after,
        by_layer=by_layer,
        overlap=explained.shared,
        difference_nats=difference,
        verdict=verdict(explained),
        note=note,
        sees_from=apart_from[0] if apart_from else None,
        set_until=equal[-1] if equal and equal == list(range(len(equal))) else None,
        command=ran,
    )


def _largest(explained: Explanation, layer: int) -> float | None:
    """Return the largest distance of any word's vectors at a depth; None for other tokens."""
    if not explained.same_tokens:
        return None
    return max((_relative(word.layers[layer]) for word in explained.words), default=0.0)


def _relative(apart: Apart) -> float:
    """Return a relative distance, 0 within rounding."""
    return 0.0 if apart.same else apart.relative
