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
- Documents that the user has assigned to validation or development (`Document.part`) stay there.
  A document of the remaining text that equals one of them is dropped, with a note.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

from annotated_types import Interval

from wordorder.errors import BadInput
from wordorder.patience import notify_if_slow
from wordorder.settings import checked
from wordorder.text.corpus import Corpus, Document
from wordorder.text.split_notes import PARTS, note_of_copies, notes_of

# Recorded with every run: increase it when the same corpus and fractions give other parts.
VERSION = 2

# With fewer documents a hash is too coarse: one document more or less moves the split by 5%.
FEWEST_DOCUMENTS_TO_HASH = 20

Rule = Literal["hash", "tail", "assigned"]
ValidationFraction = Annotated[float, Interval(gt=0, lt=1)]
DevelopmentFraction = Annotated[float, Interval(ge=0, lt=1)]
SOME_LINES = re.compile(r"[\s\S]{1,65536}[^\n]*")


@dataclass(frozen=True)
class Split:
    """The parts of a corpus.

    Args:
        training: text for fitting models and tokenizers.
        development: text for choosing; None if its fraction is 0.
        validation: text for the reported loss.
        facts: how the corpus was split, for JSON: `version`, `rule`, both fractions, and
            `documents` (number in all, of different ones, and in each part); with `assigned`, the
            parts that the user has chosen, also `dropped`, the number of documents left out
            because they equal one of these.
        cut_notes: remarks on how a part that the user has not chosen was cut from the remaining
            text. Not in `facts`, by which the splits of earlier versions are compared.
    """

    training: Corpus
    development: Corpus | None
    validation: Corpus
    facts: dict[str, Any]
    cut_notes: tuple[str, ...] = ()

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Remarks on copies and repeated lines, one sentence each."""
        return self.cut_notes + notes_of(self.facts, self.training, self.validation)


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
    if any(document.part for document in corpus.documents):
        return _split_around(corpus, validation_fraction, development_fraction)
    copies = _copies(corpus.documents)
    if rule == "auto":
        whole = corpus.is_chat or len(copies) >= FEWEST_DOCUMENTS_TO_HASH
        rule = "hash" if whole else "tail"
    if rule == "hash":
        parts = _by_hash(corpus.documents, copies, validation_fraction, development_fraction)
    else:
        once = [corpus.documents[group[0]] for group in copies]
        parts = cut_documents(once, validation_fraction, development_fraction)
    if not (parts[0] and parts[2] and (parts[1] or not development_fraction)):
        raise too_little(corpus, len(copies), 3 if development_fraction else 2)
    fractions = validation_fraction, development_fraction
    facts = split_facts(rule, fractions, len(corpus.documents), len(copies), counts_of(parts))
    return _split_of(corpus, parts, facts)


def _split_around(corpus: Corpus, validation: float, development: float) -> Split:
    """Split a corpus of which the user has assigned some documents to a part.

    A part that the user has not chosen is taken from the remaining text by its fraction.
    """
    assigned = {name: [d for d in corpus.documents if d.part == name] for name in PARTS}
    held_out = {document_key(d.text) for d in assigned["validation"]}
    chosen = [d for d in assigned["development"] if document_key(d.text) not in held_out]
    held_out |= {document_key(d.text) for d in chosen}
    rest = [d for d in corpus.documents if not d.part]
    training = [d for d in rest if document_key(d.text) not in held_out]
    if not training:
        raise BadInput(
            f"every document of {corpus.name} equals one of the held-out text, so there is no text "
            "to train on: give other --data",
            code="text.only-held-out",
        )
    dropped = len(rest) - len(training) + len(assigned["development"]) - len(chosen)
    fractions = {
        name: 0.0 if assigned[name] else fraction
        for name, fraction in (("validation", validation), ("development", development))
    }
    parts = [training, chosen, assigned["validation"]]
    cut_notes: tuple[str, ...] = ()
    for place, name in enumerate(PARTS):
        if fractions.get(name):
            cut = split_corpus(replace(corpus, documents=training), fractions[name])
            training = parts[0] = list(cut.training.documents)
            parts[place] = list(cut.validation.documents)
            cut_notes = note_of_copies(cut.facts)
    different = len(_copies(corpus.documents))
    shares = fractions["validation"], fractions["development"]
    facts = split_facts("assigned", shares, len(corpus.documents), different, counts_of(parts))
    chosen_by_user = [name for name in PARTS if assigned[name]]
    facts |= {"assigned": chosen_by_user, "dropped": dropped}
    return replace(_split_of(corpus, parts, facts), cut_notes=cut_notes)


def counts_of(parts: Sequence[Sequence[Document]]) -> dict[str, int]:
    """Return the number of documents in each part."""
    return {name: len(part) for name, part in zip(PARTS, parts, strict=True)}


def _split_of(corpus: Corpus, parts: Sequence[Sequence[Document]], facts: dict[str, Any]) -> Split:
    training, development, validation = (
        replace(corpus, name=f"{corpus.name} ({name})", documents=tuple(part))
        for name, part in zip(PARTS, parts, strict=True)
    )
    return Split(training, development if development.documents else None, validation, facts)


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
            f"--validation-fraction {validation:g} and --development-fraction {development:g} "
            "leave no text to train on: their sum must be below 1",
            code="text.no-training-part",
        )


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
        [
            document._replace(text=cut[part])
            for cut, document in zip(pieces, documents, strict=True)
            if cut[part]
        ]
        for part in range(3)
    ]


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
