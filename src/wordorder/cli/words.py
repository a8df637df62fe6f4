"""`wordorder words`: what a table of vectors knows of words, and training such a table.

A file of vectors is asked without importing torch, so that the answer comes at once.
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
from rich.console import Console
from rich.progress import Progress

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.errors import BadInput
from wordorder.locks import held_file
from wordorder.numerals import counted
from wordorder.settings import Positive, Threads
from wordorder.text.user_text import decode_argument, user_path
from wordorder.words.analogies import VOCABULARY, accuracy, read_questions
from wordorder.words.cache import open_vectors
from wordorder.words.vectors import METHODS, Method, Vectors, gensim_models
from wordorder.words.views import show

if TYPE_CHECKING:
    from pathlib import Path

    from wordorder.training.run import Run

Flag = tyro.conf.FlagCreatePairsOff[bool]
CUT_IT = (
    "Here a word is what stands between spaces or punctuation: cut the text into words first, by "
    "a space between them"
)
TERMS = re.compile(r"\s*(\S+)\s+-\s+(\S+)\s+\+\s+(\S+)\s*")


@dataclass(frozen=True)
class WordsOptions:
    """Ask a table of word vectors what is near what: neighbours, analogies, sentences.

    `wordorder words train --help` tells how to learn one from text.

    Args:
        source: a run folder, whose token embeddings are taken, or a file of vectors: word2vec's
            text or binary form or GloVe's, also as .gz.
        words: whose neighbours to show; with --sentences a sentence, and another order of it.
        analogy: three words, as king man woman for king - man + woman.
        expect: a word whose rank to tell, in the analogy or among the neighbours.
        include_inputs: the words asked about may be answers to an analogy.
        questions: a file as questions-words.txt: how many analogies come out, by section.
        vocabulary: only the first words of the table, its most frequent, count; by default all,
            for --questions 30,000.
        count: how many to show.
        picture: draw the words into this file (.png, .svg or .pdf).
        export: write the table into this folder for the TensorBoard projector.
        sentences: a file with a sentence on each line: which are nearest to the one given, and
            whether a run tells its words from the same in another order, the last first.
        trust: run the code of an embedding of one's own that the run names.
        json: print one JSON object.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    words: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[WORD ...]")
    ] = ()
    analogy: tuple[str, ...] = ()
    expect: str | None = None
    include_inputs: Flag = False
    questions: str | None = None
    vocabulary: Positive | None = None
    count: Positive = 10
    picture: str | None = None
    export: str | None = None
    sentences: str | None = None
    trust: Flag = False
    json: Flag = False


@dataclass(frozen=True)
class TrainOptions:
    """Learn word vectors from text with gensim's word2vec, on every core.

    Args:
        data: files, folders, python-docs or hf:NAME.
        out: the file: word2vec's text form, binary where it ends in .bin, either also .gz.
        field: column of tables and datasets that holds the text.
        dimensions: numbers in a vector.
        epochs: how often the text is read.
        min_count: words that come less often have no vector.
        threads: 0 takes every core; only with 1 is the result the same every time.
        overwrite: replace the file.
        json: print one JSON object.
    """

    data: tuple[str, ...]
    out: str
    field: str = "text"
    dimensions: Annotated[int, Interval(ge=1, le=65_536)] = 100
    epochs: Positive = 5
    min_count: Positive = 5
    threads: Threads = 0
    overwrite: Flag = False
    json: Flag = False


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    if arguments[:1] == ["train"]:
        return _train(parse(TrainOptions, arguments[1:], command="wordorder words train"))
    options = parse(WordsOptions, arguments, command="wordorder words")
    asks_analogies = options.analogy or options.questions
    refuse_typed(
        typed_names(arguments),
        (
            options.sentences is not None,
            "analogy expect include_inputs questions vocabulary picture export",
            "{} asks a table of words, and --sentences a model: give one of the two",
        ),
        (not asks_analogies, "include_inputs", "{} is of --analogy and --questions: add one"),
    )
    options = replace(
        options,
        words=tuple(decode_argument(word, "a word") for word in options.words),
        analogy=tuple(decode_argument(word, "--analogy") for word in options.analogy),
        expect=options.expect and decode_argument(options.expect, "--expect"),
    )
    run = _run(options)
    if options.sentences is not None:
        answers = _sentences(run, options)
    else:
        vectors = _vectors(run, options)
        whole = vectors if options.vocabulary is None else vectors.first(options.vocabulary)
        answers = _answers(whole, options, of_a_run=run is not None)
    if options.json:
        print(json.dumps({"source": options.source, **answers}))
    else:
        show(Console(highlight=False), options.source, answers)
    return 0


def _run(options: WordsOptions) -> Run | None:
    """The run to ask; None for a file of vectors."""
    if not user_path(options.source).is_dir():
        if options.sentences is not None:
            raise BadInput(f"--sentences needs a run, whose model reads them: {options.source}")
        return None
    from wordorder.training.run import Run

    return Run.load(options.source, trust=options.trust)


def _vectors(run: Run | None, options: WordsOptions) -> Vectors:
    if run is not None:
        from wordorder.words.token_table import token_vectors

        return token_vectors(run.model, run.tokenizer, str(run.folder))
    with _progress("reading, once: it is kept in the cache") as progress:
        return open_vectors(options.source, progress)


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
            word: [near._asdict() for near in vectors.most_similar([word], topn=options.count)]
            for word in options.words
        }
        if options.expect and not options.analogy:
            ranks = {word: vectors.rank(options.expect, [word]) for word in options.words}
            answers |= {"expected": options.expect, "ranks": ranks}
    if options.analogy:
        answers["analogy"] = _analogy(vectors, options, of_a_run=of_a_run)
    elif options.expect and not options.words:
        raise BadInput("--expect is a word to be near another: name one, or an --analogy")
    if options.questions:
        answers["questions"] = _questions(vectors, options)
    if options.picture:
        answers["picture"] = _picture(vectors, options, answers)
    if options.export:
        from wordorder.words.picture import export

        answers["export"] = list(map(str, export(vectors, options.export)))
    return answers


def _analogy(vectors: Vectors, options: WordsOptions, *, of_a_run: bool) -> dict[str, Any]:
    whole = TERMS.fullmatch(options.analogy[0]) if len(options.analogy) == 1 else None
    words = whole.groups() if whole else options.analogy
    if len(words) != 3:
        raise BadInput(
            f"--analogy has {counted(len(words), 'word')}: give three, as king man woman "
            "or 'king - man + woman'"
        )
    a, b, c = words
    terms, inputs = ([a, c], [b]), options.include_inputs
    answers: dict[str, Any] = {"words": list(words), "of_a_run": of_a_run}
    for method in METHODS:
        near = vectors.most_similar(
            *terms, topn=options.count, method=method, include_inputs=inputs
        )
        answers[method] = [each._asdict() for each in near]
    if expected := options.expect:

        def rank(method: Method, *, included: bool) -> int:
            return vectors.rank(expected, *terms, method=method, include_inputs=included)

        answers["expected"] = expected
        answers["ranks"] = {
            method: {
                # With --include-inputs the word may be one of the three, which have no such rank.
                "left_out": None if inputs else rank(method, included=False),
                "included": rank(method, included=True),
            }
            for method in METHODS
        }
    return answers


def _questions(vectors: Vectors, options: WordsOptions) -> dict[str, Any]:
    questions, vocabulary = read_questions(options.questions), options.vocabulary or VOCABULARY
    how = {"vocabulary": vocabulary, "include_inputs": options.include_inputs}
    answers: dict[str, Any] = {"vocabulary": min(vocabulary, len(vectors))}
    for method in METHODS:
        *sections, total = map(asdict, accuracy(vectors, questions, method=method, **how))
        answers[method] = {"sections": sections, "total": total}
    return answers


def _picture(vectors: Vectors, options: WordsOptions, answers: dict[str, Any]) -> str:
    from wordorder.words.picture import draw

    assert options.picture is not None
    drawn, arrows = list(options.words), []
    if options.analogy:
        a, b, c = answers["analogy"]["words"]
        arrows = [(b, a), (c, options.expect or answers["analogy"]["add"][0]["word"])]
    elif len(drawn) == 1:  # alone it would be a point: draw its neighbours too
        drawn += [near["word"] for near in answers["neighbours"][drawn[0]]]
    draw(options.picture, vectors, drawn, arrows)
    return options.picture


def _sentences(run: Run | None, options: WordsOptions) -> dict[str, Any]:
    """The nearest sentences of a file, and how far apart a model's vectors of two orders are."""
    from wordorder.words.sentences import compare, read_sentences

    assert run is not None and options.sentences is not None
    if not 1 <= len(options.words) <= 2:
        raise BadInput(
            f"--sentences compares one sentence with those of a file, and {len(options.words)} "
            "are given: quote it, and another order of it if you like"
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


def _train(options: TrainOptions) -> int:
    out = user_path(options.out)
    if not out.parent.is_dir():
        raise BadInput(f"--out {out}: there is no folder {out.parent}")
    with held_file(out):
        if out.is_dir():
            raise BadInput(f"--out {out} is a folder: give the name of a file")
        if out.exists() and not options.overwrite:
            raise BadInput(
                f"{out} is there already: replace it by --overwrite, or choose another --out"
            )
        _train_into(out, options)
    return 0


def _train_into(out: Path, options: TrainOptions) -> None:
    """Learn vectors and write them, with the lock of the file held."""
    from wordorder.text.corpus import load_corpus
    from wordorder.text.words import note_of_spaces
    from wordorder.words.formats import write
    from wordorder.words.word2vec import train_vectors

    gensim_models("word2vec's vectors")  # if it is missing, say so before the text is read
    logs, start = Console(stderr=True, highlight=False), time.perf_counter()
    with logs.status("reading"):
        corpus = load_corpus(options.data, field=options.field)
    texts = (document.text for document in corpus.documents)
    notes = [*corpus.notes, *note_of_spaces(texts, corpus.name, CUT_IT)]
    for note in notes:
        logs.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    if options.threads != 1:
        logs.print("several threads change one table at once: another run gives other numbers")
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
    """A bar on stderr that appears with the first share it is given."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=1.0, visible=False)
        yield lambda share: bar.update(task, completed=share, visible=True)
