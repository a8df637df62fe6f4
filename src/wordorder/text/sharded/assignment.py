"""Assigns documents on disk to parts, exactly as `split_corpus` does in memory.

Copies of a document must be in one part, so documents are grouped by a 16-byte key. Grouping takes
several passes, each over the keys with one remainder, which bounds the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordorder.atomic import replacing
from wordorder.text.corpus import Corpus, Document
from wordorder.text.sharded.spool import Chunk, SpooledDocuments, write_chunk
from wordorder.text.split import (
    FEWEST_DOCUMENTS_TO_HASH,
    Rule,
    cut_documents,
    document_key,
    document_share,
    held_out_counts,
    split_facts,
    too_little,
)
from wordorder.text.split_notes import PARTS

DOCUMENTS_AT_ONCE = 2_000_000  # of 40 bytes each


class Assignment(NamedTuple):
    """The documents of a text, each with its part.

    Args:
        chunks: those of the text; if its documents were cut, new ones.
        facts: how the text was split; see `Split.facts`.
    """

    chunks: tuple[Chunk, ...]
    facts: dict[str, Any]


def write_keys(chunk: Chunk) -> None:
    """Write the key of each document of a chunk, and its share, which decides its part."""
    rows = [
        (*np.frombuffer(document_key(document.text), "<u8"), document_share(document.text))
        for document in chunk
    ]
    array = np.array(rows, [("high", "<u8"), ("low", "<u8"), ("share", "<f8")])
    save(chunk.keys, array)


def assign(
    corpus: Corpus, chunks: Sequence[Chunk], fractions: tuple[float, float], folder: Path
) -> Assignment:
    """Assign every document to a part, and write the parts of each chunk.

    Args:
        corpus: the documents of the chunks.
        fractions: of validation and development.
        folder: for files that are needed in between.

    Raises:
        BadInput: there is too little text for all parts.
    """
    total = sum(chunk.documents for chunk in chunks)
    drawn = np.memmap(folder / "drawn", "<f8", "w+", shape=(total,))
    different, firsts, ordered = _group(chunks, drawn)
    few = different < FEWEST_DOCUMENTS_TO_HASH and not corpus.is_chat
    rule: Rule = "tail" if few else "hash"
    if rule == "tail":
        chunks = _cut([corpus.documents[n] for n in sorted(firsts)], fractions, folder)
    else:
        first, second = _thresholds(ordered, *fractions)
        for chunk in chunks:
            share = drawn[chunk.first : chunk.first + chunk.documents]
            parts = np.where(share < first, 2, np.where(share < second, 1, 0))
            save(chunk.parts, parts.astype(np.uint8))
    counts = np.zeros(len(PARTS), np.int64)
    for chunk in chunks:
        counts += np.bincount(np.load(chunk.parts), minlength=len(PARTS))
    needed = [0, 1, 2] if fractions[1] else [0, 2]
    if not all(counts[part] for part in needed):
        raise too_little(corpus, different, len(needed))
    named = {name: int(count) for name, count in zip(PARTS, counts, strict=True)}
    return Assignment(tuple(chunks), split_facts(rule, fractions, total, different, named))


def _group(
    chunks: Sequence[Chunk], drawn: NDArray[np.float64]
) -> tuple[int, list[int], NDArray[np.float64] | None]:
    """Give all copies of a document the smallest share among them.

    Args:
        drawn: receives the share of each document, (documents,).

    Returns:
        The number of distinct documents, the first documents of some groups, and the groups' shares
        in ascending order; None instead of these if they took several passes.
    """
    passes = max(1, -(-len(drawn) // DOCUMENTS_AT_ONCE))
    different, firsts = 0, []
    for remainder in range(passes):
        pieces, places = [], []
        for chunk in chunks:
            keys = np.load(chunk.keys)
            chosen = np.flatnonzero(keys["high"] % np.uint64(passes) == remainder)
            pieces.append(keys[chosen])
            places.append(chosen + chunk.first)
        keys, place = np.concatenate(pieces), np.concatenate(places)
        order = np.lexsort((place, keys["low"], keys["high"]))
        keys, place = keys[order], place[order]
        same = (keys["high"][1:] == keys["high"][:-1]) & (keys["low"][1:] == keys["low"][:-1])
        begins = np.flatnonzero(np.concatenate([[True], ~same])) if len(keys) else np.empty(0, int)
        if not len(begins):
            continue
        least = np.minimum.reduceat(keys["share"], begins)
        drawn[place] = np.repeat(least, np.diff(begins, append=len(keys)))
        different += len(begins)
        firsts += place[begins[:FEWEST_DOCUMENTS_TO_HASH]].tolist()
    return different, firsts, np.sort(least) if passes == 1 else None


def _thresholds(
    ordered: NDArray[np.float64] | None, validation: float, development: float
) -> tuple[float, float]:
    """Return two thresholds: shares below the first are validation, below the second held out."""
    if ordered is None:  # so many documents that no part is empty
        return validation, validation + development
    held, chosen = held_out_counts(ordered.tolist(), validation, development)
    return float(ordered[held]), float(ordered[chosen])


def _cut(
    documents: Sequence[Document], fractions: tuple[float, float], folder: Path
) -> list[Chunk]:
    """Cut each of a few documents, and write the pieces as chunks: one of each part."""
    chunks, first = [], 0
    for number, pieces in enumerate(cut_documents(documents, *fractions)):
        chunk = Chunk(folder / f"cut-{number:05}.jsonl", first, len(pieces))
        write_chunk(chunk.path, pieces)
        save(chunk.parts, np.full(len(pieces), number, np.uint8))
        chunks.append(chunk)
        first += len(pieces)
    return chunks


def part_of(corpus: Corpus, chunks: Sequence[Chunk], part: str) -> Corpus:
    """Return a part of a text as a corpus that is read from disk."""
    documents = SpooledDocuments(chunks, PARTS.index(part))
    return Corpus(f"{corpus.name} ({part})", documents)


def save(path: Path, array: NDArray[Any]) -> None:
    """Write an array into a .npy file, atomically."""
    with replacing(path) as beside:
        np.save(beside, array)
