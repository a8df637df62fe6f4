"""`wordorder positions --choose`: asks what an embedding is for, and prints the one to choose."""

from __future__ import annotations

import json
import sys

from rich.text import Text

from wordorder.cli.choice_rules import (
    QUESTIONS,
    Choice,
    ChoiceQuestion,
    check_all_answered,
    choose,
    read_answers,
)
from wordorder.cli.printed import screen


def choose_position(answers: str | None, *, as_json: bool) -> int:
    """Ask the questions that have no answer yet, print the choice, and return the exit code.

    Args:
        answers: as `--answers` takes them.

    Raises:
        BadInput: an answer is missing, and standard input is not a terminal.
    """
    known = read_answers(answers or "")
    if sys.stdin is None or not sys.stdin.isatty():
        check_all_answered(known)
    try:
        for name in [name for name in QUESTIONS if name not in known]:
            known[name] = _ask(QUESTIONS[name])
    except EOFError:
        check_all_answered(known)
    choice = choose(known)
    if as_json:
        print(json.dumps(choice.to_dict()))
    else:
        _show(choice)
    return 0


def _ask(question: ChoiceQuestion) -> str:
    """Ask a question on standard error until there is a valid answer, and return it.

    Raises:
        EOFError: standard input ends.
    """
    answers = list(question.answers)
    print(f"\n{question.text}", file=sys.stderr)
    for number, (name, meaning) in enumerate(question.answers.items(), start=1):
        print(f"  {number}  {meaning}" + f" ({name})" * (name != meaning), file=sys.stderr)
    while True:
        print("Number, or Enter for 1: ", end="", file=sys.stderr, flush=True)
        text = input().strip().lower() or "1"
        if text in answers:
            return text
        if text.isdecimal() and 1 <= int(text) <= len(answers):
            return answers[int(text) - 1]
        print(f"Give a number from 1 to {len(answers)}.", file=sys.stderr)


def _show(choice: Choice) -> None:
    console = screen()
    answers = ", ".join(f"{name}={answer}" for name, answer in choice.answers.items())
    console.print(Text.assemble((choice.position, "bold"), f"  for {answers}"), soft_wrap=True)
    console.print(Text("\nWhy", style="bold"))
    for reason in choice.reasons:
        console.print(Text(f"- {reason.text}: {reason.source}"), soft_wrap=True)
    if choice.notes:
        console.print(Text("\nNote", style="bold"))
    for note in choice.notes:
        console.print(Text(f"- {note}"), soft_wrap=True)
    console.print(Text("\nType", style="bold"))
    for command in choice.commands:
        console.print(Text(f"  {command}"), soft_wrap=True)
