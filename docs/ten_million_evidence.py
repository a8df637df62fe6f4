"""Read and judge the runs of evidence/ten-million-words/, by its protocol.json.

A line that is damaged, or was measured in another way than the protocol says, is an error: a table
of mixed settings would compare nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from wordorder.errors import BadInput
from wordorder.experiments.significance import Change, Documents, judge
from wordorder.experiments.tuning import best
from wordorder.interop.harness.blimp import phenomena
from wordorder.model import ModelConfig
from wordorder.positions import build

FOLDER = Path(__file__).parents[1] / "evidence" / "ten-million-words"
VERSION = 3  # of the protocol that these tables follow
BASELINE, GRU, N_GRAM = "rotary", "gru", "n-gram"
FIRST = ("none", "learned", "sinusoidal", "rotary", "alibi")
LATER = ("t5", "kerple", "fire", GRU)
SEEDS = range(5)
FEWEST_SEEDS = 3  # for a contrast
EQUAL_NATS = 0.02  # the protocol's bound of equivalence
GATE_NATS = 0.01  # what rotary must gain from 128 to 256 tokens before a claim about more
LENGTH = 256
CONTEXTS = (16, 32, 64, 128, 256, 512, 1024, 2048)

# What the protocol's text and model come to.
TRAINING_TOKENS = 15_499_529
TOKENS_PER_STEP = 8 * LENGTH
PARAMETERS = 1_328_512  # without those of the embedding itself
GRU_PARAMETERS = 921_216
COMPUTE = {"dtype": "bfloat16", "threads": 1}

OF_A_RUN = (
    *("position", "seed", "rate", "share", "loss", "bits_per_byte", "by_document", "contexts"),
    *("order", "wikitext2_bits_per_byte", "blimp", "parameters", "tokens", "training_seconds"),
    *("measuring_seconds", "machine"),
)
OF_A_RATE = (
    *("position", "seed", "rate", "share", "development_loss", "parameters", "tokens"),
    *("training_seconds", "measuring_seconds", "machine"),
)
OF_N_GRAM = ("loss", "bits_per_byte", "wikitext2_bits_per_byte", "blimp", "tokens", "cpu_seconds")

Line = dict[str, Any]


class Evidence(NamedTuple):
    """What has been measured so far.

    Args:
        runs: for each position, the line of each seed; in the order of the protocol.
        rates: the lines of the runs that chose learning rates.
        n_gram: the line of the n-gram model; None before it is measured.
    """

    runs: dict[str, dict[int, Line]]
    rates: list[Line]
    n_gram: Line | None

    @property
    def done(self) -> int:
        """How many runs of the first five positions there are."""
        return sum(len(self.runs.get(position, ())) for position in FIRST)


def read(folder: Path = FOLDER) -> Evidence:
    """Return the evidence of a folder.

    Raises:
        BadInput: a line is damaged, or was not measured by the protocol.
    """
    version = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))["version"]
    if version != VERSION:
        raise BadInput(
            f"{folder.name}/protocol.json is version {version}, and these tables follow version "
            f"{VERSION}: adapt docs/ten_million_evidence.py to it, or restore the file",
            code="evidence.protocol-version",
        )
    rates = []
    for where, text in _lines(folder / "rates.jsonl"):
        with _refusing_damage(where):
            rates.append(_parsed(text, OF_A_RATE))
            _check_settings(where, rates[-1])
    runs: dict[str, dict[int, Line]] = {position: {} for position in (*FIRST, *LATER)}
    for where, text in _lines(folder / "runs.jsonl"):
        with _refusing_damage(where):
            line = _parsed(text, OF_A_RUN)
            _check_run(where, line, runs, rates)
            runs[line["position"]][line["seed"]] = line
    return Evidence(
        {position: lines for position, lines in runs.items() if lines}, rates, _n_gram(folder)
    )


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line of a file; none if it does not exist."""
    texts = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, text in enumerate(texts, start=1):
        yield f"{path.parent.name}/{path.name}, line {number}", text


@contextmanager
def _refusing_damage(where: str) -> Iterator[None]:
    """Turn an error of what is not there, or of another kind, into one that names the line.

    Raises:
        BadInput: the line is damaged.
    """
    try:
        yield
    except BadInput:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{where} is damaged ({type(error).__name__}: {error}): remove it, and the benchmark "
            "measures it again",
            code="evidence.damaged-line",
        ) from None


def _parsed(text: str, fields: tuple[str, ...]) -> Line:
    line = json.loads(text, parse_constant=_not_a_number)
    if missing := [field for field in fields if field not in line]:
        raise ValueError(f"without {' and '.join(missing)}")
    return dict(line)


def _not_a_number(name: str) -> None:
    raise ValueError(f"it holds {name}")


def _n_gram(folder: Path) -> Line | None:
    path = folder / "ngram.json"
    if not path.exists():
        return None
    where = f"{folder.name}/{path.name}"
    with _refusing_damage(where):
        line = _parsed(path.read_text("utf-8"), OF_N_GRAM)
        _check(where, "tokens", line["tokens"], TRAINING_TOKENS)
        _check(where, "paradigms of BLiMP", sorted(line["blimp"]), sorted(paradigms()))
    return line


def _check_run(where: str, line: Line, runs: dict[str, dict[int, Line]], rates: list[Line]) -> None:
    """Check that a line of runs.jsonl was measured as the protocol says, and as the others were.

    Raises:
        BadInput: it was not.
    """
    position, seed = line["position"], line["seed"]
    if seed not in SEEDS:
        raise _no_run(where, line)
    _check_settings(where, line)
    if seed in runs[position]:
        raise BadInput(
            f"{where} is a second line of {position} with seed {seed}: remove one of them",
            code="evidence.run-twice",
        )
    _check(where, "share", line["share"], 1.0)
    _check(where, "paradigms of BLiMP", sorted(line["blimp"]), sorted(paradigms()))
    _check(where, "contexts", [at["length"] for at in line["contexts"]], [*CONTEXTS])
    if tried := losses_by_rate(rates, position):
        _check(where, "rate", line["rate"], best(tried))
    for other in runs[position].values():
        _check(where, "rate", line["rate"], other["rate"])
    for other in (other for lines in runs.values() for other in lines.values()):
        _check(where, "tokens of the books", _books(line)["weights"], _books(other)["weights"])


def losses_by_rate(rates: list[Line], position: str) -> dict[float, list[float]]:
    """Return the development losses of a position's trials, by the factor of the rates."""
    tried: dict[float, list[float]] = {}
    for trial in rates:
        if trial["position"] == position:
            tried.setdefault(trial["rate"], []).append(trial["development_loss"])
    return tried


def _no_run(where: str, line: Line) -> BadInput:
    return BadInput(
        f"{where} is {line['position']} with seed {line['seed']}, which is no run of the protocol: "
        "put it into another file",
        code="evidence.no-run-of-the-protocol",
    )


def _check_settings(where: str, line: Line) -> None:
    if line["position"] not in (*FIRST, *LATER):
        raise _no_run(where, line)
    tokens = int(line["share"] * TRAINING_TOKENS) // TOKENS_PER_STEP * TOKENS_PER_STEP
    parameters = GRU_PARAMETERS if line["position"] == GRU else PARAMETERS
    if line["position"] != GRU:
        shape = ModelConfig(width=128, layers=4, heads=4, trained_length=LENGTH).shape
        own = build(line["position"], shape).parameters()
        parameters += sum(weight.numel() for weight in own)
    _check(where, "parameters", line["parameters"], parameters)
    _check(where, "tokens", line["tokens"], tokens)
    for name, value in COMPUTE.items():
        _check(where, name, line["machine"].get(name), value)


def _check(where: str, name: str, value: Any, expected: Any) -> None:
    if value != expected:
        raise BadInput(
            f"{where} was measured with {name} {_short(value)}; the protocol and the other lines "
            f"have {_short(expected)}: put it into another file, and measure it again",
            code="evidence.other-settings",
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def paradigms() -> list[str]:
    """Return the 67 paradigms of BLiMP."""
    return [name for names in phenomena().values() for name in names]


# Judging


def against_rotary(evidence: Evidence) -> dict[str, tuple[Change, bool]]:
    """Return the contrast to rotary of each position with three paired seeds or more.

    Returns:
        The paired difference, and whether it is one of the four that the protocol fixed in advance;
        the others are exploratory, without correction.
    """
    base = evidence.runs.get(BASELINE, {})
    pairs = {
        position: (lines, base)
        for position, lines in evidence.runs.items()
        if position != BASELINE and len(lines.keys() & base.keys()) >= FEWEST_SEEDS
    }
    fixed = {position: pair for position, pair in pairs.items() if position in FIRST}
    other = {position: pair for position, pair in pairs.items() if position in LATER}
    contrasts = {}
    for family, primary in ((fixed, True), (other, False)):
        judged = judge(
            {p: tuple(by_seed(each, _loss) for each in pair) for p, pair in family.items()},
            {p: tuple(documents(each, _books) for each in pair) for p, pair in family.items()},
            exploratory=not primary,
            planned=len(FIRST) - 1,
        )
        contrasts |= {position: (change, primary) for position, change in judged.items()}
    return contrasts


def verdict(change: Change) -> str:
    """Return what a contrast says in a word or two."""
    equal = change.within(EQUAL_NATS)
    if not change.shown:
        return f"equal within {EQUAL_NATS}" if equal else "not decided"
    side = "better" if change.mean < 0 else "worse"
    return f"{side}, by less than {EQUAL_NATS}" if equal else side


def change_of_context(lines: dict[int, Line], before: int, after: int) -> Change | None:
    """Return the change of the same targets' loss between two lengths of context.

    None where the embedding cannot read one of them. It is exploratory: an interval of 95%.
    """
    if any("cannot" in at_length(line, n) for line in lines.values() for n in (before, after)):
        return None
    losses = [by_seed(lines, lambda line, n=n: context_loss(line, n)) for n in (after, before)]
    books = [
        documents(lines, lambda line, n=n: at_length(line, n)["by_document"])
        for n in (after, before)
    ]
    return judge({0: tuple(losses)}, {0: tuple(books)}, exploratory=True).get(0)


def gate(evidence: Evidence) -> float | None:
    """Return what rotary gains from 128 to 256 tokens of context; None before it is measured."""
    lines = evidence.runs.get(BASELINE)
    change = change_of_context(lines, LENGTH // 2, LENGTH) if lines else None
    return None if change is None else 0.0 - change.mean


def by_seed(lines: dict[int, Line], value: Any) -> dict[int, float]:
    return {seed: value(line) for seed, line in lines.items()}


def documents(lines: dict[int, Line], value: Any) -> Documents:
    """Return the losses of each document by seed, and the weights of the documents."""
    weights = tuple(value(next(iter(lines.values())))["weights"])
    return {seed: tuple(value(line)["losses"]) for seed, line in lines.items()}, weights


def at_length(line: Line, length: int) -> Line:
    return next(at for at in line["contexts"] if at["length"] == length)


def context_loss(line: Line, length: int) -> float:
    books = at_length(line, length)["by_document"]
    total = math.fsum(a * b for a, b in zip(books["losses"], books["weights"], strict=True))
    return total / math.fsum(books["weights"])


def _loss(line: Line) -> float:
    return line["loss"]


def _books(line: Line) -> Line:
    return line["by_document"]


def accuracy(line: Line, names: list[str], way: str = "accuracy") -> float:
    """Return the mean accuracy of some paradigms of BLiMP, in percent."""
    return 100 * math.fsum(line["blimp"][name][way] for name in names) / len(names)
