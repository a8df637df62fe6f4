"""A run as a GGUF file for llama.cpp and Ollama, compared with the run before it is in place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wordorder.atomic import write_text
from wordorder.errors import Refused
from wordorder.interop import chat_templates
from wordorder.interop.architecture import Architecture
from wordorder.interop.comparison import (
    TOLERANCE,
    LogitComparison,
    affordable,
    exact,
    lengths,
    most_logits,
)
from wordorder.interop.export import Target, Written
from wordorder.interop.holders import architecture_of_llama_cpp
from wordorder.interop.tokenizer_files import encoded, is_as_read
from wordorder.interop.weights import table_length
from wordorder.model import LanguageModel
from wordorder.patience import notify_if_slow
from wordorder.training.run import Run

from . import card
from .algorithm import algorithm_of
from .file import DTYPES, write_gguf
from .llama_cpp import LlamaCpp
from .tokenizer import OTHER_ENDS, check_tokenizer, composes, keeps_first_space, misread_tokens
from .verify import compare, shares

TABLES = ("gpt2",)  # architectures with a table of positions, which ends


def write(
    folder: Path, run: Run, model: LanguageModel, name: str, *, dtype: str = "f32"
) -> Written:
    """Write a run as a GGUF file, and compare llama.cpp's logits with the run's.

    A file of another dtype than f32 differs by its rounding. That its maps are right is shown first
    by a file of f32, which is exact and does not stay.

    Args:
        folder: new and empty.
        name: of the folder in the end.
        dtype: of matrices.

    Raises:
        BadInput: llama.cpp has no such kind of tokenizer.
        Refused: llama.cpp's model or tokenizer differs from the run's.
    """
    from importlib.metadata import version

    architecture = architecture_of_llama_cpp(run.model_config).class_name
    file = f"model-{dtype}.gguf"
    with (
        notify_if_slow("comparing llama.cpp's logits with the run's"),
        tempfile.TemporaryDirectory(dir=folder.parent) as spare,
    ):
        algorithm = algorithm_of(run.tokenizer, Path(spare) / "vocabulary.gguf")
        settings = (run, model, architecture, algorithm, name)
        if dtype != "f32":
            _written(Path(spare) / "model-f32.gguf", "f32", *settings)
        texts, misread, comparisons = _written(folder / file, dtype, *settings)
    on_texts = (*_notes_on_ends(run), *_notes_on_texts(run), *_notes_on_tokens(misread))
    notes = (*_notes(model, comparisons, dtype), *on_texts)
    write_text(folder / "Modelfile", card.modelfile(file, run))
    about = (name, file, run, architecture, comparisons)
    write_text(folder / "README.md", card.model_card(*about, opens=opens_texts(run), notes=notes))
    program = f"xllamacpp {version('xllamacpp')}"
    return Written(f"llama.cpp's {architecture}", program, comparisons, texts, notes)


def _written(
    path: Path,
    dtype: str,
    run: Run,
    model: LanguageModel,
    architecture: str,
    algorithm: Mapping[str, Any],
    title: str,
) -> tuple[int, list[str], tuple[LogitComparison, ...]]:
    """Write a file; return how many texts are tokenized alike, and the comparisons of logits.

    Between them are the tokens that `misread_tokens` returns.

    Raises:
        Refused: one that is not exact.
    """
    write_gguf(
        path,
        model,
        run.tokenizer,
        architecture,
        algorithm=algorithm,
        dtype=dtype,
        title=title,
        opens=opens_texts(run),
        chat=_chat_metadata(run),
    )
    most = min(affordable(model), most_logits(model))
    table = table_length(Architecture.of(model)) if architecture in TABLES else most
    longest = min(most, table)
    context = max(lengths(model.config.trained_length, longest))
    with _naming(), LlamaCpp(path, context=context, sequences=2) as theirs:
        texts = check_tokenizer(theirs, run.tokenizer, opens=opens_texts(run))
        misread = misread_tokens(theirs, run.tokenizer)
        comparisons = exact(
            compare(model, theirs, dtype=dtype, longest=longest),
            holder=f"llama.cpp's {architecture}",
            original=str(run.folder),
        )
    return texts, misread, comparisons


def opens_texts(run: Run) -> bool:
    """Return whether llama.cpp puts a token before a text, as `wordorder generate` does.

    It would put it before conversations as well, whose template writes all of their tokens. So
    where an imported tokenizer puts none before a text, llama.cpp puts none either.
    """
    if chat_templates.exported_template(run) is None or not is_as_read(run):
        return True
    return encoded(run, "a")[:1] == [run.tokenizer.beginning_of_text]


def _chat_metadata(run: Run) -> dict[str, Any]:
    """Return the template of conversations, if there is one, and other tokens that end a text."""
    template = chat_templates.exported_template(run)
    keys = (f"ggml.{name}" for name in OTHER_ENDS)
    return {
        **({} if template is None else {"chat_template": template}),
        **dict(zip(keys, _other_ends(run), strict=False)),
    }


def _other_ends(run: Run) -> list[int]:
    """Return the tokens that end a text or an answer beside the end of text."""
    return [i for i in chat_templates.ends_of_answer(run) if i != run.tokenizer.end_of_text]


def _notes_on_ends(run: Run) -> tuple[str, ...]:
    """Name the tokens at which llama.cpp does not stop."""
    left_out = _other_ends(run)[len(OTHER_ENDS) :]
    if not left_out:
        return ()
    names = ", ".join(str(run.tokenizer.backend.id_to_token(index)) for index in left_out)
    return (
        f"a GGUF file names {1 + len(OTHER_ENDS)} tokens that end a text: llama.cpp may not stop "
        f"at {names}",
    )


def _notes_on_texts(run: Run) -> Iterator[str]:
    """Yield which texts llama.cpp reads differently."""
    if composes(run.tokenizer):
        yield (
            "the tokenizer normalizes text to NFC and llama.cpp does not: decomposed characters, "
            "such as e followed by an accent, get other tokens there"
        )
    if keeps_first_space(run.tokenizer):
        yield "llama.cpp puts a space also before a text that begins with one"
    if not opens_texts(run):
        name = run.tokenizer.backend.id_to_token(run.tokenizer.beginning_of_text)
        yield (
            "llama.cpp puts no token before a text, as the imported tokenizer does not; wordorder "
            f"generate puts {name} before one that is not a conversation"
        )


def _notes_on_tokens(misread: Sequence[str]) -> Iterator[str]:
    """Yield which added tokens llama.cpp treats differently."""
    if misread:
        more = f" and {len(misread) - 1} more" if len(misread) > 1 else ""
        yield (
            f"beside {misread[0]}{more} llama.cpp adds or keeps a space that wordorder does not, "
            "so texts and conversations with such tokens get other tokens there"
        )


def _notes(
    model: LanguageModel, comparisons: tuple[LogitComparison, ...], dtype: str
) -> tuple[str, ...]:
    """Say why more than the usual difference is allowed, if it is."""
    last = comparisons[-1]
    if last.tolerance == TOLERANCE:
        return ()
    rounded = " and ".join(shares(model, last.tokens, dtype))
    return (f"llama.cpp rounds {rounded}: a difference of {last.tolerance:.1e} is allowed",)


@contextmanager
def _naming() -> Iterator[None]:
    """Say in an error of llama.cpp that nothing was written."""
    try:
        yield
    except Refused as error:
        if not error.code.startswith("interop.llama-cpp-"):
            raise
        raise Refused(f"{error}: nothing was written", code="interop.gguf-cannot-be-run") from None


def commands(folder: Path, *, dtype: str = "f32") -> list[str]:
    """Return how to run an export: by wordorder, llama.cpp and Ollama."""
    return card.commands(str(folder), f"model-{dtype}.gguf", folder.name)


LLAMA_CPP = Target(
    "gguf",
    "llama.cpp",
    ("gguf", "xllamacpp"),
    architecture_of_llama_cpp,
    write,
    (*(f"model-{dtype}.gguf" for dtype in DTYPES), "Modelfile", "README.md"),
    DTYPES,
    commands,
)
