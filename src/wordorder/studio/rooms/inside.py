"""Inside: one sentence on its way through a model, and the text that the model writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import torch
from fastapi import APIRouter, Query
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field
from torch import Tensor

from wordorder.errors import CodedError
from wordorder.model.decoding import Sampling, next_distribution, only_allowed
from wordorder.positions import PositionError
from wordorder.studio.fields import (
    Head,
    Layer,
    Matrix,
    RunName,
    Sentence,
    attention_in_python,
    check_tokens,
    command,
    numbers,
    sequence_of,
)
from wordorder.studio.opened import OpenRuns, Runs
from wordorder.text.prompt import Prompt
from wordorder.training.run import Run
from wordorder.training.text_generation import generate_text, remaining_positions
from wordorder.words.activations import AttentionHead, activations
from wordorder.words.explanation import EmbeddingUse, embedding_uses, spelling

router = APIRouter()

LIKELIEST = 12  # predicted tokens that are listed
MOST_WRITTEN, WRITTEN = 200, 60  # tokens in one request


class TraceQuestion(BaseModel):
    """A text, a token of it, and where to look.

    Args:
        token: index of the token whose attention is shown; null: the last.
        layer, head: from 0.
    """

    run: RunName
    text: Sentence
    token: Annotated[int, Field(ge=0, le=4096)] | None = None
    layer: Layer = 0
    head: Head = 0


class TokenEntry(BaseModel):
    """A token, and its number in the vocabulary."""

    text: str
    id: int


class InputTrace(BaseModel):
    """The input of the first layer: each (width,), for the chosen token."""

    word: list[float]
    added: list[float]
    input: list[float]


class AttentionTrace(BaseModel):
    """One head: vectors of the chosen token, its row of scores and weights, and all weights.

    Args:
        keys, placed_keys: of all tokens; a row ends before the chosen token's future.
        scores, scores_without: null if the embedding replaces attention altogether, or where the
            token may not attend.
    """

    query: list[float]
    placed_query: list[float]
    keys: Matrix
    placed_keys: Matrix
    scores_without: list[float | None]
    scores: list[float | None] | None
    weights_without: list[float]
    weights: list[float]
    distances: list[float]
    all_weights: Matrix


class Trace(BaseModel):
    """A text in a model; the end-of-text token comes first, as in training."""

    tokens: list[TokenEntry]
    token: int
    embeddings: list[EmbeddingUse]
    position: str
    causal: bool
    normed: bool
    input: InputTrace
    attention: AttentionTrace
    command: str


class SamplingOptions(BaseModel):
    """How the next token is chosen."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0.8
    top_k: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0, le=1 << 31)] = 0


class PredictionQuestion(SamplingOptions):
    """A text to continue."""

    run: RunName
    text: Sentence


class WritingQuestion(PredictionQuestion):
    """A text to continue with several tokens."""

    count: Annotated[int, Field(ge=1, le=MOST_WRITTEN)] = WRITTEN


class Candidate(BaseModel):
    """A possible next token.

    Args:
        probability: of the model itself.
        drawn: the probability that it is chosen with the sampling options.
    """

    text: str
    probability: float
    drawn: float


class Prediction(BaseModel):
    """The most likely next tokens, and how many the sampling options leave.

    Args:
        command, writes: print the next token, and a text of as many as the page writes.
    """

    candidates: list[Candidate]
    kept: int
    vocabulary: int
    command: str
    writes: str


class WrittenToken(BaseModel):
    """One written token; the last event has `end` instead, with a `problem` if there is one.

    Args:
        probability: of the model itself, as in `Candidate`: not among the tokens that sampling
            and a space at the end of the text have left.
    """

    text: str = ""
    probability: float = 0.0
    end: bool = False
    problem: str = ""


@router.post("/trace")
def trace(asked: TraceQuestion, runs: Runs) -> Trace:
    """Follow a text through one head of a model."""
    run = runs.run(asked.run)
    with runs.computing, torch.no_grad():
        model = runs.transformer(asked.run)
        sequence = sequence_of(run.tokenizer, asked.text)
        traced = activations(model, sequence, asked.layer, asked.head)
        whole, inputs = traced.attention, traced.states[0]
        assert whole is not None  # a transformer has attention in every layer
        words = model.word_vectors(torch.tensor(sequence))
        added = model.position.embed(words[None], model.layout(torch.tensor([sequence])))[0] - words
        uses = embedding_uses(model)
    last = len(sequence) - 1
    token = last if asked.token is None else min(asked.token, last)
    return Trace(
        tokens=[TokenEntry(text=spelling(run.tokenizer, i), id=i) for i in sequence],
        token=token,
        embeddings=list(uses),
        position=model.config.position,
        causal=model.config.causal,
        normed=model.embedding_norm is not None,
        input=InputTrace(
            word=numbers(words[token]), added=numbers(added[token]), input=numbers(inputs[token])
        ),
        attention=_attention(whole, token),
        command=f"{attention_in_python(run, asked.text, asked.layer, asked.head)}[{token}]",
    )


def _attention(whole: AttentionHead, token: int) -> AttentionTrace:
    hidden = ~whole.may_attend[token]
    scores = None if whole.scores is None else whole.scores[token].masked_fill(hidden, -torch.inf)
    return AttentionTrace(
        query=numbers(whole.queries[token]),
        placed_query=numbers(whole.placed_queries[token]),
        keys=Matrix.of(whole.keys),
        placed_keys=Matrix.of(whole.placed_keys),
        scores_without=numbers(whole.scores_without[token].masked_fill(hidden, -torch.inf)),
        scores=None if scores is None else numbers(scores),
        weights_without=numbers(whole.weights_without[token]),
        weights=numbers(whole.weights[token]),
        distances=numbers(whole.distances[token]),
        all_weights=Matrix.of(whole.weights),
    )


@router.post("/predict")
def predict(asked: PredictionQuestion, runs: Runs) -> Prediction:
    """Return what a model predicts after a text."""
    run, sampling, prompt = _prompt(asked, runs, 1)
    with runs.computing, torch.no_grad():
        logits = runs.model(asked.run).next_logits(torch.tensor([prompt.tokens]))[0].float()
        allowed = only_allowed(logits, prompt.allowed([]))
        drawn = next_distribution(allowed, torch.tensor(prompt.tokens), sampling)
    own, drawn = logits.softmax(-1), drawn / drawn.sum()
    # Those that may be drawn come first: held-back space can leave none of the most likely.
    top = (own.double() + (drawn > 0)).topk(min(LIKELIEST, len(own))).indices
    return Prediction(
        candidates=[
            Candidate(
                text=spelling(run.tokenizer, i),
                probability=own[i].item(),
                drawn=drawn[i].item(),
            )
            for i in top.tolist()
        ],
        kept=int((drawn > 0).sum()),
        vocabulary=len(own),
        command=_generate(run, asked, 1),
        writes=_generate(run, asked, WRITTEN),
    )


@router.get("/write", response_class=EventSourceResponse)
def write(asked: Annotated[WritingQuestion, Query()], runs: Runs) -> Iterator[WrittenToken]:
    """Continue a text token by token, as server-sent events."""
    probabilities: list[float] = []

    def observe(token: int, logits: Tensor) -> None:
        probabilities.append(float(logits.float().softmax(-1)[token]))

    try:
        _, sampling, prompt = _prompt(asked, runs, asked.count)
        model = runs.model(asked.run)
        if (left := remaining_positions(model, prompt)) is not None:
            sampling = replace(sampling, max_tokens=min(left, asked.count))
        pieces = generate_text(model, prompt, sampling, observe=observe)
        while True:
            with runs.computing:
                piece = next(pieces, None)
            if piece is None:
                break
            # The last piece belongs to no token: it is what the decoder held back.
            yield WrittenToken(text=piece, probability=probabilities.pop() if probabilities else 1)
        yield WrittenToken(end=True)
    except (CodedError, PositionError) as error:
        yield WrittenToken(end=True, problem=str(error))


def _prompt(asked: PredictionQuestion, runs: OpenRuns, count: int) -> tuple[Run, Sampling, Prompt]:
    run = runs.run(asked.run)
    run.check_next_token("this part of the page")
    options = asked.model_dump(include=set(SamplingOptions.model_fields))
    prompt = Prompt(asked.text, run.tokenizer)
    check_tokens(prompt.tokens)
    return run, Sampling(**options, min_p=0.0, max_tokens=count), prompt


def _generate(run: Run, asked: PredictionQuestion, count: int) -> str:
    # The prompt - means standard input.
    before = "printf %s - | " if asked.text == "-" else ""
    return before + command(
        *("generate", "--temperature", asked.temperature),
        *("--top-k", asked.top_k, "--top-p", asked.top_p, "--min-p", 0),
        *("--seed", asked.seed, "--max-tokens", count),
        given=(run.folder, asked.text),
    )
