"""The types of what a page may send: bounded texts, lengths and specs, checked before any work."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.positions import PositionError, Spec, foreign, parse
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.run import Run
from wordorder.words.sentences import tokens_of

# Far more than a page can show, and few enough to compute within a second.
MOST_SENTENCE, MOST_TEXT, MOST_TOKENS = 400, 8_000, 512
MOST_SPEC = 300
# A count in a spec sizes tables: t5:buckets=100000000 would fill the memory.
MOST_COUNT, MOST_NUMBER = 8192, 1e12

ATTENTION_IN_PYTHON = """\
from wordorder.training.run import Run
from wordorder.words.activations import attention_head
from wordorder.words.sentences import tokens_of
run = Run.load({folder!r})
ids = [run.tokenizer.beginning_of_text, *tokens_of(run.tokenizer, {text!r})]
attention_head(run.model, ids, layer={layer}, head={head}).weights"""

Sentence = Annotated[str, StringConstraints(min_length=1, max_length=MOST_SENTENCE)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=MOST_TEXT)]
RunName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Layer = Annotated[int, Field(ge=0, le=1000)]
Head = Annotated[int, Field(ge=0, le=1 << 16)]


def _bounded(text: str) -> str:
    parsed(text)
    return text


SpecText = Annotated[
    str, StringConstraints(min_length=1, max_length=MOST_SPEC), AfterValidator(_bounded)
]


def parsed(text: str) -> Spec:
    """Return a spec from a request; no code of a user is imported, and no number is huge.

    Raises:
        PositionError: it names a class by its module, a number is too large, or it is malformed.
    """
    if named := foreign(text):
        raise PositionError(
            f"{named[0]} is not in the catalogue, and the studio imports no other code: use "
            "wordorder positions",
            code="studio.embedding-of-others",
        )
    spec = parse(text)
    for part in spec.parts:
        for key, value in part.options:
            for number in value if isinstance(value, tuple) else (value,):
                _check_number(f"{part.name}: {key}", number)
    return spec


def _check_number(name: str, number: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return
    most = MOST_COUNT if isinstance(number, int) else MOST_NUMBER
    if not math.isfinite(number) or abs(number) > most:
        raise PositionError(
            f"{name}={number} is too large for this page: use at most {most:,.0f}",
            code="studio.number-too-large",
        )


def check_tokens(ids: Sequence[int], what: str = "the text") -> None:
    """Check that a page can show so many tokens.

    Raises:
        BadInput: there are none, or too many.
    """
    if not ids:
        raise BadInput(f"{what} is empty: type a few words", code="studio.empty-text")
    if len(ids) > MOST_TOKENS:
        raise BadInput(
            f"{what} has {len(ids):,} tokens, and this page shows at most {MOST_TOKENS}: shorten "
            "it",
            code="studio.too-many-tokens",
        )


def sequence_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the tokens of a text, as `explain` reads them, after the one that begins texts.

    Raises:
        BadInput: there are none, or more than a page can show.
    """
    ids = tokens_of(tokenizer, text)
    check_tokens(ids)
    return [tokenizer.beginning_of_text, *ids]


class Matrix(BaseModel):
    """A matrix for a heat map; a cell that averages several is `step` rows and columns wide.

    Args:
        rows, columns: of the whole matrix.
        values: null where there is nothing.
    """

    rows: int
    columns: int
    step: int
    values: list[list[float | None]]

    @classmethod
    def of(cls, matrix: Tensor, most: int = 256) -> Matrix:
        """Return a matrix (rows, columns), averaged over squares above `most` rows or columns."""
        rows, columns = matrix.shape
        step = -(-max(rows, columns) // most)
        values = matrix.float()
        if step > 1:
            finite = values.isfinite()
            sums, counts = (
                torch.nn.functional.avg_pool2d(x[None], step, ceil_mode=True)[0]
                for x in (values.where(finite, 0.0), finite.float())
            )
            values = sums / counts  # 0 / 0 is NaN: nothing there
        return cls(rows=rows, columns=columns, step=step, values=numbers(values))


def numbers(tensor: Tensor) -> Any:
    """Return a tensor as nested lists with five decimals, None where it is not finite."""
    if tensor.dim() > 1:
        return [numbers(row) for row in tensor]
    if tensor.dim() == 0:
        return numbers(tensor[None])[0]
    rounded = tensor.detach().double().round(decimals=5).tolist()
    return [value if math.isfinite(value) else None for value in rounded]


def command(name: object, *options: object, given: Sequence[object] = ()) -> str:
    """Return a command line of wordorder to copy into a shell.

    Args:
        name: of the command.
        options: with their values; see `option`.
        given: the arguments without a name, such as a run and a text that someone typed. Where one
            begins with a hyphen, they follow the options and --.
    """
    texts = [str(each) for each in given]
    is_like_option = any(text.startswith("-") for text in texts)
    words = [*options, "--", *texts] if is_like_option else [*texts, *options]
    return shlex.join(["wordorder", str(name), *map(str, words)])


def option(name: str, text: str) -> tuple[str, ...]:
    """Return an option with a value that someone typed, which may begin with a hyphen."""
    return (f"{name}={text}",) if text.startswith("-") else (name, text)


def attention_in_python(run: Run, text: str, layer: int, head: int) -> str:
    """Return the lines of Python that give a head's weights on a text; both counted from 0."""
    return ATTENTION_IN_PYTHON.format(folder=str(run.folder), text=text, layer=layer, head=head)
