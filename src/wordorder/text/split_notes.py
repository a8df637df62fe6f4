"""Describes in words how a corpus was split, and what about the split needs a note."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from wordorder.numerals import counted
from wordorder.text.corpus import Corpus

PARTS = ("training", "development", "validation")
LINE = re.compile(r"[^\n]+")
MOST_LINES = 200_000  # looked at
LONG_LINE = 40  # characters: shorter ones repeat by chance
# A smaller share of repeated lines is normal: phrases such as those of licences.
REPEATED_LINES_WORTH_A_NOTE = 0.1


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
    elif facts["rule"] == "assigned":
        descriptions = {
            name: f"{counted(counts[name], 'document')} of --{name}-data"
            if name in facts["assigned"]
            else f"{percent[name]} of the other text"
            for name in PARTS[1:]
        }
    else:
        descriptions = {
            "development": f"the {percent['development']} before that",
            "validation": f"the last {percent['validation']} of {_cut_documents(counts)}",
        }
    if not counts["development"]:
        descriptions["development"] = "none: nothing is chosen"
    return descriptions


def notes_of(facts: Mapping[str, Any], training: Corpus, validation: Corpus) -> tuple[str, ...]:
    """Return remarks on copies and repeated lines, one sentence each.

    Args:
        facts: `Split.facts`.
    """
    return (
        note_of_copies(facts)
        + _note_of_dropped(facts)
        + _note_of_repeated_lines(training, validation)
    )


def repeated_lines(training: Corpus, validation: Corpus) -> float:
    """Return the share of the validation text's long lines that are also in the training text.

    Only the first lines of a long validation text are checked.

    The split keeps equal documents together, but does not detect documents that are nearly equal or
    contain one another. With a large share the validation loss partly measures memorisation.
    """
    long = (line for line in _lines(validation) if len(line) >= LONG_LINE)
    lines = list(islice(long, MOST_LINES))
    if not lines:
        return 0.0
    repeated = set(lines).intersection(_lines(training))
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


def note_of_copies(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a remark on equal documents, if there are any."""
    counts = facts["documents"]
    copies = counts["all"] - counts["different"]
    if not copies or facts["rule"] == "assigned":
        return ()
    verb, (was, are) = ("repeats", ("was", "is")) if copies == 1 else ("repeat", ("were", "are"))
    treatment = (
        f"{was} dropped" if facts["rule"] == "tail" else f"{are} in the same part as that one"
    )
    subject = f"{copies:,} of {counts['all']:,} documents {verb} the text of another"
    return (f"{subject} and {treatment}",)


def _note_of_dropped(facts: Mapping[str, Any]) -> tuple[str, ...]:
    dropped = facts.get("dropped", 0)
    if not dropped:
        return ()
    documents = f"{counted(dropped, 'document')} {'was' if dropped == 1 else 'were'}"
    return (f"{documents} dropped, because a held-out document has the same text",)


def _note_of_repeated_lines(training: Corpus, validation: Corpus) -> tuple[str, ...]:
    share = repeated_lines(training, validation)
    if share < REPEATED_LINES_WORTH_A_NOTE:
        return ()
    return (
        f"{share:.0%} of the long lines of the validation text are also in the training text: its "
        "loss partly measures memorisation",
    )
