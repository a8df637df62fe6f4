"""What `wordorder words` found, as a terminal shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wordorder.numerals import counted as number_of
from wordorder.words.vectors import METHODS


def show(console: Console, source: str, found: dict[str, Any]) -> None:
    """Print everything found, a section for each thing asked."""
    if "sentence" in found:
        _show_sentences(console, found)
        return
    size = f"{number_of(found['words'], 'word')} of {found['dimensions']} numbers"
    console.print(Text.assemble((source, "bold"), f": {size}"))
    if "first" in found:
        console.print(Text(f"the first: {' '.join(found['first'])}"))
    for word, near in found.get("neighbours", {}).items():
        console.print(Text(f"\nnear {word}", style="bold"))
        console.print(_ranked([near], ["cosine"]))
        if "ranks" in found:
            rank = f"{found['ranks'][word]:,} of {found['words'] - 1:,}"
            console.print(Text(f"{found['expected']} is number {rank}"))
    if "analogy" in found:
        _show_analogy(console, found["analogy"], found["words"])
    if "questions" in found:
        _show_questions(console, found["questions"])
    for path in [*filter(None, [found.get("picture")]), *found.get("export", [])]:
        console.print(Text(path))


def _ranked(lists: Sequence[Sequence[dict[str, Any]]], titles: Sequence[str]) -> Table:
    """Lists of words and scores side by side."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", justify="right", style="dim")
    for title in titles:
        table.add_column("")
        table.add_column(title, justify="right")
    for number, row in enumerate(zip(*lists, strict=True), 1):
        cells = (cell for each in row for cell in (Text(each["word"]), f"{each['score']:z.4f}"))
        table.add_row(str(number), *cells)
    return table


def _show_analogy(console: Console, found: dict[str, Any], words: int) -> None:
    a, b, c = found["words"]
    console.print(Text(f"\n{a} - {b} + {c}", style="bold"))
    console.print(_ranked([found[method] for method in METHODS], list(METHODS.values())))
    if "ranks" not in found:
        return
    ranks, expected = found["ranks"], found["expected"]
    counted = {
        where: " and ".join(
            f"{each[where]:,} by {METHODS[method]}" for method, each in ranks.items()
        )
        for where in ("left_out", "included")
        if ranks["add"][where] is not None
    }
    if "left_out" in counted:
        console.print(Text(f"{expected} is number {counted['left_out']}, of {words - 3:,} words"))
    console.print(Text(f"with {a}, {b} and {c} as answers too: {counted['included']}"))
    first = "left_out" if "left_out" in counted else "included"
    if found["of_a_run"] and any(each[first] > 1 for each in ranks.values()):
        console.print(
            Text(
                f"\n{expected} does not come first. A language model's own table seldom answers "
                "such questions while it is small: it learned which token comes next, from little "
                "text. Vectors of a larger text may: wordorder words train --data FILE --out FILE"
            )
        )


def _show_questions(console: Console, found: dict[str, Any]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for title in ("asked", "absent", *METHODS.values()):
        table.add_column(title, justify="right")
    parts = [[*found[method]["sections"], found[method]["total"]] for method in METHODS]
    for scores in zip(*parts, strict=True):
        first = scores[0]
        shares = (f"{s['right'] / s['asked']:.1%}" if s["asked"] else "-" for s in scores)
        numbers = f"{first['asked']:,}", f"{first['absent']:,}"
        last = first is found["add"]["total"]
        table.add_row(Text(first["section"]), *numbers, *shares, style="bold" if last else "")
    console.print()
    console.print(table)
    console.print(
        Text(
            f"of the first {number_of(found['vocabulary'], 'word')}; absent: questions with a "
            "word that is not among them, which count neither way"
        )
    )


def _show_sentences(console: Console, found: dict[str, Any]) -> None:
    kinds = found["kinds"]
    console.print(Text(f"{found['sentence']!r} and {found['other']!r}", style="bold"))
    if found["reversed"] == "tokens":
        console.print(Text("no spaces tell its words: the other order is that of its tokens"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for title in ("cosine", "distance"):
        table.add_column(title, justify="right")
    table.add_column("")
    for kind, apart in found["apart"].items():
        same = "the same" if apart["same"] else "not the same"
        numbers = f"{apart['cosine']:z.5f}", f"{apart['distance']:.5f}"
        table.add_row(kinds[kind], *numbers, same)
    console.print(table)
    for kind, near in found["nearest"].items():
        console.print(Text(f"\nnearest to the first, by {kinds[kind]}", style="bold"))
        for each in near:
            console.print(Text(f"{each['score']:z.4f}  {each['word']}"))
