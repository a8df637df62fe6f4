"""Claims about word vectors: king - man + woman, and nearest neighbours.

They are about vectors trained on much text, which no model trained here in minutes has. So they
need `--words`: a file of vectors, or a large text to train them on. Without it, and for words that
it does not contain, they cannot be tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wordorder.claims.claim import Claim, ClaimPlan, Criterion, Measurements, Results, Work
from wordorder.errors import BadInput
from wordorder.experiments.jobs import Tell
from wordorder.text.compressed import plain_name
from wordorder.text.load import load_corpus
from wordorder.words.analogies import accuracy, read_questions
from wordorder.words.cache import open_vectors
from wordorder.words.vectors import Vectors
from wordorder.words.word2vec import train_vectors

ANALOGY = (["king", "woman"], ["man"])  # king + woman - man
PAIRS = (("paris", "france"), ("tokyo", "japan"))
NEAR = 10  # a word is near if it is among this many nearest words
VECTORS = (".vec", ".bin", ".vectors")  # suffixes of files of vectors; .txt is text
THEIRS = 19.4  # percent, after 24 M words


def ask(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return one set of vectors' answers to the article's examples and a file of analogies."""
    vectors = _vectors(job, tell)
    answers: dict[str, Any] = {"name": vectors.source, "words": len(vectors)}
    answers["queen"] = _or_absent(lambda: vectors.rank("queen", *ANALOGY))
    answers["nearest"] = _or_absent(lambda: [w for w, _ in vectors.most_similar(*ANALOGY, topn=5)])
    for one, other in PAIRS:
        answers[one] = _or_absent(lambda one=one, other=other: vectors.rank(other, [one]))
    if job["questions"]:
        total = accuracy(vectors, read_questions(job["questions"]))[-1]
        answers["percent"] = None if total.share is None else 100 * total.share
        answers["asked"] = total.asked
    return answers


def _or_absent(answer: Any) -> Any:
    """Return an answer, or the reason why a word is absent."""
    try:
        return answer()
    except BadInput as error:
        return {"absent": str(error)}


def _trained_already(words: Sequence[str]) -> bool:
    """Return whether words are one file of vectors, and no text to train them on."""
    return len(words) == 1 and plain_name(words[0]).endswith(VECTORS)


def _vectors(job: Mapping[str, Any], tell: Tell) -> Vectors:
    path = Path(job["words"][0])
    if _trained_already(job["words"]):
        return open_vectors(path, lambda share: tell(share, "reading vectors"))
    corpus = load_corpus(tuple(job["words"]))
    # With one thread, because vectors of several differ each time.
    return train_vectors(
        replace(corpus, name=", ".join(Path(name).name for name in job["words"])),
        seed=job["seed"] + 1,
        threads=1,
        progress=lambda share: tell(share, "training word vectors"),
    )


def _works(plan: ClaimPlan) -> list[Work]:
    trained = _trained_already(plan.words)
    job: dict[str, Any] = {"words": list(plan.words), "questions": plan.questions}
    job["vectors"] = trained or None  # the name decides, and results are found by contents alone
    seeds = 1 if trained else plan.seeds
    return [
        Work(f"words/seed{seed}", ask, {**job, "seed": seed}, 135.0)
        for seed in range(seeds if plan.words else 0)
    ]


def _found(plan: ClaimPlan, results: Results) -> list[Mapping[str, Any]]:
    return [results[work.name] for work in _works(plan) if work.name in results]


def _examples(plan: ClaimPlan, results: Results) -> Measurements:
    answers = _found(plan, results)
    if not plan.words:
        return Measurements({}, needs=("no word vectors and no large text: add --words FILES",))
    quantities, notes, absent = {}, [], []
    for name, key in (
        ("place of queen for king - man + woman", "queen"),
        *((f"place of {other} beside {one}", one) for one, other in PAIRS),
    ):
        quantities[name] = [part[key] for part in answers if isinstance(part[key], int)]
        absent += [part[key]["absent"] for part in answers[:1] if not isinstance(part[key], int)]
    for part in answers:
        if isinstance(part["nearest"], list):
            notes.append(f"king - man + woman: {', '.join(part['nearest'])}")
    needs = tuple(f"{reason}: use other vectors or another text" for reason in absent)
    return Measurements(quantities, tuple(notes), needs)


def _accuracy(plan: ClaimPlan, results: Results) -> Measurements:
    if not plan.words or not plan.questions:
        needs = "no word vectors, or no file of analogies: add --words FILES --questions FILE"
        return Measurements({}, needs=(needs,))
    works = [(work.job["seed"], results.get(work.name)) for work in _works(plan)]
    by_seed = {seed: part for seed, part in works if part and part.get("percent") is not None}
    notes = tuple(
        f"{part['percent']:.1f}% of {part['asked']:,} questions, {part['words']:,} words"
        for part in by_seed.values()
    )
    if _trained_already(plan.words):
        notes += (
            "a file of vectors is one training: give --words TEXT for an interval over seeds",
        )
    return Measurements(
        {"right answers": {s: part["percent"] for s, part in by_seed.items()}}, notes
    )


CLAIMS = (
    Claim(
        "king-and-queen",
        "article",
        "In a good embedding space king - man + woman lands at queen, Paris lies near France and "
        "Tokyo near Japan.",
        "the article, 'But first.. what is an embedding?'; Mikolov et al. 2013",
        "no figures",
        "The vectors given with --words, or word2vec of 100 dimensions trained on the text given; "
        f"near means among the {NEAR} nearest words; the three words themselves are excluded.",
        (
            Criterion("place of queen for king - man + woman", most=1, kind="exact"),
            *(Criterion(f"place of {b} beside {a}", most=NEAR, kind="exact") for a, b in PAIRS),
        ),
        _works,
        _examples,
        unit="",
    ),
    Claim(
        "word2vec-analogies",
        "literature",
        "word2vec of 100 dimensions, trained on some tens of millions of words, answers a fifth of "
        "Google's analogies.",
        "Mikolov et al. 2013, Efficient Estimation of Word Representations, table 2",
        f"{THEIRS}% on 24 M words of news (continuous bag of words, 30,000 most frequent words), "
        "27.8% on 98 M",
        "The same: 100 dimensions, continuous bag of words, 5 epochs of the given text; intervals "
        "over seeds on all questions whose words are in the vocabulary.",
        (Criterion("right answers", least=THEIRS, neutral=None),),
        _works,
        _accuracy,
        unit="%",
    ),
)
