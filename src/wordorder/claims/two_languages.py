"""Two languages for one model: sentences to learn from, and pairs of them to be looked up.

The second language is by default a clone of the first: the same sentences with other token
ids. It has the same grammar and the same meanings, and no token in common with the first but
the one between sentences and the mask, so that whatever the two share in a model is the
model's doing. Given two files whose lines are translations of each other it is those two
languages instead, with one tokenizer for both.

A sentence is a document of its own: it opens with the token between sentences at position 0
and sees nothing of its neighbours. That matters: in windows cut anywhere in the text a position
says nothing about a word, and in trials of 1,000 to 3,000 steps sinusoidal positions aligned
the languages a little in some runs and not at all in others, rotary ones in none.

Source: Dufter & Schütze 2020, section 2: the clone, sentence by sentence, special tokens
shared, masked tokens replaced by random ones of both languages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wordorder.errors import BadInput
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

# All sentences that are looked up in the clone are cut to this many tokens: the mean of a
# sentence's states tells its length wherever positions are in them.
TOKENS_LOOKED_UP = 12
MOST_PAIRS = 500  # the error of an accuracy is then at most 2.2 points
FEWEST_PAIRS = 50
# Twice BERT's share: a step then tells twice as much, and small models lose little by it.
MASK_FRACTION = 0.3
KNOWN_TOKEN = 100  # occurrences in training from which a token's vector is looked up

Rows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Languages:
    """What a model learns from, as `Training` reads it, and what it is asked.

    Args:
        training: the sentences of one language after those of the other.
        held_out: each language's sentences that are not learnt from.
        sentences: some of these in each language, the same ones: token ids without the ends.
        words: ids of the same tokens in each language; none where nobody knows them.
        mask: the token that hides another.
    """

    training: TokenStore
    held_out: tuple[TokenStore, TokenStore]
    sentences: tuple[Rows, Rows]
    words: tuple[tuple[int, ...], tuple[int, ...]]
    mask: int

    def batches(self, config: TrainConfig) -> Batches:
        """Return the training batches: windows of either language, drawn from the seed."""
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
    """Return two languages: those of two files, or that of the data and its clone.

    Args:
        config: with the vocabulary of one tokenizer; a clone doubles it.
        files: two, whose lines are translations of each other; empty: data and clone.

    Raises:
        BadInput: files that are not so, or too few sentences.
    """
    pairs = translations(files) if files else [(s, s) for s in sentences_of(config)]
    name = " and ".join(files or config.data)
    if len(pairs) * config.validation_fraction < FEWEST_PAIRS:
        least = round(FEWEST_PAIRS / config.validation_fraction)
        raise BadInput(f"{name}: {len(pairs)} different sentences, give at least {least}")
    every = round(1 / config.validation_fraction)
    held = [pair for n, pair in enumerate(pairs) if n % every == 0]
    sides = (0, 1) if files else (0,)
    # A sentence that is held out with one translation is not learnt with another.
    asked = [{pair[side] for pair in held} for side in sides]
    learnt = [
        pair
        for n, pair in enumerate(pairs)
        if n % every and not any(pair[side] in asked[side] for side in sides)
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
            f"{name}: {len(sentences[0])} held-out sentences of at least {least} tokens, which "
            f"is too few to look up: give text with more sentences, for {FEWEST_PAIRS} of them"
        )
    return Languages(
        _joined(training[0], training[1]),
        (held_out[0], held_out[1]),
        sentences,
        words,
        tokenizer.mask,
    )


def sentences_of(config: TrainConfig) -> list[str]:
    """Return different sentences of the data, or parts of them where lines are broken."""
    corpus = load_corpus(config.data, field=config.field)
    parts = (part for document in corpus.documents for part in ENDS.split(document.text))
    found = list(
        dict.fromkeys(
            sentence
            for sentence in (" ".join(part.split()) for part in parts)
            if len(sentence) >= SHORTEST_SENTENCE
        )
    )
    return found[:: -(-len(found) // MOST_SENTENCES)] if found else []


def translations(files: Sequence[str]) -> list[tuple[str, str]]:
    """Return the different pairs of lines of two files, without those where one is empty.

    Raises:
        BadInput: not two files, one that cannot be read, or other numbers of lines.
    """
    if len(files) != 2:
        raise BadInput(f"{len(files)} files of languages: give two, the same sentences by line")
    texts = [read_text(name).split("\n") for name in files]
    first, second = (text[:-1] if text[-1] == "" else text for text in texts)
    if len(first) != len(second):
        raise BadInput(
            f"{files[0]} has {len(first):,} lines and {files[1]} {len(second):,}: line by line "
            "they must be the same sentences"
        )
    pairs = zip(first, second, strict=True)
    return list(dict.fromkeys((a.strip(), b.strip()) for a, b in pairs if a.strip() and b.strip()))


def _corpus(name: str, sentences: Sequence[str]) -> Corpus:
    return Corpus(name, tuple(Document(sentence, name) for sentence in sentences))


def _known(store: TokenStore) -> tuple[int, ...]:
    """Return the tokens that are frequent enough for their vectors to be learnt."""
    counts = np.bincount(store.tokens, minlength=store.vocabulary_size)
    counts[store.end_of_text] = 0
    return tuple(np.flatnonzero(counts >= KNOWN_TOKEN).tolist())


def _with_clone(store: TokenStore) -> list[TokenStore]:
    """Return a language and its clone; what ends a sentence is the same in both."""
    size, tokens = store.vocabulary_size, store.tokens.astype(np.uint32)
    cloned = np.where(tokens == store.end_of_text, tokens, tokens + size)
    both = replace(store, vocabulary_size=2 * size)
    return [both, replace(both, tokens=cloned)]


def _joined(first: TokenStore, second: TokenStore) -> TokenStore:
    """Return both languages as one text, of which a window is in one of them."""
    return replace(
        first,
        tokens=np.concatenate([first.tokens, second.tokens]),
        starts=np.concatenate([first.starts, second.starts + len(first)]),
        bytes=first.bytes + second.bytes,
    )


def _looked_up(first: TokenStore, second: TokenStore, least: int, most: int) -> tuple[Rows, Rows]:
    """Return sentences of at least some tokens, cut to at most some, none of them twice."""
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
