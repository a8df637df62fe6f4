"""Length: the loss of runs past their trained length, also with methods of context extension."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field

from wordorder.errors import BadInput
from wordorder.evaluation.context import (
    ContextLoss,
    Measurable,
    context_losses,
    context_windows,
    curve_lengths,
    losses_in_window,
    measurable,
)
from wordorder.evaluation.intervals import interval_around
from wordorder.extension.methods import METHODS, Stretch, fitting, original_length, respelled
from wordorder.extension.record import trained_as
from wordorder.extension.with_position import with_position
from wordorder.model import LanguageModel, TokenModel
from wordorder.positions import parse
from wordorder.studio.fields import RunName, command
from wordorder.studio.measuring import MeasuringEvent, measured
from wordorder.studio.opened import OpenRuns, Runs
from wordorder.words.explanation import spelling

router = APIRouter()

# LongRoPE needs a search, and a model without its embedding a fine-tune.
NEED_TRAINING = ("longrope", "drop")
BEFORE = 120  # tokens of context that are shown before the targets
Method = Annotated[str, Field(max_length=40)]
Times = Annotated[Literal["2", "4", "8"], Field(description="of the trained length")]

EXTENDED = """
from wordorder.extension.methods import Stretch, original_length, respelled
from wordorder.extension.record import trained_as
from wordorder.extension.with_position import with_position
config = trained_as(run)
stretch = Stretch(original_length(config), {longest}, config.rotated_dim)
model = with_position(model, respelled({method!r}, config, stretch), {longest})"""
IN_PYTHON = """\
from wordorder.evaluation.context import context_losses, context_windows, losses_in_window
from wordorder.training.run import Run
from wordorder.training.run_text import text_of
run = Run.load({folder!r})
store, model = text_of(run, (), "text")[1], run.model{extended}
"""
CURVE = "context_losses(model, store, {lengths}, trained_length={trained}).lengths"
TEXT = """\
windows = context_windows(store, {longest}, trained_length={trained})
losses_in_window(model, windows, {length}, {window})"""


class LengthQuestion(BaseModel):
    """A run, measured up to a number of times its trained length.

    Args:
        method: a method of context extension; empty: the model as it was trained.
    """

    run: RunName
    factor: Times = "4"
    method: Method = ""


class LengthPoint(BaseModel):
    """The loss at one length of context; null with the reason if there is none.

    Args:
        bits_per_byte: of the targets; null if the tokenizer does not restore the text.
        low, high: the 95% interval of `loss_nats`.
    """

    context_length: int
    loss_nats: float | None
    bits_per_byte: float | None
    low: float | None
    high: float | None
    cannot: str


class Curve(BaseModel):
    """The loss of the same target tokens at growing context; see `context_losses`.

    Args:
        position: the embedding, after the method.
        tokenizer: a hash: losses per token of different tokenizers cannot be compared.
        notes: which lengths are missing, and what the intervals cover.
    """

    run: str
    method: str
    position: str
    trained_length: int
    text: str
    tokenizer: str
    targets: int
    documents: int
    points: list[LengthPoint]
    notes: list[str]
    command: str


class MethodEntry(BaseModel):
    """A method of context extension that applies to a run without training."""

    name: str
    does: str
    source: str


class MethodsQuestion(BaseModel):
    """A run."""

    run: RunName


class TextQuestion(LengthQuestion):
    """One of the windows that were measured, at one length of context."""

    context_length: Annotated[int, Field(ge=2, le=1 << 20)]
    window: Annotated[int, Field(ge=0, le=1 << 20)] = 0


class ReadToken(BaseModel):
    """A target token, its probability, and that with the trained length as context."""

    text: str
    probability: float
    at_trained_length: float | None


class ReadText(BaseModel):
    """A text as the model reads it.

    Args:
        before: the end of the context.
        loss_nats: mean of this window's targets; `at_trained_length`: with less context.
    """

    window: int
    windows: int
    before: str
    tokens: list[ReadToken]
    loss_nats: float
    at_trained_length: float | None
    command: str


@router.post("/methods")
def methods(asked: MethodsQuestion, runs: Runs) -> list[MethodEntry]:
    """Return the methods of context extension that a run can use without training."""
    config = trained_as(runs.run(asked.run))
    if config.kind != "transformer":
        return []
    names = fitting(parse(config.position))
    usable = [name for name in names if name not in (*NEED_TRAINING, "unchanged")]
    return [
        MethodEntry(name=name, does=METHODS[name].does, source=METHODS[name].source)
        for name in usable
    ]


@router.get("/losses", response_class=EventSourceResponse)
def losses(
    asked: Annotated[LengthQuestion, Query()], runs: Runs
) -> Iterator[MeasuringEvent[Curve]]:
    """Measure the loss at growing context, as server-sent events; kept once measured."""

    def measure(progress: Callable[[float], None]) -> Curve:
        def once(runs: OpenRuns, name: str) -> Curve:
            return _curve(asked, runs, progress)

        return runs.once(asked.run, f"losses {asked.factor} {asked.method}", once)

    yield from measured(runs, measure)


def _curve(asked: LengthQuestion, runs: OpenRuns, progress: Callable[[float], None]) -> Curve:
    trained, contexts = _contexts(asked, runs)
    text, store = runs.text(asked.run)
    model = _model(asked, runs, contexts.lengths[-1])
    lengths = tuple(n for n in contexts.lengths if not asked.method or n >= trained)
    result = context_losses(model, store, lengths, trained_length=trained, progress=progress)
    run = runs.run(asked.run)
    windows = context_windows(store, lengths[-1], trained_length=trained)
    size = windows.target_bytes(run.tokenizer.bytes_per_token) if store.lossless else 0
    points = [_point(each, size / result.targets) for each in result.lengths]
    ran = command("eval", run.folder, "--context", "--length", lengths[-1])
    # The command reads whole windows too, which a table of positions or conversations may not have.
    if asked.method or run.chat is not None or any(each.cannot for each in result.lengths):
        ran = _python(asked, runs, contexts) + CURVE.format(lengths=lengths, trained=trained)
    return Curve(
        run=asked.run,
        method=asked.method,
        position=model.config.position if isinstance(model, LanguageModel) else "GRU",
        trained_length=trained,
        text=text,
        tokenizer=run.tokenizer.content_hash,
        targets=result.targets,
        documents=result.documents,
        points=points,
        notes=[*contexts.left_out, *([contexts.note] if contexts.note else [])],
        command=ran,
    )


def _point(at: ContextLoss, bytes_per_target: float) -> LengthPoint:
    loss, bits = at.loss_nats, None
    low, high = (None, None) if loss is None else interval_around(loss, at) or (None, None)
    if loss is not None and bytes_per_target:
        bits = loss / math.log(2) / bytes_per_target
    return LengthPoint(
        context_length=at.context_length,
        loss_nats=loss,
        bits_per_byte=bits,
        low=low,
        high=high,
        cannot=at.cannot or "",
    )


@router.post("/text")
def text(asked: TextQuestion, runs: Runs) -> ReadText:
    """Return a text that was measured, with the probability of every target token."""
    with runs.measuring:
        trained, contexts = _contexts(asked, runs)
        _, store = runs.text(asked.run)
    if asked.context_length not in contexts.lengths:
        raise BadInput(
            f"no context of {asked.context_length:,} tokens was measured: choose one of "
            f"{', '.join(map(str, contexts.lengths))}",
            code="studio.no-such-length",
        )
    longest = contexts.lengths[-1]
    with runs.computing:
        windows = context_windows(store, longest, trained_length=trained)
        number = min(asked.window, len(windows) - 1)
        model = _model(asked, runs, longest)
        losses = losses_in_window(model, windows, asked.context_length, number)
        at_trained = losses_in_window(model, windows, trained, number)
    ids = windows.tokens[number].tolist()
    first = len(ids) - windows.targets
    begin = max(first - BEFORE, len(ids) - 1 - asked.context_length)
    comparable = asked.context_length != trained
    chances = zip(
        ids[first:], losses.neg().exp().tolist(), at_trained.neg().exp().tolist(), strict=True
    )
    tokenizer = runs.run(asked.run).tokenizer
    return ReadText(
        window=number,
        windows=len(windows),
        before=tokenizer.decode(ids[begin:first]),
        tokens=[
            ReadToken(
                text=spelling(tokenizer, token),
                probability=probability,
                at_trained_length=other if comparable else None,
            )
            for token, probability, other in chances
        ],
        loss_nats=float(losses.mean()),
        at_trained_length=float(at_trained.mean()) if comparable else None,
        command=_python(asked, runs, contexts)
        + TEXT.format(longest=longest, trained=trained, length=asked.context_length, window=number),
    )


def _contexts(asked: LengthQuestion, runs: OpenRuns) -> tuple[int, Measurable]:
    """Return the trained length, and the lengths for which the text is long enough."""
    run = runs.run(asked.run)
    run.check_next_token("this room")
    _check_method(asked, runs)
    trained = run.model_config.trained_length
    lengths = curve_lengths(trained, int(asked.factor) * trained)
    contexts = measurable(runs.text(asked.run)[1], lengths, trained_length=trained)
    if not contexts.lengths or contexts.lengths[-1] < trained:
        raise BadInput(
            f"the validation text of {asked.run} is too short: {contexts.left_out[0]}",
            code="studio.text-too-short",
        )
    return trained, contexts


def _check_method(asked: LengthQuestion, runs: OpenRuns) -> None:
    if not asked.method:
        return
    names = [each.name for each in methods(MethodsQuestion(run=asked.run), runs)]
    if asked.method not in names:
        raise BadInput(
            f"the method {asked.method!r} does not apply to {asked.run} without training: choose "
            f"from {', '.join(names) or 'none'}",
            code="studio.method-does-not-apply",
        )


def _model(asked: LengthQuestion, runs: OpenRuns, longest: int) -> TokenModel:
    model = runs.model(asked.run)
    if not asked.method or not isinstance(model, LanguageModel):
        return model
    config = trained_as(runs.run(asked.run))
    stretch = Stretch(original_length(config), longest, config.rotated_dim)
    return with_position(model, respelled(asked.method, config, stretch), longest)


def _python(asked: LengthQuestion, runs: OpenRuns, contexts: Measurable) -> str:
    extended = ""
    if asked.method:
        extended = EXTENDED.format(longest=contexts.lengths[-1], method=asked.method)
    return IN_PYTHON.format(folder=str(runs.run(asked.run).folder), extended=extended)
