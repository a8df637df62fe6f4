"""Claims about the space of words: king - man + woman, and what lies near what.

They are about vectors learned from much text, which no model that is trained here in minutes
has. So they are tried on vectors that are given, or on ones trained on a large text that is
given; without either, and for words that it does not hold, they cannot be tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wordorder.claims.claim import Claim, Criterion, Plan, Reading, Results, Work
from wordorder.errors import BadInput
from wordorder.experiments.jobs import Tell
from wordorder.text.load import load_corpus
from wordorder.words.analogies import accuracy, read_questions
from wordorder.words.cache import open_vectors
from wordorder.words.vectors import Vectors
from wordorder.words.word2vec import train_vectors

ANALOGY = (["king", "woman"], ["man"])  # king + woman - man
PAIRS = (("paris", "france"), ("tokyo", "japan"))
NEAR = 10  # among so many nearest words
VECTORS = (".vec", ".bin", ".vectors")  # how files of vectors end; .txt is text
THEIRS = 19.4  # percent, after 24 M words


def ask(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return what one set of vectors says to the article's examples, and to a file of questions."""
    vectors = _vectors(job, tell)
    found: dict[str, Any] = {"name": vectors.source, "words": len(vectors)}
    found["queen"] = _or_absent(lambda: vectors.rank("queen", *ANALOGY))
    found["nearest"] = _or_absent(lambda: [w for w, _ in vectors.most_similar(*ANALOGY, topn=5)])
    for one, other in PAIRS:
        found[one] = _or_absent(lambda one=one, other=other: vectors.rank(other, [one]))
    if job["questions"]:
        total = accuracy(vectors, read_questions(job["questions"]))[-1]
        found["percent"] = None if total.share is None else 100 * total.share
        found["asked"] = total.asked
    return found


def _or_absent(answer: Any) -> Any:
    """Return an answer, or the reason why there is none."""
    try:
        return answer()
    except BadInput as error:
        return {"absent": str(error)}


def _vectors(job: Mapping[str, Any], tell: Tell) -> Vectors:
    path = Path(job["words"][0])
    if len(job["words"]) == 1 and path.name.removesuffix(".gz").endswith(VECTORS):
        return open_vectors(path, lambda share: tell(share, "reading vectors"))
    corpus = load_corpus(tuple(job["words"]))
    return train_vectors(
        corpus, seed=job["seed"] + 1, progress=lambda share: tell(share, "training word vectors")
    )


def _works(plan: Plan) -> list[Work]:
    return [
        Work(
            f"words/seed{seed}",
            ask,
            {"words": list(plan.words), "questions": plan.questions, "seed": seed},
            90.0,
            alone=True,
        )
        for seed in range(plan.seeds if plan.words else 0)
    ]


def _found(plan: Plan, results: Results) -> list[Mapping[str, Any]]:
    return [results[work.name] for work in _works(plan) if work.name in results]


def _examples(plan: Plan, results: Results) -> Reading:
    found = _found(plan, results)
    if not plan.words:
        return Reading({}, needs=("no word vectors or large text is given: add --words FILES",))
    quantities, said, absent = {}, [], []
    for name, key in (
        ("place of queen for king - man + woman", "queen"),
        *((f"place of {other} beside {one}", one) for one, other in PAIRS),
    ):
        quantities[name] = [part[key] for part in found if isinstance(part[key], int)]
        absent += [part[key]["absent"] for part in found[:1] if not isinstance(part[key], int)]
    for part in found:
        if isinstance(part["nearest"], list):
            said.append(f"king - man + woman: {', '.join(part['nearest'])}")
    needs = tuple(f"{reason}: it needs another text or other vectors" for reason in absent)
    return Reading(quantities, tuple(said), needs)


def _accuracy(plan: Plan, results: Results) -> Reading:
    if not plan.words or not plan.questions:
        needs = "no word vectors or large text, or no questions: add --words FILES --questions FILE"
        return Reading({}, needs=(needs,))
    works = [(work.job["seed"], results.get(work.name)) for work in _works(plan)]
    by_seed = {seed: part for seed, part in works if part and part.get("percent") is not None}
    said = tuple(
        f"{part['percent']:.1f}% of {part['asked']:,} questions, {part['words']:,} words"
        for part in by_seed.values()
    )
    return Reading({"right answers": {s: part["percent"] for s, part in by_seed.items()}}, said)


CLAIMS = (
    Claim(
        "king-and-queen",
        "article",
        "In a good embedding space king - man + woman lands at queen, Paris lies near France and "
        "Tokyo near Japan.",
        "the article, 'But first.. what is an embedding?'; Mikolov et al. 2013",
        "no figures",
        "Vectors that are given, or word2vec of 100 dimensions trained on the text that is given; "
        f"near is among the {NEAR} nearest; the three words themselves are left out.",
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
        "The same: 100 dimensions, continuous bag of words, 5 epochs of the text that is given; an "
        "interval over seeds on all questions whose words it holds.",
        (Criterion("right answers", least=THEIRS),),
        _works,
        _accuracy,
        unit="%",
    ),
)
