"""`wordorder words`: neighbours, analogies and sentences, and training of word vectors.

Queries of a file of vectors do not import torch, so that they are fast.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from annotated_types import Interval

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.cli.printed import screen
from wordorder.cli.progress import transient_progress
from wordorder.errors import BadInput
from wordorder.locks import held_file
from wordorder.numerals import counted
from wordorder.settings import DataName, PathName, Positive, Threads
from wordorder.text.compressed import check_writable
from wordorder.text.user_text import decode_argument, user_path
from wordorder.words.analogies import VOCABULARY, Question, accuracy, read_questions, solved
from wordorder.words.cache import open_vectors
from wordorder.words.vectors import METHODS, Neighbour, Vectors, gensim_models
from wordorder.words.views import show

if TYPE_CHECKING:
    from pathlib import Path

    from wordorder.training.run import Run

Flag = tyro.conf.FlagCreatePairsOff[bool]
CUT_IT = "Words are separated by spaces and punctuation: insert spaces between the words first"
TERMS = re.compile(r"\s*(\S+)\s+-\s+(\S+)\s+\+\s+(\S+)\s*")


@dataclass(frozen=True)
class WordsOptions:
    """Find the neighbours of words, solve analogies and compare sentences.

    `wordorder words train --help` tells how to train word vectors on text.

    Args:
        source: a run folder, whose token embeddings are used, or a file of word vectors:
            word2vec's text or binary format or GloVe's, also compressed.
        words: show the neighbours of these; with --sentences a sentence, and another order of it.
        analogy: three words, as king man woman for king - man + woman.
        expect: show the rank of this word, in the analogy or among the neighbours.
        include_inputs: the given words may be answers to an analogy.
        questions: a file in the format of questions-words.txt: show how many analogies are
            answered, by section.
        vocabulary: use only the first words of the table, its most frequent; by default all,
            for --questions 30,000.
        count: how many to show.
        picture: draw the words into this file (.png, .svg or .pdf).
        export: write the table into this folder for the TensorBoard projector.
        sentences: a file with a sentence on each line: show those nearest to the given sentence,
            and whether a run tells the sentence from another order of it, by default reversed.
        trust: run the code of a user-defined embedding in the run.
        json: print one JSON object.
    """

    source: Annotated[PathName, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    words: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[WORD ...]")
    ] = ()
    analogy: tuple[str, ...] = ()
    expect: str | None = None
    include_inputs: Flag = False
    questions: PathName | None = None
    vocabulary: Positive | None = None
    count: Positive = 10
    picture: PathName | None = None
    export: PathName | None = None
    sentences: PathName | None = None
    trust: Flag = False
    json: Flag = False


@dataclass(frozen=True)
class VectorOptions:
    """Train word vectors on text with gensim's word2vec, on every core.

    Args:
        data: files, folders, python-docs or hf:NAME.
        out: the file to write: word2vec's binary format if it ends in .bin, else its text format;
            both compressed if a .gz, .bz2, .xz or .zst follows.
        field: the column of tables and datasets that holds the text.
        dimensions: numbers in a vector.
        epochs: passes over the text.
        min_count: rarer words get no vector.
        threads: 0 uses every core; only 1 is reproducible.
        overwrite: replace the file.
        json: print one JSON object.
    """

    data: tuple[DataName, ...]
    out: PathName
    field: str = "text"
    dimensions: Annotated[int, Interval(ge=1, le=65_536)] = 100
    epochs: Positive = 5
    min_count: Positive = 5
    threads: Threads = 0
    overwrite: Flag = False
    json: Flag = False


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    if arguments[:1] == ["train"]:
        return _train(parse(VectorOptions, arguments[1:], command="wordorder words train"))
    options = parse(WordsOptions, arguments, command="wordorder words")
    has_analogies = options.analogy or options.questions
    refuse_typed(
        typed_names(arguments),
        (
            options.sentences is not None,
            "analogy expect include_inputs questions vocabulary picture export",
            BadInput(
                "{} needs a table of words, and --sentences a model: give one of the two",
                code="cli.words-sentences",
            ),
        ),
        (
            not has_analogies,
            "include_inputs",
            BadInput("{} needs --analogy or --questions: add one", code="cli.words-include-inputs"),
        ),
    )
    options = replace(
        options,
        words=tuple(decode_argument(word, "a word") for word in options.words),
        analogy=tuple(decode_argument(word, "--analogy") for word in options.analogy),
        expect=options.expect and decode_argument(options.expect, "--expect"),
    )
    run = None
    if user_path(options.source).is_dir():
        from wordorder.cli.opened import open_run

        run = open_run(options.source, trust=options.trust)
    if options.sentences is not None:
        answers = _sentences(run, options)
    else:
        answers = _answers(_vectors(run, options), options, of_a_run=run is not None)
    if options.json:
        print(json.dumps({"source": options.source, **answers}))
    else:
        show(screen(), options.source, answers)
    return 0


def _vectors(run: Run | None, options: WordsOptions) -> Vectors:
    if run is not None:
        from wordorder.words.token_table import token_vectors

        vectors = token_vectors(run.model, run.tokenizer, str(run.folder))
    else:
        with _progress("reading into the cache") as progress:
            vectors = open_vectors(options.source, progress)
    return vectors if options.vocabulary is None else vectors.first(options.vocabulary)


def _answers(vectors: Vectors, options: WordsOptions, *, of_a_run: bool) -> dict[str, Any]:
    """The answers of a table of vectors, by the name of the question.

    Args:
        of_a_run: it is a language model's own table.
    """
    answers: dict[str, Any] = {"words": len(vectors), "dimensions": vectors.matrix.shape[1]}
    if not (options.words or options.analogy or options.questions or options.export):
        answers["first"] = vectors.names[: options.count]
    if options.words:
        answers["neighbours"] = {
            word: _scored(vectors.most_similar([word], topn=options.count))
            for word in options.words
        }
        if options.expect and not options.analogy:
            ranks = {word: vectors.rank(options.expect, [word]) for word in options.words}
            answers |= {"expected": options.expect, "ranks": ranks}
    if options.analogy:
        answers["analogy"] = _analogy(vectors, options) | {"of_a_run": of_a_run}
    elif options.expect and not options.words:
        raise BadInput("--expect needs a WORD or --analogy: add one", code="cli.words-expect")
    if options.questions:
        answers["questions"] = _questions(vectors, read_questions(options.questions), options)
    if options.picture:
        from wordorder.words.picture import draw

        draw(options.picture, vectors, *_drawn(options, answers))
        answers["picture"] = options.picture
    if options.export:
        from wordorder.words.picture import export

        answers["export"] = list(map(str, export(vectors, options.export)))
    return answers


def _scored(neighbours: list[Neighbour]) -> list[dict[str, Any]]:
    return [each._asdict() for each in neighbours]


def _analogy(vectors: Vectors, options: WordsOptions) -> dict[str, Any]:
    whole = TERMS.fullmatch(options.analogy[0]) if len(options.analogy) == 1 else None
    words = whole.groups() if whole else options.analogy
    if len(words) != 3:
        raise BadInput(
            f"--analogy has {counted(len(words), 'word')}: give three, such as king man woman "
            "or 'king - man + woman'",
            code="cli.words-analogy",
        )
    return solved(
        vectors,
        *words,
        expected=options.expect,
        count=options.count,
        include_inputs=options.include_inputs,
    )


def _questions(
    vectors: Vectors, questions: list[Question], options: WordsOptions
) -> dict[str, Any]:
    vocabulary = options.vocabulary or VOCABULARY
    how: dict[str, Any] = {"vocabulary": vocabulary, "include_inputs": options.include_inputs}
    answers: dict[str, Any] = {"vocabulary": min(vocabulary, len(vectors))}
    for method in METHODS:
        *sections, total = map(asdict, accuracy(vectors, questions, method=method, **how))
        answers[method] = {"sections": sections, "total": total}
    return answers


def _drawn(
    options: WordsOptions, answers: dict[str, Any]
) -> tuple[list[str], list[tuple[str, str]]]:
    """The words of the picture, and its arrows from one word to another."""
    words, arrows = list(options.words), []
    if options.analogy:
        a, b, c = answers["analogy"]["words"]
        ends = [options.expect, *(answer["word"] for answer in answers["analogy"]["add"])]
        arrows = [(b, a), *((c, end) for end in list(filter(None, ends))[:1])]
    elif len(words) == 1:  # alone it would be a point: draw its neighbours too
        words += [near["word"] for near in answers["neighbours"][words[0]]]
    return words, arrows


def _sentences(run: Run | None, options: WordsOptions) -> dict[str, Any]:
    """The nearest sentences of a file, and how far apart a model's vectors of two orders are."""
    from wordorder.words.sentences import compare, read_sentences

    assert options.sentences is not None
    if run is None:
        raise BadInput(
            f"--sentences needs a run folder, but {options.source} is a file of vectors",
            code="cli.words-sentences-no-run",
        )
    if not 1 <= len(options.words) <= 2:
        raise BadInput(
            f"--sentences compares one sentence with those of a file, but "
            f"{counted(len(options.words), 'argument')} were given: put the sentence in quotes, "
            "and optionally another order of it",
            code="cli.words-sentence-count",
        )
    lines = read_sentences(options.sentences)
    with _progress("reading") as progress:
        return compare(
            run.model,
            run.tokenizer,
            *options.words,
            among=lines,
            count=options.count,
            progress=progress,
        )


def _train(options: VectorOptions) -> int:
    out = user_path(options.out)
    if not out.parent.is_dir():
        raise BadInput(
            f"--out {out}: the folder {out.parent} does not exist: create it, or choose another "
            "--out",
            code="cli.words-no-folder",
        )
    with held_file(out):
        if out.is_dir():
            raise BadInput(
                f"--out {out} is a folder: give a file name", code="cli.words-out-is-folder"
            )
        if out.exists() and not options.overwrite:
            raise BadInput(
                f"{out} already exists: replace it with --overwrite, or choose another --out",
                code="cli.words-out-exists",
            )
        _train_into(out, options)
    return 0


def _train_into(out: Path, options: VectorOptions) -> None:
    """Train vectors and write them, while the lock of the file is held."""
    from wordorder.text.load import load_corpus
    from wordorder.text.words import note_of_spaces
    from wordorder.words.formats import write
    from wordorder.words.word2vec import train_vectors

    gensim_models("wordorder words train")  # if it is missing, say so before the text is read
    check_writable(out)
    logs, start = screen(stderr=True), time.perf_counter()
    with logs.status("reading"):
        corpus = load_corpus(options.data, field=options.field)
    texts = (document.text for document in corpus.documents)
    notes = [*corpus.notes, *note_of_spaces(texts, corpus.name, CUT_IT)]
    for note in notes:
        logs.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    if options.threads != 1:
        logs.print(
            "several threads update one table at once: --threads 1 makes the result reproducible"
        )
    with _progress("learning") as progress:
        vectors = train_vectors(
            corpus,
            dimensions=options.dimensions,
            epochs=options.epochs,
            min_count=options.min_count,
            threads=options.threads,
            progress=progress,
        )
    write(out, vectors)
    seconds = round(time.perf_counter() - start, 1)
    if options.json:
        result = {"out": str(out), "words": len(vectors), "seconds": seconds, "notes": notes}
        print(json.dumps(result))
    else:
        size = f"{counted(len(vectors), 'word')} of {options.dimensions} numbers"
        print(f"{out}: {size}, {seconds:.0f} s")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on stderr; it appears with the first call."""
    with transient_progress() as bar:
        task = bar.add_task(what, total=1.0, visible=False)
        yield lambda share: bar.update(task, completed=share, visible=True)
