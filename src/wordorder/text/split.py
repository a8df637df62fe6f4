"""The split of a corpus: text that is trained on, text that chooses, text that is only reported.

Everything that is fitted (weights, merges of a tokenizer) is fitted on the training part.
Everything that is chosen (weights to keep, learning rates, sizes, methods) is chosen by the
development part. The validation part decides nothing, so its loss can be reported.

Equal texts never stand in two parts. Two texts are equal if they have the same words in the same
order: a newline at the end, or lines that are wrapped elsewhere, do not make another text.

- With 20 different texts or more, whole documents are assigned by a hash of their text. A new
  document moves no other. Copies stay, all in one part: how often a line is said is part of the
  text.
- With fewer, each text is cut: its last characters are held out, so that three languages in three
  files are all trained on and all validated. One file keeps nanoGPT's split to the character.
  Copies are dropped: so few texts that repeat are files that were given twice, or one file that
  was copied until it was long enough, and a reader wants that text once rather than a refusal.
  The note says how many were dropped, so that one epoch is one reading.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

from annotated_types import Interval

from wordorder.errors import BadInput
from wordorder.patience import notify_if_slow
from wordorder.settings import checked
from wordorder.text.corpus import Corpus, Document

# Recorded with every run: raise it when the same corpus and fractions give other parts.
VERSION = 2

# Below this a hash decides too coarsely: one long document more or less moves the split by 5%.
FEWEST_DOCUMENTS_TO_HASH = 20

Rule = Literal["hash", "tail"]
ValidationFraction = Annotated[float, Interval(gt=0, lt=1)]
DevelopmentFraction = Annotated[float, Interval(ge=0, lt=1)]
PARTS = ("training", "development", "validation")
LINE = re.compile(r"[^\n]+")
SOME_LINES = re.compile(r"[\s\S]{1,65536}[^\n]*")
LONG_LINE = 40  # characters: shorter ones repeat by chance
# Below this the lines that repeat are phrases that every text of a kind has, such as licences.
REPEATED_LINES_WORTH_A_NOTE = 0.1


@dataclass(frozen=True)
class Split:
    """The parts of a corpus.

    Args:
        training: what models and tokenizers are fitted on.
        development: what chooses; None if its fraction is 0.
        validation: what is reported.
        facts: how the corpus was split, as JSON holds it: `version`, `rule`, both fractions, and
            `documents` (all, different ones, and in each part).
    """

    training: Corpus
    development: Corpus | None
    validation: Corpus
    facts: dict[str, Any]

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the split, one sentence each."""
        return _note_of_copies(self.facts) + _note_of_repeated_lines(self)


@notify_if_slow("splitting the text")
def split_corpus(
    corpus: Corpus,
    validation_fraction: float = 0.1,
    development_fraction: float = 0.0,
    rule: Literal["auto", "hash", "tail"] = "auto",
) -> Split:
    """Split a corpus into training, development and validation text.

    Args:
        validation_fraction: share that is only reported, between 0 and 1.
        development_fraction: share that chooses, taken from what would be training text; 0: none.
        rule: `hash` assigns whole documents, `tail` cuts each; `auto` hashes from 20 different
            texts on.

    Raises:
        BadInput: fractions that leave no training text, or too little text for all parts.
    """
    check_fractions(validation_fraction, development_fraction)
    fractions = validation_fraction, development_fraction
    copies = _copies(corpus.documents)
    if rule == "auto":
        rule = "tail" if len(copies) < FEWEST_DOCUMENTS_TO_HASH else "hash"
    if rule == "hash":
        parts = _by_hash(corpus.documents, copies, *fractions)
    else:
        parts = _by_tail([corpus.documents[group[0]] for group in copies], *fractions)
    named = dict(zip(PARTS, parts, strict=True))
    if any(not part for name, part in named.items() if development_fraction or name != PARTS[1]):
        raise BadInput(_too_little(corpus, len(copies), 3 if development_fraction else 2))
    counts = {name: len(part) for name, part in named.items()}
    facts = {
        "version": VERSION,
        "rule": rule,
        "validation_fraction": validation_fraction,
        "development_fraction": development_fraction,
        "documents": {"all": len(corpus.documents), "different": len(copies), **counts},
    }
    training, development, validation = (
        replace(corpus, name=f"{corpus.name} ({name})", documents=tuple(part))
        for name, part in named.items()
    )
    kept = development if development_fraction else None
    return Split(training, kept, validation, facts)


def check_fractions(validation: float, development: float) -> None:
    """Check the fractions of a split.

    Raises:
        BadInput: one out of range, or both leave no text to train on.
    """
    checked("validation_fraction", ValidationFraction, validation)
    checked("development_fraction", DevelopmentFraction, development)
    if not validation + development < 1:
        raise BadInput(
            f"validation fraction {validation:g} and development fraction {development:g} leave "
            "nothing to train on: their sum must be below 1"
        )


def described(facts: Mapping[str, Any]) -> dict[str, str]:
    """Describe what the held-out parts consist of, as people read it.

    Args:
        facts: of a `Split`, or as a run recorded them.
    """
    counts = facts["documents"]
    percent = {name: f"{100 * facts[f'{name}_fraction']:g}%" for name in PARTS[1:]}
    if facts["rule"] == "hash":
        whole = f"of {counts['all']:,} documents, chosen by a hash of their text"
        said = {name: f"{counts[name]:,} {whole}" for name in PARTS[1:]}
    else:
        of = _of_each(counts)
        said = {
            "development": f"the {percent['development']} before that",
            "validation": f"the last {percent['validation']} of {of}",
        }
    if not counts["development"]:
        said["development"] = "none: nothing is chosen"
    return said


def repeated_lines(split: Split) -> float:
    """Return the share of the validation text's long lines that the training text has too.

    The split keeps equal documents together, but cannot tell documents that are nearly equal or
    contain one another. A large share says that the validation loss is partly recall.
    """
    held = [line for line in _lines(split.validation) if len(line) >= LONG_LINE]
    if not held:
        return 0.0
    seen = set(held).intersection(_lines(split.training))
    return sum(len(line) for line in held if line in seen) / sum(map(len, held))


def _lines(part: Corpus) -> Iterator[str]:
    return (match[0].strip() for text, _ in part.documents for match in LINE.finditer(text))


def _of_each(counts: Mapping[str, int]) -> str:
    """Name the texts that a tail split cuts."""
    if counts["different"] == 1:
        return "the text"
    if counts["validation"] == counts["different"]:
        return f"each of {counts['different']} documents"
    return f"{counts['validation']} of {counts['different']} documents (others are too short)"


def _copies(documents: Sequence[Document]) -> list[list[int]]:
    """Return the numbers of the documents of each different text, in order."""
    groups: dict[bytes, list[int]] = {}
    for number, document in enumerate(documents):
        groups.setdefault(_key(document.text), []).append(number)
    return list(groups.values())


def _by_hash(
    documents: Sequence[Document], copies: list[list[int]], validation: float, development: float
) -> list[list[Document]]:
    """Assign whole documents in the order of their hashes, lowest to validation."""
    # Texts that differ in whitespace alone share the least of their hashes.
    drawn = [min(_share(documents[number].text) for number in group) for group in copies]
    order = sorted(range(len(copies)), key=drawn.__getitem__)
    ordered = sorted(drawn)
    # However the hashes fall, each part gets a document while there are enough.
    least = 1 if development else 0
    held = min(max(bisect_left(ordered, validation), 1), len(copies) - 1 - least)
    chosen = held
    if development:
        chosen = bisect_left(ordered, validation + development)
        chosen = min(max(chosen, held + 1), len(copies) - 1)
    part_of: dict[int, int] = {}
    for place, group in enumerate(order):
        part = 2 if place < held else 1 if place < chosen else 0
        part_of.update(dict.fromkeys(copies[group], part))
    parts: list[list[Document]] = [[], [], []]
    for number, document in enumerate(documents):
        parts[part_of[number]].append(document)
    return parts


def _by_tail(
    documents: Sequence[Document], validation: float, development: float
) -> list[list[Document]]:
    """Cut each document; one whose end would equal a piece of another part is not cut."""
    whole: set[int] = set()
    while True:
        pieces = [
            (text, "", "") if number in whole else _cut(text, validation, development)
            for number, (text, _) in enumerate(documents)
        ]
        # Only pieces of a few characters are ever equal: of "aa", or of "no" and "yes or no".
        equal = _in_two_parts(pieces)
        if not equal:
            break
        whole |= equal
    return [
        [Document(cut[part], source) for cut, (_, source) in zip(pieces, documents, strict=True)
         if cut[part]]
        for part in range(3)
    ]  # fmt: skip


def _cut(text: str, validation: float, development: float) -> tuple[str, str, str]:
    """Cut off the last characters for validation, and those before them for development."""
    size, least = len(text), 2 if development else 1
    if size < 2:
        return text, "", ""
    end = min(max(int(size * (1 - validation)), least), size - 1)
    begin = end
    if development:
        begin = max(min(int(size * (1 - validation - development)), end - 1), 1)
    return text[:begin], text[begin:end], text[end:]


def _in_two_parts(pieces: Sequence[tuple[str, ...]]) -> set[int]:
    """Return which documents have a held-out piece that is equal to one of another part."""
    parts_of: dict[bytes, set[int]] = {}
    keys = [[_key(piece) if piece else None for piece in cut] for cut in pieces]
    for cut in keys:
        for part, key in enumerate(cut):
            if key is not None:
                parts_of.setdefault(key, set()).add(part)
    return {
        number
        for number, cut in enumerate(keys)
        if any(key is not None and len(parts_of[key]) > 1 for key in cut[1:])
    }


def _key(text: str) -> bytes:
    """Return the same key for the same words in the same order."""
    digest = hashlib.blake2b(digest_size=16)
    # Some at a time, because a list of all words would take several times the text's memory.
    for match in SOME_LINES.finditer(text):
        if words := " ".join(match[0].split()):
            digest.update(f"{words} ".encode())
    return digest.digest()


def _share(text: str) -> float:
    """Return a number in [0, 1) that is this text's on every machine and in every process."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def _note_of_copies(facts: Mapping[str, Any]) -> tuple[str, ...]:
    counts = facts["documents"]
    copies = counts["all"] - counts["different"]
    if not copies:
        return ()
    which = f"{copies:,} of {counts['all']:,} documents repeat the text of another"
    done = "were dropped" if facts["rule"] == "tail" else "are in the same part as that one"
    return (f"{which} and {done}",)


def _note_of_repeated_lines(split: Split) -> tuple[str, ...]:
    share = repeated_lines(split)
    if share < REPEATED_LINES_WORTH_A_NOTE:
        return ()
    return (
        f"{share:.0%} of the long lines of the validation text are in the training text too: its "
        "loss is partly that of text learnt by heart",
    )


def _too_little(corpus: Corpus, different: int, parts: int) -> str:
    documents = len(corpus.documents)
    number = {2: "two", 3: "three"}[parts]
    if documents > 1 and different == 1:
        what = f"all {documents:,} documents are the same text"
    else:
        what = f"{different:,} different document{'s' if different > 1 else ''}"
    return (
        f"{corpus.name} cannot be split in {number} ({what}, {corpus.characters:,} characters in "
        "all): give more text"
    )
