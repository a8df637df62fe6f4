"""Trains word vectors on a corpus with gensim's word2vec, on every core.

The lower-case words of each line (`wordorder.text.words`) are written to one file. Each of gensim's
threads reads its part of that file without holding Python's global lock.

With several threads the result differs every time, because they update one table without locks.
With one thread it is reproducible on one machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput
from wordorder.text.corpus import Corpus
from wordorder.text.words import lower_words_of
from wordorder.words.vectors import Vectors, gensim_models

LONGEST_LINE = 10_000  # words; gensim drops the rest of a longer line


def train_vectors(
    corpus: Corpus,
    *,
    dimensions: int = 100,
    epochs: int = 5,
    min_count: int = 5,
    threads: int = 0,
    seed: int = 0,
    progress: Callable[[float], Any] = lambda _: None,
) -> Vectors:
    """Return word vectors trained on a corpus, most frequent word first.

    Args:
        dimensions: numbers in a vector.
        epochs: passes over the text.
        min_count: rarer words get no vector.
        threads: 0 uses every core; 1 makes the result reproducible.
        progress: called with the fraction of epochs done.

    Raises:
        BadInput: gensim is not installed, or no word occurs `min_count` times.

    Source: Mikolov et al. 2013, Efficient Estimation of Word Representations, section 3.1, and
    Distributed Representations of Words and Phrases, section 2.2: a continuous bag of words with
    negative sampling; gensim's defaults, window 5 and 5 negatives.
    """
    models = gensim_models("word2vec")
    done = count(1)

    class EpochProgress(models.callbacks.CallbackAny2Vec):  # type: ignore[name-defined]
        def on_epoch_end(self, _: Any) -> None:
            progress(next(done) / epochs)

    with tempfile.TemporaryDirectory(prefix="wordorder-") as folder:
        lines = Path(folder) / "lines.txt"
        with lines.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(" ".join(line) + "\n" for line in lines_of(corpus))
        model = models.Word2Vec(
            vector_size=dimensions,
            min_count=min_count,
            workers=threads or os.cpu_count() or 1,
            seed=seed,
        )
        model.build_vocab(corpus_file=str(lines))
        if not len(model.wv):
            raise BadInput(
                f"{corpus.name} has no word that occurs {min_count} times: give more text, or "
                "--min-count 1",
                code="words.too-little-text",
            )
        model.train(
            corpus_file=str(lines),
            total_words=model.corpus_total_words,
            epochs=epochs,
            callbacks=[EpochProgress()],
        )
    return Vectors.of_keyed(corpus.name, model.wv)


def lines_of(corpus: Corpus) -> Iterator[list[str]]:
    """Yield the lower-case words of each line of a corpus; skip lines without words."""
    for document in corpus.documents:
        for line in document.text.split("\n"):
            words = lower_words_of(line)
            for start in range(0, len(words), LONGEST_LINE):
                yield words[start : start + LONGEST_LINE]
