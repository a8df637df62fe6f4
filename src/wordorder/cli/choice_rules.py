"""Which positional embedding to choose: the questions, the rules and their evidence, as data.

`wordorder positions --choose` asks the questions. The first rule that fits the answers names the
embedding; every note and command that fits them is printed. A condition lists the answers that
fit; a question that it does not name may have any answer. `position` is the chosen embedding.

The figures are those of files in evidence/ of the repository, or the published ones of a claim
that `wordorder claims` tests. Tests compare them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from wordorder.errors import BadInput

When = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ChoiceQuestion:
    """A question, and its answers with what each means; the first is the usual one."""

    text: str
    answers: Mapping[str, str]


@dataclass(frozen=True)
class Reason:
    """A measured or published figure, and the file or the claim that it is from."""

    text: str
    source: str


@dataclass(frozen=True)
class ChoiceRule:
    """The embedding for the answers of `when`, and the names of its reasons."""

    position: str
    reasons: Sequence[str]
    when: When = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """The chosen embedding.

    Args:
        answers: by the name of the question.
        position: an embedding or a combination, as `--position` takes it.
        commands: what to type, in this order.
        reasons: its evidence.
        notes: limitations for these answers, and what to do about them.
    """

    answers: Mapping[str, str]
    position: str
    commands: tuple[str, ...]
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as JSON."""
        return asdict(self)


QUESTIONS: dict[str, ChoiceQuestion] = {
    "purpose": ChoiceQuestion(
        "What is the model for?",
        {"learn": "to see how it works", "compare": "to compare embeddings", "ship": "to use it"},
    ),
    "load": ChoiceQuestion(
        "Must it load in another program?",
        {"no": "no", "hf": "transformers", "llama.cpp": "llama.cpp or Ollama"},
    ),
    "longer": ChoiceQuestion(
        "Will it read longer texts than it is trained on?", {"no": "no", "yes": "yes"}
    ),
    "reads": ChoiceQuestion(
        "What does each token attend to?",
        {"causal": "earlier tokens, to write text", "bidirectional": "all tokens, to fill gaps"},
    ),
    "task": ChoiceQuestion(
        "What does it learn?",
        {
            "text": "text or code",
            "arithmetic": "arithmetic and copying",
            "state": "to track a state, as of a game or a variable",
        },
    ),
}

REASONS: dict[str, Reason] = {
    "lowest-loss": Reason(
        "after 2,000 steps the loss with rotary is 0.273 nats lower than without positions, with "
        "alibi 0.237, sinusoidal 0.112 and learned 0.082 (1.3 M parameters, three seeds)",
        "evidence/defaults.jsonl",
    ),
    "ten-million-words": Reason(
        "after ten million words of books, each at its best learning rate, the loss with learned "
        "is 0.084 nats higher than with rotary, and without positions 0.145 (five seeds)",
        "evidence/ten-million-words/runs.jsonl",
    ),
    "ten-million-reach": Reason(
        "after ten million words of books, at 8 times the trained length, the loss of the same "
        "words changes by -0.006 nats with alibi, by +0.871 with rotary (five seeds)",
        "evidence/ten-million-words/runs.jsonl",
    ),
    "survives-length": Reason(
        "at 16 times the trained length the loss of the same words changes by -0.009 nats with "
        "alibi, by +0.438 with rotary",
        "evidence/compare-example.json",
    ),
    "near-rotary": Reason(
        "within the trained length the loss with alibi is 0.022 nats higher than with rotary",
        "evidence/compare-example.json",
    ),
    "near-rotary-on-books": Reason(
        "after ten million words of books the loss with alibi is 0.016 nats higher than with "
        "rotary, too little for five seeds to tell it from zero",
        "evidence/ten-million-words/runs.jsonl",
    ),
    "alibi-leads-early": Reason(
        "but after only 400 steps alibi is ahead, by 0.075 nats (2.6 M parameters, three seeds): "
        "try it too where training takes minutes",
        "evidence/defaults.jsonl",
    ),
    "mirror-images": Reason(
        "to a bidirectional model without positions a text is a bag of words, and alibi, kerple, "
        "fire, sandwich and dape cannot tell a text from its mirror image",
        "evidence/claims-article.json",
    ),
    "within-length": Reason(
        "within the trained length rotary copies and reverses 1.00 of sequences",
        "evidence/tasks-default.json",
    ),
    "copies-further": Reason(
        "at twice the trained length t5 copies 0.98 of sequences, alibi 0.41, rotary 0.00",
        "evidence/tasks-default.json",
    ),
    "no-sums-past-length": Reason(
        "trained on sums of 8 digits, no position, t5, alibi and rotary are reported to be right "
        "on at most .11 of sums of 10 digits",
        "claim adding-past-the-length",
    ),
    "coupled-digits": Reason(
        "if digits of the same significance share a position, sums are reported to stay right "
        "far past the trained length; one pilot run here had 1.00 at 10 digits after 8",
        "claim coupled-positions-add",
    ),
    "tracks-state": Reason(
        "on sparse flip-flop one layer with path is reported to err in 0.0001% of reads, one "
        "with rotary in 40.3%",
        "claim flip-flop",
    ),
    "tracks-state-here": Reason(
        "with two layers, rotary errs in 0.159 of reads here, and path in 0.000 (fourteen seeds)",
        "evidence/claims-literature/claims.json",
    ),
}

RULES: tuple[ChoiceRule, ...] = (
    ChoiceRule(
        "coupled:most=16+rotary",
        ["coupled-digits", "no-sums-past-length"],
        {
            **{"task": ["arithmetic"], "longer": ["yes"], "load": ["no"], "reads": ["causal"]},
            "purpose": ["learn", "compare"],
        },
    ),
    ChoiceRule(
        "alibi",
        ["copies-further", "no-sums-past-length"],
        {"task": ["arithmetic"], "longer": ["yes"], "load": ["llama.cpp"], "reads": ["causal"]},
    ),
    ChoiceRule(
        "t5",
        ["copies-further", "no-sums-past-length"],
        {"task": ["arithmetic"], "longer": ["yes"], "reads": ["causal"]},
    ),
    ChoiceRule(
        "rotary",
        ["within-length", "lowest-loss"],
        {"task": ["arithmetic"], "reads": ["causal"]},
    ),
    ChoiceRule(
        "path",
        ["tracks-state", "tracks-state-here"],
        {"task": ["state"], "load": ["no", "hf"], "reads": ["causal"]},
    ),
    ChoiceRule("rotary", ["mirror-images"], {"reads": ["bidirectional"]}),
    ChoiceRule(
        "alibi",
        ["survives-length", "ten-million-reach", "near-rotary", "near-rotary-on-books"],
        {"longer": ["yes"], "task": ["text"]},
    ),
    ChoiceRule("rotary", ["lowest-loss", "ten-million-words", "alibi-leads-early"]),
)

_OWN_CODE = (
    "the export to transformers carries its own modelling file: load it with trust_remote_code=True"
)

NOTES: tuple[tuple[str, When], ...] = (
    (
        "llama.cpp has no architecture for bidirectional models: export to transformers instead",
        {"load": ["llama.cpp"], "reads": ["bidirectional"]},
    ),
    (_OWN_CODE, {"load": ["hf"], "position": ["alibi", "path", "t5"]}),
    (_OWN_CODE, {"load": ["hf", "llama.cpp"], "position": ["rotary"], "reads": ["bidirectional"]}),
    (
        "compare trains causal models only: train each embedding, and compare their losses",
        {"purpose": ["compare"], "reads": ["bidirectional"]},
    ),
    (
        "alibi survives longer texts and gains little from them: to gain, train rotary and extend "
        "it with a fine-tune, which gained on code and not on prose (docs/extend.md)",
        {"longer": ["yes"], "position": ["alibi"], "task": ["text"]},
    ),
    (
        "alibi was measured with QK-norm, which llama.cpp's does not have: hence --no-qk-norm",
        {"load": ["llama.cpp"], "position": ["alibi"], "reads": ["causal"]},
    ),
    (
        "rotary reads longer texts after `wordorder extend runs/chosen --to 4x`",
        {"longer": ["yes"], "position": ["rotary"], "reads": ["causal"]},
    ),
    (
        "train a bidirectional model on texts as long as those that it will read",
        {"longer": ["yes"], "reads": ["bidirectional"]},
    ),
    (
        "embeddings that track state (path, forgetting, cope) are in no other program, and need a "
        "causal model",
        {"task": ["state"], "position": ["rotary"]},
    ),
    (
        "no embedding that llama.cpp has is reported to add past the trained length",
        {"task": ["arithmetic"], "longer": ["yes"], "load": ["llama.cpp"]},
    ),
)

# Options of the model, in place of {options} in the commands.
OPTIONS: tuple[tuple[str, When], ...] = (
    ("--no-causal --objective masked-token", {"reads": ["bidirectional"]}),
    ("--no-qk-norm", {"load": ["llama.cpp"], "position": ["alibi"]}),  # its ALiBi has none
)

_SMALL = (
    "wordorder train --preset nano --steps 400 {options} --position {position} --out runs/small"
)
_CHOSEN = "wordorder train --data my.txt {options} --position {position} --out runs/chosen"
COMMANDS: tuple[tuple[str, When], ...] = (
    (
        "wordorder tasks --tasks addition-reversed --positions {positions}",
        {"task": ["arithmetic"], "purpose": ["learn", "compare"], "reads": ["causal"]},
    ),
    (
        "wordorder tasks --tasks flip-flop --positions {positions}",
        {"task": ["state"], "purpose": ["learn", "compare"], "reads": ["causal"]},
    ),
    (
        "wordorder compare --steps 500 --positions {positions}",
        {"task": ["text"], "purpose": ["compare"], "reads": ["causal"]},
    ),
    (_SMALL, {"task": ["text"], "purpose": ["learn"], "reads": ["causal"]}),
    (_SMALL, {"purpose": ["learn", "compare"], "reads": ["bidirectional"]}),
    (_CHOSEN, {"purpose": ["ship"]}),
    (_CHOSEN, {"purpose": ["learn", "compare"], "load": ["hf", "llama.cpp"]}),
    ("wordorder export runs/chosen --to hf", {"load": ["hf"]}),
    ("wordorder export runs/chosen --to gguf", {"load": ["llama.cpp"], "reads": ["causal"]}),
    ("wordorder export runs/chosen --to hf", {"load": ["llama.cpp"], "reads": ["bidirectional"]}),
)


def choose(answers: Mapping[str, str]) -> Choice:
    """Return the embedding for an answer to each question of `QUESTIONS`."""
    rule = next(rule for rule in RULES if _fits(rule.when, answers))
    known = {**answers, "position": rule.position}
    compared = list(dict.fromkeys([rule.position, "rotary", "none", "alibi"]))[:3]
    filled = {
        "position": rule.position,
        "positions": " ".join(compared),
        "options": " ".join(_fitting(OPTIONS, known)),
    }
    return Choice(
        dict(answers),
        rule.position,
        tuple(" ".join(c.format(**filled).split()) for c in _fitting(COMMANDS, known)),
        tuple(REASONS[name] for name in rule.reasons),
        _fitting(NOTES, known),
    )


def _fitting(rows: Sequence[tuple[str, When]], answers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(text for text, when in rows if _fits(when, answers))


def _fits(when: When, answers: Mapping[str, str]) -> bool:
    return all(answers[name] in accepted for name, accepted in when.items())


def read_answers(text: str) -> dict[str, str]:
    """Return the answers of text such as `purpose=ship,load=hf`, by question.

    Raises:
        BadInput: a question or an answer does not exist, or is given twice.
    """
    answers: dict[str, str] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        name, _, answer = part.partition("=")
        if name not in QUESTIONS:
            near = difflib.get_close_matches(name, QUESTIONS, n=1)
            hint = f"did you mean {near[0]}? The questions are" if near else "the questions are"
            raise BadInput(
                f"--answers {part}: there is no question {name!r}: {hint} {', '.join(QUESTIONS)}",
                code="cli.unknown-question",
            )
        if name in answers:
            raise BadInput(
                f"--answers {text} answers {name} twice: give one answer",
                code="cli.question-answered-twice",
            )
        if answer not in QUESTIONS[name].answers:
            raise BadInput(
                f"--answers {part}: use {name}={'|'.join(QUESTIONS[name].answers)}",
                code="cli.unknown-answer",
            )
        answers[name] = answer
    return answers


def check_all_answered(answers: Mapping[str, str]) -> None:
    """Check that every question is answered, where nobody can be asked.

    Raises:
        BadInput: some are not; the message has all questions with their answers.
    """
    missing = [name for name in QUESTIONS if name not in answers]
    if missing:
        every = ",".join(f"{name}={'|'.join(q.answers)}" for name, q in QUESTIONS.items())
        raise BadInput(
            f"--choose has no answer to {', '.join(missing)}, and there is no terminal to ask on: "
            f"give --answers {every}",
            code="cli.unanswered-questions",
        )
