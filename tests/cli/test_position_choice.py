"""`wordorder positions --choose`: every combination of answers has an answer that is true."""

from __future__ import annotations

import itertools
import json
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wordorder.claims.catalogue import CLAIMS
from wordorder.cli.choice_rules import (
    COMMANDS,
    NOTES,
    OPTIONS,
    QUESTIONS,
    REASONS,
    RULES,
    Choice,
    choose,
    read_answers,
)
from wordorder.cli.main import main, options_module
from wordorder.errors import BadInput
from wordorder.interop.holders import holder_of
from wordorder.model import ModelConfig
from wordorder.positions import CATALOGUE, build, parse
from wordorder.positions.recipes import PREFIX, RECIPES

ROOT = Path(__file__).parents[2]
COMBINATIONS = [
    dict(zip(QUESTIONS, answers, strict=True))
    for answers in itertools.product(*(question.answers for question in QUESTIONS.values()))
]
OWN_CODE = "carries its own modelling file"


def config_of(choice: Choice) -> ModelConfig:
    """Return the model that the commands of a choice train."""
    command = " ".join(choice.commands)
    plain = {"qk_norm": False} if "--no-qk-norm" in command else {}
    causal = choice.answers["reads"] == "causal"
    return ModelConfig(position=choice.position, causal=causal, **plain)


@pytest.mark.parametrize("answers", COMBINATIONS, ids=lambda a: "-".join(a.values()))
def test_every_combination_has_an_embedding_that_exists_and_loads(answers: dict[str, str]) -> None:
    choice = choose(answers)
    assert choice.reasons and choice.commands
    config = config_of(choice)
    build(parse(choice.position), config.shape)
    notes = " ".join(choice.notes)
    if answers["load"] == "no":
        return
    if answers["load"] == "llama.cpp" and answers["reads"] == "causal":
        holder_of(config, "gguf")
        assert choice.commands[-1].endswith("--to gguf")
        return
    assert choice.commands[-1].endswith("--to hf")
    try:
        holder_of(config, "hf")
    except BadInput:
        assert OWN_CODE in notes
    else:
        assert OWN_CODE not in notes


@pytest.fixture(scope="module")
def commands() -> list[list[str]]:
    every = {command for answers in COMBINATIONS for command in choose(answers).commands}
    return [shlex.split(command)[1:] for command in sorted(every)]


def test_every_command_is_one_that_wordorder_takes(
    commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.txt").write_text("words " * 1000)
    for command, *rest in commands:
        import_module(options_module(command)).read_options(rest)


def test_nothing_in_the_tables_is_unused() -> None:
    choices = [choose(answers) for answers in COMBINATIONS]
    assert {note for choice in choices for note in choice.notes} == {note for note, _ in NOTES}
    assert {id(r) for c in choices for r in c.reasons} == {id(r) for r in REASONS.values()}
    positions = {choice.position for choice in choices}
    assert positions == {rule.position for rule in RULES}
    for rows in (COMMANDS, NOTES, OPTIONS):
        for _, when in rows:
            assert any(
                all({**c.answers, "position": c.position}[name] in of for name, of in when.items())
                for c in choices
            ), when


def test_conditions_name_questions_answers_and_embeddings() -> None:
    conditions = [rule.when for rule in RULES]
    conditions += [when for rows in (COMMANDS, NOTES, OPTIONS) for _, when in rows]
    for when in conditions:
        for name, accepted in when.items():
            if name != "position":
                assert set(accepted) <= set(QUESTIONS[name].answers)
                continue
            names = {*CATALOGUE, *(f"{PREFIX}{recipe}" for recipe in RECIPES)}
            assert set(accepted) <= names


def evidence(name: str) -> Any:
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def figures(name: str) -> list[str]:
    """Return the figures of a reason, from its file of evidence or its claim."""
    source = REASONS[name].source
    if source == "evidence/defaults.jsonl":
        lines = map(json.loads, (ROOT / source).read_text().splitlines())
        losses: dict[str, list[float]] = {}
        for line in lines:
            size = ("tiny", 400) if name == "alibi-leads-early" else ("nano", 2000)
            if (line["variant"], line["size"], line["steps"]) == ("default", *size):
                losses.setdefault(line["position"], []).append(line["loss"])
        assert len(losses["rotary"]) == 3
        if name == "alibi-leads-early":
            return [f"{np.mean(losses['rotary']) - np.mean(losses['alibi']):.3f}"]
        gains = {p: np.mean(losses["none"]) - np.mean(each) for p, each in losses.items()}
        return [f"{gains[p]:.3f}" for p in ("rotary", "alibi", "sinusoidal", "learned")]
    if source == "evidence/compare-example.json":
        rows = evidence(source)["positions"]
        if name == "near-rotary":
            return [f"{rows['alibi']['difference']:.3f}"]
        return [f"{rows[p]['same_targets_16x_change']:+.3f}" for p in ("alibi", "rotary")]
    if source == "evidence/ten-million-words/runs.jsonl":
        return of_ten_million_words(name)
    if source == "evidence/tasks-default.json":
        tasks = evidence(source)["tasks"]
        if name == "within-length":
            return [f"{tasks[t]['rotary']['last']['1x']['score']:.2f}" for t in ("copy", "reverse")]
        scores = (tasks["copy"][p]["last"]["2x"]["score"] for p in ("t5", "alibi", "rotary"))
        return [f"{score:.2f}" for score in scores]
    if source == "evidence/claims-literature/claims.json":
        claim = evidence(source)["claims"]["flip-flop-in-two-layers"]
        assert claim["seeds_needed"] == 14
        quantities = [quantity["mean"] for quantity in claim["quantities"].values()]
        rotary, less_half = quantities[:2]
        return [f"{rotary:.3f}", f"{rotary / 2 + less_half:.3f}"]
    if source == "evidence/claims-article.json":
        return ["alibi", "kerple", "fire", "sandwich", "dape", "mirror image"]
    return {"tracks-state": ["0.0001", "40.3%"], "no-sums-past-length": [".11"]}.get(name, [])


def of_ten_million_words(name: str) -> list[str]:
    """Return the differences to rotary with the same seeds, or the changes at 8x."""
    text = (ROOT / "evidence/ten-million-words/runs.jsonl").read_text(encoding="utf-8")
    runs = {(line["position"], line["seed"]): line for line in map(json.loads, text.splitlines())}
    seeds = [seed for position, seed in runs if position == "rotary"]
    number = ["no", "one", "two", "three", "four", "five"][len(seeds)]
    assert f"{number} seeds" in REASONS[name].text

    def change(line: dict[str, Any]) -> float:
        means = {
            at["length"]: np.average(
                at["by_document"]["losses"], weights=at["by_document"]["weights"]
            )
            for at in line["contexts"]
        }
        return float(means[2048] - means[256])

    if name == "ten-million-reach":
        changes = (np.mean([change(runs[p, seed]) for seed in seeds]) for p in ("alibi", "rotary"))
        return [f"{mean:+.3f}" for mean in changes]
    above = (
        np.mean([runs[p, seed]["loss"] - runs["rotary", seed]["loss"] for seed in seeds])
        for p in (("alibi",) if name == "near-rotary-on-books" else ("learned", "none"))
    )
    return [f"{mean:.3f}" for mean in above]


@pytest.mark.parametrize("name", REASONS)
def test_the_figures_of_a_reason_are_those_of_its_source(name: str) -> None:
    reason = REASONS[name]
    kind, _, claim = reason.source.partition(" ")
    if kind == "claim":
        source = CLAIMS[claim].theirs
    else:
        assert (ROOT / reason.source).is_file()
        source = (ROOT / reason.source).read_text(encoding="utf-8")
    for figure in figures(name):
        assert figure in reason.text
        if kind == "claim" or not figure[-1].isdigit():
            assert figure in source


def test_the_pilot_is_in_the_log() -> None:
    pilot = "`coupled:most=16+rotary`, two layers, 600 steps: 1.00 at 10"
    assert pilot in (ROOT / "LOG.md").read_text(encoding="utf-8")


ALL = "purpose=ship,load=no,longer=no,reads=causal,task=text"


def test_a_script_gets_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["positions", "--choose", "--answers", ALL, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == choose(read_answers(ALL)).to_dict() | {
        name: list(printed[name]) for name in ("commands", "reasons", "notes")
    }
    assert printed["position"] == "rotary"
    assert printed["reasons"][0]["source"] == "evidence/defaults.jsonl"


def test_a_person_is_asked_what_is_not_answered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(["", "9", "llama.cpp", "2"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: next(typed))
    assert main(["positions", "--choose", "--answers", "reads=causal,task=text"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("alibi  for reads=causal, task=text, purpose=learn, load=llama.cpp")
    assert "wordorder export runs/chosen --to gguf" in out
    assert "Give a number from 1 to 3." in err
    assert QUESTIONS["task"].text not in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--choose", "cli.unanswered-questions"),
        ("--choose --answers task=text", "cli.unanswered-questions"),
        (f"--choose --answers {ALL},task=state", "cli.question-answered-twice"),
        ("--choose --answers task=maths", "cli.unknown-answer"),
        ("--choose --answers task", "cli.unknown-answer"),
        ("--choose --answers tsk=text", "cli.unknown-question"),
        ("rotary --choose", "cli.choose-of-something"),
        ("--answers task=text", "cli.answers-without-choose"),
    ],
)
def test_what_cannot_be_answered_is_refused(arguments: str, code: str) -> None:
    from wordorder.cli.positions import main as positions

    with pytest.raises(BadInput) as caught:
        positions(shlex.split(arguments))
    assert caught.value.code == code


def test_without_a_terminal_the_message_has_every_question(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["positions", "--choose"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    for name, question in QUESTIONS.items():
        assert f"{name}={'|'.join(question.answers)}" in err
