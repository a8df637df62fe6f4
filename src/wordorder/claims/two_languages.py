"""Training data in two languages, and pairs of sentences for retrieval.

By default the second language is a clone of the first: the same sentences with other token ids. It
has the same grammar and meanings and shares only the end-of-text and mask tokens, so any alignment
is the model's work. Two files whose lines are translations of each other replace them, with one
tokenizer for both.

Every sentence is a document: it begins with the end-of-text token at position 0 and attention stays
inside it. In windows cut anywhere a position says nothing about a word: in trials of 1,000 to 3,000
steps, sinusoidal positions then aligned the languages a little in some runs, rotary ones in none.

Source: Dufter & Schütze 2020, section 2: the clone, sentence by sentence, special tokens
shared, masked tokens replaced by random ones of both languages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wordorder.errors import BadInput
from wordorder.numerals import counted
from wordorder.text.batches import Batches
from wordorder.text.corpus import Corpus, Document
from wordorder.text.load import load_corpus
from wordorder.text.store import TokenStore, open_store
from wordorder.text.tokenizer import make_tokenizer
from wordorder.text.user_text import read_text
from wordorder.training.config import TrainConfig

ENDS = re.compile(r"\n|(?<=[.!?]) ")
SHORTEST_SENTENCE = 20  # characters; below it are headings and code
MOST_SENTENCES = 40_000  # about a million tokens; more are not read in the steps there are

# Sentences for retrieval in the clone are cut to this many tokens: with positions in the hidden
# states, their mean would reveal a sentence's length.
TOKENS_LOOKED_UP = 12
MOST_PAIRS = 500  # the error of an accuracy is then at most 2.2 points
FEWEST_PAIRS = 50
# Twice BERT's fraction: a step has twice the targets, and small models lose little.
MASK_FRACTION = 0.3
KNOWN_TOKEN = 100  # fewest occurrences in training of a token used for retrieval

Rows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Languages:
    """Training data of two languages for `Training`, and pairs for retrieval.

    Args:
        training: the sentences of one language, then those of the other.
        held_out: the held-out sentences of each language.
        sentences: pairs of held-out sentences: token ids without end-of-text.
        words: ids of the same words in each language; empty if unknown.
        mask: the mask token.
    """

    training: TokenStore
    held_out: tuple[TokenStore, TokenStore]
    sentences: tuple[Rows, Rows]
    words: tuple[tuple[int, ...], tuple[int, ...]]
    mask: int

    def batches(self, config: TrainConfig) -> Batches:
        """Return the training batches: random windows of either language."""
        return Batches(
            self.training,
            context_length=config.model.trained_length,
            batch_size=config.batch_size,
            seed=config.seed,
            isolate_documents=True,
            objective=config.objective,
            mask_id=self.mask,
            mask_fraction=MASK_FRACTION,
        )


def read_languages(config: TrainConfig, files: Sequence[str]) -> Languages:
    """Read two languages: those of two files, or that of the data and its clone.

    Args:
        config: its vocabulary size is that of one tokenizer; a clone doubles it.
        files: two files whose lines are translations of each other; empty: data and clone.

    Raises:
        BadInput: the files do not match, or have too few sentences.
    """
    pairs = translations(files) if files else [(s, s) for s in sentences_of(config)]
    name = " and ".join(files or config.data)
    if len(pairs) * config.validation_fraction < FEWEST_PAIRS:
        least = round(FEWEST_PAIRS / config.validation_fraction)
        raise BadInput(
            f"{name} has {counted(len(pairs), 'distinct sentence')}: give at least {least}",
            code="claims.too-few-sentences",
        )
    every = round(1 / config.validation_fraction)
    held = [pair for n, pair in enumerate(pairs) if n % every == 0]
    sides = (0, 1) if files else (0,)
    # A sentence held out with one translation is not trained on with another.
    held_sentences = [{pair[side] for pair in held} for side in sides]
    learnt = [
        pair
        for n, pair in enumerate(pairs)
        if n % every and not any(pair[side] in held_sentences[side] for side in sides)
    ]
    read = _corpus(name, [pair[side] for side in sides for pair in learnt])
    size = config.model.vocabulary_size
    tokenizer = make_tokenizer(config.tokenizer, read, size, mask=True)
    assert tokenizer.mask is not None
    training, held_out = (
        [open_store(_corpus(name, [pair[side] for pair in part]), tokenizer) for side in sides]
        for part in (learnt, held)
    )
    words: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    least, most = 1, config.model.trained_length - 1
    if not files:
        known = _known(training[0])
        words = known, tuple(word + tokenizer.vocabulary_size for word in known)
        training, held_out = _with_clone(training[0]), _with_clone(held_out[0])
        least = most = min(most, TOKENS_LOOKED_UP)
    sentences = _looked_up(held_out[0], held_out[1], least, most)
    if len(sentences[0]) < FEWEST_PAIRS:
        raise BadInput(
            f"{name} has {counted(len(sentences[0]), 'held-out sentence')} of at least {least} "
            f"tokens, and {FEWEST_PAIRS} are needed: give text with more sentences",
            code="claims.too-few-held-out-sentences",
        )
    return Languages(
        _joined(training[0], training[1]),
        (held_out[0], held_out[1]),
        sentences,
        words,
        tokenizer.mask,
    )


def sentences_of(config: TrainConfig) -> list[str]:
    """Return distinct sentences of the data; a line break ends a sentence too."""
    corpus = load_corpus(config.data, field=config.field)
    parts = (part for document in corpus.documents for part in ENDS.split(document.text))
    sentences = list(
        dict.fromkeys(
            sentence
            for sentence in (" ".join(part.split()) for part in parts)
            if len(sentence) >= SHORTEST_SENTENCE
        )
    )
    return sentences[:: -(-len(sentences) // MOST_SENTENCES)] if sentences else []


def translations(files: Sequence[str]) -> list[tuple[str, str]]:
    """Return the distinct pairs of non-empty lines of two files.

    Raises:
        BadInput: there are not two files, one cannot be read, or their line counts differ.
    """
    if len(files) != 2:
        raise BadInput(
            f"--languages has {counted(len(files), 'file')}: give two, translations line by line",
            code="claims.not-two-languages",
        )
    texts = [read_text(name).split("\n") for name in files]
    first, second = (text[:-1] if text[-1] == "" else text for text in texts)
    if len(first) != len(second):
        raise BadInput(
            f"{files[0]} has {len(first):,} lines and {files[1]} {len(second):,}: they must be "
            "translations line by line",
            code="claims.languages-differ-in-lines",
        )
    pairs = zip(first, second, strict=True)
    return list(dict.fromkeys((a.strip(), b.strip()) for a, b in pairs if a.strip() and b.strip()))


def _corpus(name: str, sentences: Sequence[str]) -> Corpus:
    return Corpus(name, tuple(Document(sentence, name) for sentence in sentences))


def _known(store: TokenStore) -> tuple[int, ...]:
    """Return the tokens that are frequent enough for their vectors to be learned."""
    counts = np.bincount(store.tokens, minlength=store.vocabulary_size)
    counts[store.end_of_text] = 0
    return tuple(np.flatnonzero(counts >= KNOWN_TOKEN).tolist())


def _with_clone(store: TokenStore) -> list[TokenStore]:
    """Return a language and its clone, which shares the end-of-text token."""
    size, tokens = store.vocabulary_size, np.asarray(store.tokens, np.uint32)
    cloned = np.where(tokens == store.end_of_text, tokens, tokens + size)
    both = replace(store, vocabulary_size=2 * size)
    return [both, replace(both, tokens=cloned)]


def _joined(first: TokenStore, second: TokenStore) -> TokenStore:
    """Return both languages as one text."""
    return replace(
        first,
        tokens=np.concatenate([first.tokens, second.tokens]),
        starts=np.concatenate([first.starts, second.starts + len(first)]),
        bytes=first.bytes + second.bytes,
    )


def _looked_up(first: TokenStore, second: TokenStore, least: int, most: int) -> tuple[Rows, Rows]:
    """Return distinct sentences of at least `least` tokens, cut to `most`."""
    pairs: dict[tuple[int, ...], tuple[int, ...]] = {}
    for one, other in zip(_documents(first), _documents(second), strict=True):
        if min(len(one), len(other)) >= least:
            pairs.setdefault(one[:most], other[:most])
    different = {other: one for one, other in pairs.items()}
    chosen = np.linspace(0, len(different) - 1, min(len(different), MOST_PAIRS)).astype(int)
    ones, others = tuple(different.values()), tuple(different)
    return tuple(ones[n] for n in chosen), tuple(others[n] for n in chosen)


def _documents(store: TokenStore) -> list[tuple[int, ...]]:
    """Return the tokens of each sentence, without its end."""
    return [tuple(part[:-1].tolist()) for part in np.split(store.tokens, store.starts[1:])]
