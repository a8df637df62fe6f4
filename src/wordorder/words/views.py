"""Prints the answers of `wordorder words` in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wordorder.control_characters import escaped
from wordorder.numerals import counted
from wordorder.words.vectors import METHODS


def show(console: Console, source: str, answers: dict[str, Any]) -> None:
    """Print the answers, a section for each question."""
    if "sentence" in answers:
        _show_sentences(console, answers)
        return
    size = f"{counted(answers['words'], 'word')} of {answers['dimensions']} numbers"
    console.print(Text.assemble((source, "bold"), f": {size}"))
    if "first" in answers:
        console.print(Text(f"first words: {escaped(' '.join(answers['first']))}"))
    for word, near in answers.get("neighbours", {}).items():
        console.print(Text(f"\nnearest to {word}", style="bold"))
        console.print(_ranked([near], ["cosine"]))
        if "ranks" in answers:
            rank = f"{answers['ranks'][word]:,} of {answers['words'] - 1:,} words"
            console.print(Text(f"rank of {answers['expected']}: {rank}"))
    if "analogy" in answers:
        _show_analogy(console, answers["analogy"], answers["words"])
    if "questions" in answers:
        _show_questions(console, answers["questions"])
    for path in [*filter(None, [answers.get("picture")]), *answers.get("export", [])]:
        console.print(Text(path))


def _ranked(lists: Sequence[Sequence[dict[str, Any]]], titles: Sequence[str]) -> Table:
    """Return a table of lists of words and scores, side by side."""
    table = _table(*chain.from_iterable(("", title) for title in titles), numbered=True)
    for number, row in enumerate(zip(*lists, strict=True), 1):
        cells = (
            cell for near in row for cell in (Text(escaped(near["word"])), f"{near['score']:z.4f}")
        )
        table.add_row(str(number), *cells)
    return table


def _table(*titles: str, numbered: bool = False) -> Table:
    """Return an empty table; columns with a title hold numbers and are aligned right."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    if numbered:
        table.add_column(justify="right", style="dim")
    for title in titles:
        table.add_column(title, justify="right" if title else "left")
    return table


def _show_analogy(console: Console, answers: dict[str, Any], words: int) -> None:
    a, b, c = answers["words"]
    console.print(Text(f"\n{a} - {b} + {c}", style="bold"))
    console.print(_ranked([answers[method] for method in METHODS], list(METHODS.values())))
    if "ranks" not in answers:
        return
    ranks, expected = answers["ranks"], answers["expected"]
    by_inputs = {
        inputs: ", ".join(f"{rank[inputs]:,} by {METHODS[m]}" for m, rank in ranks.items())
        for inputs in ("left_out", "included")
        if ranks["add"][inputs] is not None
    }
    if "left_out" in by_inputs:
        console.print(
            Text(
                f"rank of {expected}: {by_inputs['left_out']}, of {words - len({a, b, c}):,} words"
            )
        )
    console.print(Text(f"rank with {a}, {b} and {c} as possible answers: {by_inputs['included']}"))
    first = next(iter(by_inputs))
    if answers["of_a_run"] and any(rank[first] > 1 for rank in ranks.values()):
        console.print(
            Text(
                f"\n{expected} is not the first answer. The token embeddings of a small language "
                "model seldom solve analogies: they are trained to predict the next token, on "
                "little text. Vectors trained on more text may: wordorder words train --data FILE "
                "--out FILE"
            )
        )


def _show_questions(console: Console, answers: dict[str, Any]) -> None:
    table = _table("", "asked", "absent", *METHODS.values())
    parts = [[*answers[method]["sections"], answers[method]["total"]] for method in METHODS]
    for scores in zip(*parts, strict=True):
        first = scores[0]
        shares = (f"{s['right'] / s['asked']:.1%}" if s["asked"] else "-" for s in scores)
        numbers = f"{first['asked']:,}", f"{first['absent']:,}"
        last = first is answers["add"]["total"]
        table.add_row(Text(first["section"]), *numbers, *shares, style="bold" if last else "")
    console.print()
    console.print(table)
    console.print(
        Text(
            f"among the first {counted(answers['vocabulary'], 'word')}; absent: questions with a "
            "word that is not among them, which are not counted"
        )
    )


def _show_sentences(console: Console, answers: dict[str, Any]) -> None:
    kinds = answers["kinds"]
    console.print(Text(f"{answers['sentence']!r} and {answers['other']!r}", style="bold"))
    if answers["reversed"] == "tokens":
        console.print(Text("the sentence has no spaces: the other order reverses its tokens"))
    table = _table("", "cosine", "distance", "")
    for kind, apart in answers["apart"].items():
        same = "the same" if apart["same"] else "not the same"
        numbers = f"{apart['cosine']:z.5f}", f"{apart['distance']:.5f}"
        table.add_row(kinds[kind], *numbers, same)
    console.print(table)
    for kind, near in answers["nearest"].items():
        console.print(Text(f"\nnearest to the first sentence, by {kinds[kind]}", style="bold"))
        for sentence in near:
            console.print(Text(f"{sentence['score']:z.4f}  {escaped(sentence['word'])}"))
