"""Splits a corpus into training, development and validation parts.

Weights and tokenizer merges are fitted on the training part. The development part chooses (weights
to keep, learning rates, sizes, methods). The validation part decides nothing, so its loss is
unbiased.

Equal documents are never in two parts. Two documents are equal if they have the same words in the
same order: a newline at the end or different line wrapping makes no difference.

- With 20 different documents or more, whole documents are assigned by a hash of their text, so a
  new document moves no other. Copies stay, all in one part, because frequency is part of the data.
  Conversations are always assigned whole.
- With fewer, each document is cut and its last characters are held out: three files in three
  languages are all trained on and all validated. A single file is split exactly as in nanoGPT.
  Copies are dropped: among so few documents they are files given twice, or one file copied until
  it was long enough. A note says how many were dropped, so that epochs are counted correctly.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Annotated, Any, Literal

from annotated_types import Interval

from wordorder.errors import BadInput
from wordorder.patience import notify_if_slow
from wordorder.settings import checked
from wordorder.text.corpus import Corpus, Document

# Recorded with every run: increase it when the same corpus and fractions give other parts.
VERSION = 2

# With fewer documents a hash is too coarse: one document more or less moves the split by 5%.
FEWEST_DOCUMENTS_TO_HASH = 20

Rule = Literal["hash", "tail"]
ValidationFraction = Annotated[float, Interval(gt=0, lt=1)]
DevelopmentFraction = Annotated[float, Interval(ge=0, lt=1)]
PARTS = ("training", "development", "validation")
LINE = re.compile(r"[^\n]+")
SOME_LINES = re.compile(r"[\s\S]{1,65536}[^\n]*")
MOST_LINES = 200_000  # looked at
LONG_LINE = 40  # characters: shorter ones repeat by chance
# A smaller share of repeated lines is normal: phrases such as those of licences.
REPEATED_LINES_WORTH_A_NOTE = 0.1


@dataclass(frozen=True)
class Split:
    """The parts of a corpus.

    Args:
        training: text for fitting models and tokenizers.
        development: text for choosing; None if its fraction is 0.
        validation: text for the reported loss.
        facts: how the corpus was split, for JSON: `version`, `rule`, both fractions, and
            `documents` (number in all, of different ones, and in each part).
    """

    training: Corpus
    development: Corpus | None
    validation: Corpus
    facts: dict[str, Any]

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Remarks on copies and repeated lines, one sentence each."""
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
        validation_fraction: share of the validation part, between 0 and 1.
        development_fraction: share of the development part, taken from the training part; 0: none.
        rule: `hash` assigns whole documents, `tail` cuts each; `auto` uses `hash` for 20 different
            documents or more, and for conversations.

    Raises:
        BadInput: the fractions leave no training text, or there is too little text for all parts.
    """
    check_fractions(validation_fraction, development_fraction)
    fractions = validation_fraction, development_fraction
    copies = _copies(corpus.documents)
    if rule == "auto":
        whole = corpus.is_chat or len(copies) >= FEWEST_DOCUMENTS_TO_HASH
        rule = "hash" if whole else "tail"
    if rule == "hash":
        parts = _by_hash(corpus.documents, copies, *fractions)
    else:
        parts = cut_documents([corpus.documents[group[0]] for group in copies], *fractions)
    named = dict(zip(PARTS, parts, strict=True))
    if any(not part for name, part in named.items() if development_fraction or name != PARTS[1]):
        raise too_little(corpus, len(copies), 3 if development_fraction else 2)
    counts = {name: len(part) for name, part in named.items()}
    facts = split_facts(rule, fractions, len(corpus.documents), len(copies), counts)
    training, development, validation = (
        replace(corpus, name=f"{corpus.name} ({name})", documents=tuple(part))
        for name, part in named.items()
    )
    return Split(training, development if development_fraction else None, validation, facts)


def split_facts(
    rule: Rule,
    fractions: tuple[float, float],
    documents: int,
    different: int,
    counts: Mapping[str, int],
) -> dict[str, Any]:
    """Return `Split.facts`.

    Args:
        fractions: of validation and development.
        counts: number of documents in each part.
    """
    validation, development = fractions
    return {
        "version": VERSION,
        "rule": rule,
        "validation_fraction": validation,
        "development_fraction": development,
        "documents": {"all": documents, "different": different, **counts},
    }


def check_fractions(validation: float, development: float) -> None:
    """Validate the fractions of a split.

    Raises:
        BadInput: a fraction is out of range, or both leave no text to train on.
    """
    checked("validation_fraction", ValidationFraction, validation)
    checked("development_fraction", DevelopmentFraction, development)
    if not validation + development < 1:
        raise BadInput(
            f"validation fraction {validation:g} and development fraction {development:g} leave "
            "no text to train on: their sum must be below 1",
            code="text.no-training-part",
        )


def described(facts: Mapping[str, Any]) -> dict[str, str]:
    """Describe the held-out parts in words.

    Args:
        facts: `Split.facts`, possibly from the record of a run.

    Returns:
        Descriptions of `development` and `validation`.
    """
    counts = facts["documents"]
    shares = {name: facts[f"{name}_fraction"] for name in PARTS[1:]}
    # Texts of a mixture that were prepared before may have different fractions.
    percent = {n: "a share" if s is None else f"{100 * s:g}%" for n, s in shares.items()}
    if facts["rule"] == "parts":
        descriptions = {n: f"{percent[n]} of each part of the mixture" for n in PARTS[1:]}
    elif facts["rule"] == "hash":
        total = f"of {counts['all']:,} documents, chosen by a hash of their text"
        descriptions = {name: f"{counts[name]:,} {total}" for name in PARTS[1:]}
    else:
        descriptions = {
            "development": f"the {percent['development']} before that",
            "validation": f"the last {percent['validation']} of {_cut_documents(counts)}",
        }
    if not counts["development"]:
        descriptions["development"] = "none: nothing is chosen"
    return descriptions


def repeated_lines(split: Split) -> float:
    """Return the share of the validation text's long lines that are also in the training text.

    Of a long validation text the first lines are looked at.

    The split keeps equal documents together, but does not detect documents that are nearly equal or
    contain one another. With a large share the validation loss partly measures memorisation.
    """
    long = (line for line in _lines(split.validation) if len(line) >= LONG_LINE)
    lines = list(islice(long, MOST_LINES))
    if not lines:
        return 0.0
    repeated = set(lines).intersection(_lines(split.training))
    return sum(len(line) for line in lines if line in repeated) / sum(map(len, lines))


def _lines(part: Corpus) -> Iterator[str]:
    return (
        match[0].strip() for document in part.documents for match in LINE.finditer(document.text)
    )


def _cut_documents(counts: Mapping[str, int]) -> str:
    """Name the documents that a tail split cuts."""
    if counts["different"] == 1:
        return "the text"
    if counts["validation"] == counts["different"]:
        return f"each of {counts['different']} documents"
    return f"{counts['validation']} of {counts['different']} documents (others are too short)"


def _copies(documents: Sequence[Document]) -> list[list[int]]:
    """Return, for each different document, the indices of its copies, in order."""
    groups: dict[bytes, list[int]] = {}
    for number, document in enumerate(documents):
        groups.setdefault(document_key(document.text), []).append(number)
    return list(groups.values())


def _by_hash(
    documents: Sequence[Document], copies: list[list[int]], validation: float, development: float
) -> list[list[Document]]:
    """Assign whole documents in the order of their hashes, lowest to validation."""
    # Copies may differ in whitespace, and so in hash: the least hash of a group decides.
    drawn = [min(document_share(documents[number].text) for number in group) for group in copies]
    order = sorted(range(len(copies)), key=drawn.__getitem__)
    held, chosen = held_out_counts(sorted(drawn), validation, development)
    part_of: dict[int, int] = {}
    for place, group in enumerate(order):
        part = 2 if place < held else 1 if place < chosen else 0
        part_of.update(dict.fromkeys(copies[group], part))
    parts: list[list[Document]] = [[], [], []]
    for number, document in enumerate(documents):
        parts[part_of[number]].append(document)
    return parts


def held_out_counts(
    ordered: Sequence[float], validation: float, development: float
) -> tuple[int, int]:
    """Return how many documents are for validation, and how many are held out in all.

    Args:
        ordered: the shares of the different documents, in ascending order.
    """
    # Each part gets at least one document, whatever the hashes.
    least = 1 if development else 0
    held = min(max(bisect_left(ordered, validation), 1), len(ordered) - 1 - least)
    if not development:
        return held, held
    chosen = bisect_left(ordered, validation + development)
    return held, min(max(chosen, held + 1), len(ordered) - 1)


def cut_documents(
    documents: Sequence[Document], validation: float, development: float
) -> list[list[Document]]:
    """Cut each document, except if its held-out end would equal a piece in another part.

    document    [ training ........ | development | validation ]
    """
    whole: set[int] = set()
    while True:
        pieces = [
            (text, "", "") if number in whole else _cut(text, validation, development)
            for number, (text, *_) in enumerate(documents)
        ]
        # In practice only pieces of a few characters: from "aa", or from "no" and "yes or no".
        equal = _in_two_parts(pieces)
        if not equal:
            break
        whole |= equal
    return [
        [Document(cut[part], source) for cut, (_, source, _) in zip(pieces, documents, strict=True)
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
    """Return the indices of documents with a held-out piece that equals one of another part."""
    parts_of: dict[bytes, set[int]] = {}
    keys = [[document_key(piece) if piece else None for piece in cut] for cut in pieces]
    for cut in keys:
        for part, key in enumerate(cut):
            if key is not None:
                parts_of.setdefault(key, set()).add(part)
    return {
        number
        for number, cut in enumerate(keys)
        if any(key is not None and len(parts_of[key]) > 1 for key in cut[1:])
    }


def document_key(text: str) -> bytes:
    """Return a key that is equal for the same words in the same order."""
    digest = hashlib.blake2b(digest_size=16)
    # A few lines at a time: a list of all words would take several times the text's memory.
    for match in SOME_LINES.finditer(text):
        if words := " ".join(match[0].split()):
            digest.update(f"{words} ".encode())
    return digest.digest()


def document_share(text: str) -> float:
    """Return a hash of the text in [0, 1), the same on every machine and in every process."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def _note_of_copies(facts: Mapping[str, Any]) -> tuple[str, ...]:
    counts = facts["documents"]
    copies = counts["all"] - counts["different"]
    if not copies:
        return ()
    subject = f"{copies:,} of {counts['all']:,} documents repeat the text of another"
    treatment = "were dropped" if facts["rule"] == "tail" else "are in the same part as that one"
    return (f"{subject} and {treatment}",)


def _note_of_repeated_lines(split: Split) -> tuple[str, ...]:
    share = repeated_lines(split)
    if share < REPEATED_LINES_WORTH_A_NOTE:
        return ()
    return (
        f"{share:.0%} of the long lines of the validation text are also in the training text: its "
        "loss partly measures memorisation",
    )


def too_little(corpus: Corpus, different: int, parts: int) -> BadInput:
    """Return the error for a corpus with too little text for all parts."""
    documents = len(corpus.documents)
    number = {2: "two", 3: "three"}[parts]
    if documents > 1 and different == 1:
        contents = f"{documents:,} documents with the same text"
    else:
        contents = f"{different:,} different document{'s' if different > 1 else ''}"
    return BadInput(
        f"{corpus.name} is too short to split in {number}: it has {contents} and "
        f"{corpus.characters:,} characters: give more text",
        code="text.too-short-to-split",
    )
