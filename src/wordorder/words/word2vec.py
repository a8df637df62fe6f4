"""Word vectors learned from a corpus by gensim's word2vec, with every core.

Texts are cut into lines and lines into words, in lower case, as `wordorder.text.words` cuts them.
They are written once into a file of their own, which gensim's threads read
each from a place of its own, without Python between them.

With several threads the result is not the same twice: they change one table at the same time,
and which comes first is chance. With one it is, on one machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wordorder.errors import BadInput
from wordorder.text.corpus import Corpus
from wordorder.text.words import lower_words_of
from wordorder.words.vectors import Vectors

LONGEST_LINE = 10_000  # words; gensim drops what is beyond


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
    """Return vectors of the words of a corpus, most frequent first.

    Args:
        dimensions: numbers in a vector.
        epochs: how often the text is read.
        min_count: words that come less often have no vector.
        threads: 0 takes every core; with 1 the result is the same every time.
        progress: called with the share of the epochs that is done.

    Raises:
        BadInput: gensim is not installed; no word comes as often as `min_count`.

    Source: Mikolov et al. 2013, Efficient Estimation of Word Representations, section 3.1, and
    Distributed Representations of Words and Phrases, section 2.2: a continuous bag of words with
    negative sampling; gensim's defaults, window 5 and 5 negatives.
    """
    try:
        from gensim.models import Word2Vec
    except ImportError:
        raise BadInput("training vectors needs an extra: pip install 'wordorder[words]'") from None
    with tempfile.TemporaryDirectory(prefix="wordorder-") as folder:
        lines = Path(folder) / "lines.txt"
        with lines.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(" ".join(line) + "\n" for line in lines_of(corpus))
        model = Word2Vec(
            vector_size=dimensions,
            min_count=min_count,
            workers=threads or os.cpu_count() or 1,
            seed=seed,
        )
        model.build_vocab(corpus_file=str(lines))
        if not len(model.wv):
            raise BadInput(
                f"{corpus.name} holds no word {min_count} times: give more text, or --min-count 1"
            )
        model.train(
            corpus_file=str(lines),
            total_words=model.corpus_total_words,
            epochs=epochs,
            callbacks=[_epochs(epochs, progress)],
        )
    matrix = np.ascontiguousarray(model.wv.vectors, np.float32)
    return Vectors.of(corpus.name, list(model.wv.index_to_key), matrix)


def _epochs(epochs: int, progress: Callable[[float], Any]) -> Any:
    """What gensim calls after each epoch."""
    from gensim.models.callbacks import CallbackAny2Vec

    class Epochs(CallbackAny2Vec):
        done = 0

        def on_epoch_end(self, model: Any) -> None:
            self.done += 1
            progress(self.done / epochs)

    return Epochs()


def lines_of(corpus: Corpus) -> Iterator[list[str]]:
    """Yield the words of each line of a corpus, in lower case; lines without any are left out."""
    for document in corpus.documents:
        for line in document.text.split("\n"):
            words = lower_words_of(line)
            for start in range(0, len(words), LONGEST_LINE):
                yield words[start : start + LONGEST_LINE]
