"""Words: neighbours, analogies and a projection of a model's word vectors."""

from __future__ import annotations

from typing import Annotated

import torch
from fastapi import APIRouter
from pydantic import BaseModel, Field, StringConstraints

from wordorder.errors import BadInput
from wordorder.studio.fields import RunName, command, numbers, option
from wordorder.studio.opened import OpenRuns, Runs
from wordorder.words.analogies import solved
from wordorder.words.picture import projection
from wordorder.words.token_table import token_vectors
from wordorder.words.vectors import Neighbour, Vectors

router = APIRouter()

MOST_NAMES = 4000  # that the page suggests while one types
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]
Count = Annotated[int, Field(ge=1, le=30)]

IN_PYTHON = """\
from wordorder.training.run import Run
from wordorder.words.picture import projection
from wordorder.words.token_table import token_vectors
run = Run.load({folder!r})
vectors = token_vectors(run.model, run.tokenizer, {name!r})
rows = [vectors.row(word) for word in {words!r}]
projection(vectors.matrix[rows], axes=3)"""


class TableQuestion(BaseModel):
    """A run, whose table of token embeddings is used."""

    run: RunName


class TableEntry(BaseModel):
    """A table of word vectors.

    Args:
        names: the first words, which are the most frequent.
    """

    words: int
    dimensions: int
    names: list[str]


class NeighboursQuestion(TableQuestion):
    """A word."""

    word: Word
    count: Count = 10


class NearWord(BaseModel):
    """A word and its score."""

    word: str
    score: float


class Neighbours(BaseModel):
    """The words with the largest cosine to a word, best first."""

    word: str
    nearest: list[NearWord]
    command: str


class AnalogyQuestion(TableQuestion):
    """The analogy a - b + c.

    Args:
        expected: a word whose rank is wanted; empty: none.
    """

    a: Word
    b: Word
    c: Word
    expected: Annotated[str, Field(max_length=60)] = ""
    count: Count = 8


class WordRanks(BaseModel):
    """The rank of the expected word, without the three given words as answers and with them."""

    left_out: int | None
    included: int


class MethodAnswer(BaseModel):
    """The answers of one method: `add` is 3CosAdd, `mul` 3CosMul."""

    method: str
    nearest: list[NearWord]
    ranks: WordRanks | None


class AnalogyAnswer(BaseModel):
    """The words nearest to a - b + c."""

    words: tuple[str, str, str]
    expected: str
    table: int
    methods: list[MethodAnswer]
    command: str


class ProjectionQuestion(TableQuestion):
    """Words to draw."""

    words: Annotated[tuple[Word, ...], Field(min_length=2, max_length=80)]


class Projection(BaseModel):
    """Words on their first three principal components.

    Args:
        places: (words, 3).
        shares: of the variance, of each component.
        missing: words without a vector, which are not drawn.
    """

    words: list[str]
    places: list[list[float]]
    shares: list[float]
    missing: list[str]
    command: str


@router.post("/table")
def table(asked: TableQuestion, runs: Runs) -> TableEntry:
    """Return the size of a table and its first words."""
    vectors = _vectors(asked.run, runs)
    return TableEntry(
        words=len(vectors), dimensions=vectors.matrix.shape[1], names=vectors.names[:MOST_NAMES]
    )


@router.post("/neighbours")
def neighbours(asked: NeighboursQuestion, runs: Runs) -> Neighbours:
    """Return the nearest words."""
    vectors, folder = _vectors(asked.run, runs), runs.run(asked.run).folder
    nearest = vectors.most_similar([asked.word], topn=asked.count)
    return Neighbours(
        word=asked.word,
        nearest=_near(nearest),
        command=command("words", "--count", asked.count, given=(folder, asked.word)),
    )


@router.post("/analogy")
def analogy(asked: AnalogyQuestion, runs: Runs) -> AnalogyAnswer:
    """Solve an analogy by both methods."""
    vectors, folder = _vectors(asked.run, runs), runs.run(asked.run).folder
    words, expected = (asked.a, asked.b, asked.c), asked.expected.strip()
    if expected and vectors.row(expected) in map(vectors.row, words):
        raise BadInput(
            f"{expected!r} is one of the three given words, which are left out of the answers: "
            "expect another word",
            code="studio.expects-given-word",
        )
    answers = solved(vectors, *words, expected=expected or None, count=asked.count)
    expect = option("--expect", expected) if expected else ()
    analogy: tuple[str, ...] = ("--analogy", *words)
    if any(word.startswith("-") for word in words):
        analogy = option("--analogy", "{} - {} + {}".format(*words))
    return AnalogyAnswer(
        words=words,
        expected=expected,
        table=len(vectors),
        methods=[
            MethodAnswer(
                method=method,
                nearest=[NearWord(**each) for each in answers[method]],
                ranks=WordRanks(**answers["ranks"][method]) if expected else None,
            )
            for method in ("add", "mul")
        ],
        command=command("words", *analogy, *expect, "--count", asked.count, given=(folder,)),
    )


@router.post("/projection")
def projected(asked: ProjectionQuestion, runs: Runs) -> Projection:
    """Project words onto their first three principal components."""
    vectors = _vectors(asked.run, runs)
    words = list(dict.fromkeys(asked.words))
    drawn = [word for word in words if vectors.find(word) is not None]
    if len(drawn) < 2:
        raise BadInput(
            f"{asked.run} has a vector for {len(drawn)} of these words: give two that it has",
            code="studio.too-few-words",
        )
    rows = [vectors.row(word) for word in drawn]
    places, shares = projection(vectors.matrix[rows], axes=3)
    return Projection(
        words=drawn,
        places=numbers(torch.from_numpy(places.copy())),
        shares=shares.tolist(),
        missing=[word for word in words if word not in drawn],
        command=IN_PYTHON.format(
            folder=str(runs.run(asked.run).folder), name=asked.run, words=drawn
        ),
    )


def _vectors(name: str, runs: OpenRuns) -> Vectors:
    def read(runs: OpenRuns, name: str) -> Vectors:
        return token_vectors(runs.model(name), runs.run(name).tokenizer, name)

    return runs.once(name, "words", read)


def _near(found: list[Neighbour]) -> list[NearWord]:
    return [NearWord(word=each.word, score=each.score) for each in found]
