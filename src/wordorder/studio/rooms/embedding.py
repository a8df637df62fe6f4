"""Embedding: what a positional embedding computes, alone and in a trained model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import torch
from fastapi import APIRouter
from pydantic import BaseModel, Field
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.positions import (
    CATALOGUE,
    Axial,
    ModelShape,
    Position,
    PositionError,
    Rotary,
    build,
    find,
)
from wordorder.positions.picture import (
    frequencies_of,
    initialised,
    picture_of,
    scaled_frequencies,
    weights_of_copies,
)
from wordorder.studio.fields import (
    MOST_COUNT,
    Head,
    Layer,
    Matrix,
    RunName,
    SpecText,
    numbers,
    parsed,
)
from wordorder.studio.opened import OpenRuns, Runs
from wordorder.words.activations import attention_of_copies
from wordorder.words.sentences import tokens_of

router = APIRouter()

HEADS, HEAD_DIM = 4, 64  # of a page without a run, as in `wordorder positions`
MOST_LENGTH = 512  # tokens; a picture of a long run's embedding shows its first ones

IN_PYTHON = """\
from wordorder.positions import ModelShape, find, parse
from wordorder.positions.picture import initialised, picture_of, weights_of_copies
{shape}
part = parse({position!r}).parts[0]
position = initialised(find(part.name)(shape, **dict(part.options)))
{last}"""
OF_RUN = """\
from wordorder.training.run import Run
shape = Run.load({folder!r}).model_config.shape"""
Value = bool | int | float | str | list[float]


class OptionEntry(BaseModel):
    """An option of an embedding, read from its constructor.

    Args:
        kind: of its control on the page.
        least, most: of the slider; any number may be typed.
        follows: how the value 0 is computed from the trained length; empty if it means 0.
    """

    name: str
    kind: Literal["switch", "choice", "whole", "number", "list", "word"]
    default: Value
    choices: list[str] = []
    least: float = 0
    most: float = 0
    follows: str = ""


class CatalogueEntry(BaseModel):
    """An embedding of the catalogue and its options."""

    name: str
    door: str
    summary: str
    formula: str
    source: str
    traps: list[str]
    options: list[OptionEntry]


class EmbeddingQuestion(BaseModel):
    """One embedding, in a model of some size.

    Args:
        position: an embedding with its options.
        length: trained length, without a run.
        factor: how many times longer the scalings of rotary make sequences.
        run: an open run, whose sizes are used and whose attention is added to the plot.
        word: whose copies the run reads.
        head, layer: from 0; the picture's head, the layer of the run.
    """

    position: SpecText
    length: Annotated[int, Field(ge=8, le=MOST_LENGTH)] = 128
    causal: bool = True
    factor: Annotated[float, Field(gt=1, le=64)] = 4.0
    run: RunName | None = None
    word: Annotated[str, Field(min_length=1, max_length=40)] = "the"
    head: Head = 0
    layer: Layer = 0


class PictureEntry(BaseModel):
    """A heat map; see `wordorder.positions.picture.Picture`."""

    kind: str
    matrix: Matrix


class SimilarityEntry(BaseModel):
    """log of attention to a token at each distance over that to itself, by head.

    Args:
        untrained: parameters at initialisation, identical tokens; empty if its attention cannot
            be described by weights.
        trained: the same in a layer of the run; empty without one.
    """

    untrained: list[list[float | None]]
    trained: list[list[float | None]]
    trained_position: str = ""
    trained_note: str = ""


class FrequencyEntry(BaseModel):
    """A rotated pair.

    Args:
        angle: radians per position.
        wraps_at: the position at which it has made a full turn; null if it does not turn.
    """

    angle: float
    wraps_at: float | None


class EmbeddingAnswer(BaseModel):
    """What an embedding computes.

    Args:
        length: the trained length.
        shown: tokens that the pictures show: fewer, if the trained length is large.
        trained_picture: with the run's parameters; null if the run has no such embedding, or that
            has none.
    """

    position: str
    heads: int
    head_dim: int
    length: int
    shown: int
    causal: bool
    parameters: int
    resolved: dict[str, float]
    max_position: int | None
    picture: PictureEntry | None
    trained_picture: PictureEntry | None
    similarity: SimilarityEntry
    frequencies: list[FrequencyEntry]
    scalings: dict[str, list[float]]
    factor: float
    command: str


@router.get("/catalogue")
def catalogue() -> list[CatalogueEntry]:
    """Return the embeddings and their options."""
    return [
        CatalogueEntry(
            name=name,
            door=kind.door,
            summary=kind.summary,
            formula=kind.formula,
            source=kind.source,
            traps=list(kind.traps),
            options=list(_options(kind)),
        )
        for name, kind in CATALOGUE.items()
    ]


def _options(kind: type[Position]) -> Iterator[OptionEntry]:
    hints = get_type_hints(kind.__init__)
    rules = {each.option: each for each in kind.follows}
    for name, default in kind.options().items():
        hint, rule = hints.get(name), rules.get(name)
        if isinstance(default, bool):
            yield OptionEntry(name=name, kind="switch", default=default)
        elif get_origin(hint) is Literal:
            choices = [str(choice) for choice in get_args(hint)]
            yield OptionEntry(name=name, kind="choice", default=default, choices=choices)
        elif isinstance(default, int | float):
            whole = isinstance(default, int)
            usual = default or (rule and rule.paper) or (128 if whole else 1)
            most = float(usual)
            if not _is_largest(kind, name, usual):
                most = 2.0 ** math.ceil(math.log2(16 * usual))
            yield OptionEntry(
                name=name,
                kind="whole" if whole else "number",
                default=default,
                most=min(most, MOST_COUNT) if whole else most,
                follows=rule.rule if rule else "",
            )
        elif isinstance(default, tuple):
            yield OptionEntry(name=name, kind="list", default=list(default))
        else:
            yield OptionEntry(name=name, kind="word", default=str(default))


def _is_largest(kind: type[Position], name: str, value: float) -> bool:
    """Return whether an option may be lowered and not raised, as a share of 1 may."""
    return _accepts(kind, name, value / 2) and not _accepts(kind, name, 2 * value)


def _accepts(kind: type[Position], name: str, value: float) -> bool:
    try:
        kind(ModelShape(HEADS, HEAD_DIM), **{name: type(kind.options()[name])(value)})
    except PositionError:
        return False
    return True


@router.post("/picture")
def picture(asked: EmbeddingQuestion, runs: Runs) -> EmbeddingAnswer:
    """Return what an embedding computes from positions."""
    spec = parsed(asked.position)
    if len(spec.parts) != 1:
        raise PositionError(
            f"{asked.position}: this room shows one embedding at a time: choose one of its parts",
            code="studio.several-embeddings",
        )
    part = spec.parts[0]
    with runs.computing, torch.no_grad():
        shape = _shape(asked, runs)
        position = initialised(find(part.name)(shape, **dict(part.options)))
        parameters = sum(p.numel() for p in build(spec, shape).parameters())
        head, shown = min(asked.head, shape.heads - 1), min(shape.trained_length, MOST_LENGTH)
        drawn = picture_of(position, shown, head)
        similarity = _similarity(asked, position, shown, runs)
        # Along a row of a grid no angle grows with the position.
        is_grid = isinstance(position, Axial) and position.columns > 0
        frequencies = None if is_grid else frequencies_of(position, shape.trained_length)
        scalings: dict[str, Tensor] = {}
        if isinstance(position, Rotary):
            scaled = scaled_frequencies(position, asked.factor)
            scalings = {name: each / scaled["none"] for name, each in scaled.items()}
    return EmbeddingAnswer(
        position=str(part),
        heads=shape.heads,
        head_dim=shape.head_dim,
        length=shape.trained_length,
        shown=shown,
        causal=shape.causal,
        parameters=parameters,
        resolved={name: float(value) for name, value in position.resolved_options().items()},
        max_position=position.max_position,
        picture=drawn and PictureEntry(kind=drawn.kind, matrix=Matrix.of(drawn.values)),
        trained_picture=_trained_picture(asked, type(position), shown, runs),
        similarity=similarity,
        frequencies=[] if frequencies is None else [_frequency(a) for a in frequencies.tolist()],
        scalings={name: numbers(each) for name, each in scalings.items()},
        factor=asked.factor,
        command=_in_python(asked, str(part), shown, head if drawn else None, runs),
    )


def _shape(asked: EmbeddingQuestion, runs: OpenRuns) -> ModelShape:
    if asked.run is not None:
        return runs.run(asked.run).model_config.shape
    return ModelShape(HEADS, HEAD_DIM, trained_length=asked.length, causal=asked.causal)


def _in_python(
    asked: EmbeddingQuestion, part: str, shown: int, head: int | None, runs: OpenRuns
) -> str:
    """Return the lines that give the picture; without one, the attention to identical tokens."""
    if asked.run is None:
        sizes = f"trained_length={asked.length}, causal={asked.causal}"
        shape = f"shape = ModelShape({HEADS}, {HEAD_DIM}, {sizes})"
    else:
        shape = OF_RUN.format(folder=str(runs.run(asked.run).folder))
    drawn = f"picture_of(position, {shown}, {head}).values"
    last = f"weights_of_copies(position, {shown})" if head is None else drawn
    return IN_PYTHON.format(shape=shape, position=part, last=last)


def _trained_picture(
    asked: EmbeddingQuestion, kind: type[Position], shown: int, runs: OpenRuns
) -> PictureEntry | None:
    if asked.run is None:
        return None
    model = runs.transformer(asked.run)
    sums = model.position.sums
    parts = sums[min(asked.layer, len(sums) - 1)].parts
    own = next((part for part in parts if type(part) is kind and list(part.parameters())), None)
    if own is None:
        return None
    head = min(asked.head, own.shape.heads - 1)
    drawn = picture_of(own, shown, head)
    return drawn and PictureEntry(kind=drawn.kind, matrix=Matrix.of(drawn.values))


def _similarity(
    asked: EmbeddingQuestion, position: Position, copies: int, runs: OpenRuns
) -> SimilarityEntry:
    weights = weights_of_copies(position, copies)
    answer = SimilarityEntry(
        untrained=[] if weights is None else numbers(_by_distance(weights)), trained=[]
    )
    if asked.run is None:
        return answer
    run, model = runs.run(asked.run), runs.transformer(asked.run)
    ids = tokens_of(run.tokenizer, asked.word)
    if not ids:
        raise BadInput("the word is empty: type one", code="studio.empty-word")
    weights = attention_of_copies(model, ids[0], copies, asked.layer)
    if len(ids) > 1:
        answer.trained_note = f"{asked.word} is {len(ids)} tokens: only the first one is repeated."
    answer.trained = numbers(_by_distance(weights))
    answer.trained_position = model.config.position
    return answer


def _by_distance(weights: Tensor) -> Tensor:
    """Return log weights (heads, distance) relative to a token's own, nearest first."""
    logs = weights.flip(-1).log()
    return logs - logs[:, :1]


def _frequency(angle: float) -> FrequencyEntry:
    return FrequencyEntry(angle=angle, wraps_at=math.tau / angle if angle else None)
