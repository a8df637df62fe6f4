"""Results of a grid of tasks, embeddings and seeds, and sentences that they support.

Accuracy beyond the trained length varies between seeds, often all or nothing, which no t-interval
describes. So results list every seed, the mean, and an interval for proportions (`shares.py`) over
seeds and distinct examples. An embedding is called the best at generalising only if its worst seed
is better than the best seed of every other, and if that happens by chance in at most 5% of such
grids, over all tasks: with two embeddings of three seeds it would in 10%.

There are two checkpoints: the last, and the best, which is selected by the reported scores. The
best is an oracle: it shows what a model reached during training, not what one would get.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wordorder.experiments.algorithms import Task, find
from wordorder.experiments.shares import chance_to_lead, leads, may_lead, share_interval
from wordorder.experiments.task_training import Protocol, distinct_examples
from wordorder.experiments.wording import listed
from wordorder.numerals import counted

LEARNED = 0.95  # accuracy within the length; models below it are not evaluated beyond
RIGHT, WRONG = 0.95, 0.05  # accuracies that count as solved, and as failed
PASSED = 0.2  # the smallest lead of an earlier checkpoint that is reported

Checkpoint = Literal["last", "best"]
Curve = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class TrialScore:
    """The scores of one embedding in one trial.

    Args:
        scores: of each seed, 0 to 1; None where the embedding cannot represent the length.
        parts: of each seed, the fraction of correct answer tokens; None likewise.
        examples: the number of distinct test examples.
    """

    trial: str
    length: int
    scores: tuple[float, ...] | None
    parts: tuple[float, ...] | None
    examples: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the mean; None with one seed, or where there are no scores."""
        return None if self.scores is None else share_interval(self.scores, self.examples)

    @property
    def mean(self) -> float | None:
        return None if self.scores is None else _mean(self.scores)


@dataclass(frozen=True)
class TaskScore:
    """One embedding on one task, at its last or at its best checkpoint.

    Args:
        seeds: those with finished runs, in the order of the scores.
        steps: of each seed's checkpoint.
        beyond: of each seed, the mean over trials beyond training; None if it cannot represent
            them all.
    """

    task: str
    position: str
    checkpoint: Checkpoint
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    cells: tuple[TrialScore, ...]
    beyond: tuple[float, ...] | None

    @property
    def within(self) -> float:
        """The mean score in the first trial, which is like training."""
        return self.cells[0].mean or 0.0

    @property
    def learned(self) -> bool:
        """Whether the task was learned, so that scores beyond training count."""
        return self.within >= LEARNED

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the mean beyond training, with the examples of one trial only."""
        if self.beyond is None:
            return None
        return share_interval(self.beyond, min(cell.examples for cell in self.cells[1:]))

    @property
    def right_at(self) -> list[str]:
        """The trials beyond training that it solves; none if it has not learned the task."""
        beyond = self.cells[1:] if self.learned else ()
        return [cell.trial for cell in beyond if cell.mean is not None and cell.mean >= RIGHT]


@dataclass(frozen=True)
class TaskResults:
    """A grid's results.

    Args:
        rows: for each task and embedding the last checkpoint and the best.
        failed: a line for each run that failed.
        seeds: the requested number.
        left_out: the task and the embedding of results in the folder that this grid leaves out.
    """

    protocols: tuple[Protocol, ...]
    positions: tuple[str, ...]
    seeds: int
    rows: tuple[TaskScore, ...]
    failed: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def tasks(self) -> int:
        """How many tasks a lead may be found on by chance, those left out included."""
        return len({protocol.task for protocol in self.protocols} | {t for t, _ in self.left_out})

    def of(self, task: str, checkpoint: Checkpoint = "last") -> list[TaskScore]:
        """Return the rows of a task at one kind of checkpoint."""
        return [r for r in self.rows if r.task == task and r.checkpoint == checkpoint]

    def to_dict(self) -> dict[str, Any]:
        """Return what was found as JSON holds it."""
        return {
            "verdict": [headline(self), *verdict(self)],
            "learned_at": LEARNED,
            "rows": [_plain(row) for row in self.rows],
            "failed": list(self.failed),
        }


def task_results(
    protocols: Sequence[Protocol],
    positions: Sequence[str],
    seeds: int,
    results: Iterable[Mapping[str, Any]],
    failed: Iterable[str],
    left_out: Iterable[tuple[str, str]] = (),
) -> TaskResults:
    """Return the results of a grid of runs.

    Args:
        results: of `train_on_task`.
        failed: a line for each failed run.
        left_out: the task and the embedding of other results.
    """
    curves = {(r["protocol"]["task"], r["position"], r["seed"]): r["curve"] for r in results}
    rows = []
    for protocol in protocols:
        for position in positions:
            keys = [(protocol.task, position, seed) for seed in range(seeds)]
            done = {key[2]: curves[key] for key in keys if key in curves}
            if done:
                rows += [_row(protocol, position, done, kind) for kind in ("last", "best")]
    return TaskResults(
        tuple(protocols), tuple(positions), seeds, tuple(rows), tuple(failed), tuple(left_out)
    )


def _row(
    protocol: Protocol, position: str, curves: Mapping[int, Curve], checkpoint: Checkpoint
) -> TaskScore:
    task = find(protocol.task)
    chosen = [c[-1] if checkpoint == "last" else best(task, c) for c in curves.values()]
    cells = []
    for number, trial in enumerate(task.trials):
        scores = [record["trials"][trial.name] for record in chosen]
        can = None not in scores
        cells.append(
            TrialScore(
                trial.name,
                trial.length(protocol.length),
                tuple(f[measure(task)] for f in scores) if can else None,
                tuple(f["token"] for f in scores) if can else None,
                distinct_examples(protocol, number),
            )
        )
    beyond = [beyond_of(task, record) for record in chosen]
    return TaskScore(
        protocol.task,
        position,
        checkpoint,
        tuple(curves),
        tuple(record["step"] for record in chosen),
        tuple(cells),
        None if None in beyond else tuple(b for b in beyond if b is not None),
    )


def best(task: Task, curve: Curve) -> Mapping[str, Any]:
    """Return the checkpoint with the best score beyond training, the latest of equals.

    Checkpoints that have not learned the task count only if none has.
    """
    name = task.trials[0].name
    learned = [r for r in curve if r["trials"][name][measure(task)] >= LEARNED]
    latest_first = reversed(learned or curve)
    return max(latest_first, key=lambda record: beyond_of(task, record) or 0.0)


def beyond_of(task: Task, record: Mapping[str, Any]) -> float | None:
    """Return the mean score beyond training; None if the embedding cannot represent every trial.

    A mean over fewer trials would cover only the easier ones.
    """
    scores = [record["trials"][trial.name] for trial in task.trials if trial.beyond]
    return None if None in scores else _mean([f[measure(task)] for f in scores])


def measure(task: Task) -> str:
    """Return which of a trial's numbers is the task's score."""
    return "token" if task.by_part else "exact"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _plain(row: TaskScore) -> dict[str, Any]:
    return {
        "task": row.task,
        "position": row.position,
        "checkpoint": row.checkpoint,
        "learned": row.learned,
        "right_at": row.right_at,
        "seeds": list(row.seeds),
        "steps": list(row.steps),
        "trials": [
            {
                "trial": cell.trial,
                "length": cell.length,
                "mean": "cannot" if cell.scores is None else cell.mean,
                "scores": "cannot" if cell.scores is None else list(cell.scores),
                "parts": "cannot" if cell.parts is None else list(cell.parts),
                "interval": cell.interval if row.checkpoint == "last" else None,
                "examples": cell.examples,
            }
            for cell in row.cells
        ],
    }


def headline(results: TaskResults) -> str:
    """Return the first sentence: which embeddings solve which task beyond training."""
    achievements, nobody = [], []
    for protocol in results.protocols:
        rows = results.of(protocol.task)
        far = [f"{_name(row)} at {listed(row.right_at)}" for row in rows if row.right_at]
        if far:
            achievements.append(f"{protocol.task}: {listed(far)}")
        else:
            nobody.append(protocol.task)
    if nobody:
        achievements.append(f"{listed(nobody)}: no embedding")
    return f"Accuracy of at least {RIGHT:.2f} beyond training: {'; '.join(achievements)}."


def verdict(results: TaskResults) -> list[str]:
    """Return the results at the last checkpoint in words, a line for each task.

    Failed runs come first.
    """
    lines = []
    if results.failed:
        lines.append(f"{counted(len(results.failed), 'run')} failed: {'; '.join(results.failed)}.")
    lines += [_on_task(protocol, results) for protocol in results.protocols]
    if results.seeds == 1:
        lines.append("One seed: no intervals, and another seed may give the opposite result.")
    if chance := sum(_chance(protocol, results) for protocol in results.protocols):
        lines.append(
            f"If no embedding generalised better than another, the probability of claiming so "
            f"would be at most {100 * chance:.1f}%."
        )
    return lines


def _chance(protocol: Protocol, results: TaskResults) -> float:
    """Return the probability of a lead by chance; 0 if no lead can be claimed."""
    seeds = [len(row.seeds) for row in _judged(protocol, results)]
    return chance_to_lead(seeds) if may_lead(seeds, results.tasks) else 0.0


def _seeds_to_lead(embeddings: int, tasks: int) -> int:
    """Return how many seeds of each embedding are needed to claim a lead."""
    return next(n for n in itertools.count(2) if may_lead([n] * embeddings, tasks))


def _judged(protocol: Protocol, results: TaskResults) -> list[TaskScore]:
    """Return the rows that are evaluated beyond training."""
    return [r for r in results.of(protocol.task) if r.learned and r.beyond is not None]


def _on_task(protocol: Protocol, results: TaskResults) -> str:
    rows = results.of(protocol.task)
    learned = [row for row in rows if row.learned]
    judged = _judged(protocol, results)
    clauses = [_furthest(judged, protocol, results), _passed(judged, results, protocol.task)]
    if cannot := [row.position for row in learned if row.beyond is None]:
        clauses.append(f"cannot represent all lengths: {listed(cannot)}")
    if others := [f"{r.position} ({r.within:.2f})" for r in rows if not r.learned]:
        clauses.append(f"not learned, so not evaluated beyond: {listed(others)}")
    return f"{protocol.task}: {'; '.join(line for line in clauses if line)}."


def _furthest(judged: Sequence[TaskScore], protocol: Protocol, results: TaskResults) -> str:
    """Describe which embeddings solve the task beyond training, and whether seeds separate them."""
    task = find(protocol.task)
    if not judged:
        return f"no embedding is evaluated {task.beyond}"
    judged = sorted(judged, key=_mean_beyond, reverse=True)
    floor = max(WRONG, task.chance + WRONG)
    if _mean_beyond(judged[0]) < floor:
        chance = f", chance is {task.chance:.2f}" if task.chance else ""
        return f"learned, but near chance {task.beyond}: {_scored(judged)}{chance}"
    return _leader(judged[0], judged[1:], protocol, results)


def _leader(
    first: TaskScore, others: Sequence[TaskScore], protocol: Protocol, results: TaskResults
) -> str:
    task = find(protocol.task)
    if not others:
        return f"{_scored([first])} {task.beyond}"
    level = [row for row in others if _overlap(first, row)]
    rest = [row for row in others if row not in level]
    line = f"{_scored([first, *level])} {task.beyond}"
    if level:
        line += ", not distinguishable with these seeds"
    elif hidden := [position for name, position in results.left_out if name == protocol.task]:
        line = (
            f"{_name(first)} leads, {_share(first)} {task.beyond}; whether it is the best is not "
            f"said, because results of {listed(hidden)} in this folder are left out"
        )
    elif leads(first.beyond or (), [r.beyond or () for r in others], results.tasks):
        line = f"{_name(first)} generalises best in every seed: {_share(first)} {task.beyond}"
    else:
        needed = _seeds_to_lead(1 + len(others), results.tasks)
        luck = 100 * chance_to_lead([len(row.seeds) for row in (first, *others)])
        seeds = "every seed" if len(first.seeds) > 1 else "its one seed"
        line = (
            f"{_name(first)} leads in {seeds}, {_share(first)} {task.beyond}, which happens by "
            f"chance in {luck:.0f}% of such tasks: at least {needed} seeds of each are needed"
        )
    return f"{line}; then {_scored(rest)}" if rest else line


def _passed(judged: Sequence[TaskScore], results: TaskResults, task: str) -> str:
    """Name the embeddings that scored much better at an earlier checkpoint."""
    best_rows = {row.position: row for row in results.of(task, "best")}
    lines = []
    for row in judged:
        before = best_rows[row.position]
        if before.beyond and _mean_beyond(before) - _mean_beyond(row) >= PASSED:
            lines.append(f"{row.position} {_mean_beyond(before):.2f}")
    return f"better at an earlier checkpoint: {listed(lines)}" if lines else ""


def _name(row: TaskScore) -> str:
    """Return an embedding's name as a subject: 'none leads' would be ambiguous."""
    return "none (no embedding)" if row.position == "none" else row.position


def _overlap(first: TaskScore, other: TaskScore) -> bool:
    """Whether some seed of the other is as good as some seed of the first."""
    return max(other.beyond or (0.0,)) >= min(first.beyond or (0.0,))


def _scored(rows: Sequence[TaskScore]) -> str:
    return listed([f"{row.position} {_share(row)}" for row in rows])


def _share(row: TaskScore) -> str:
    """Return the mean beyond and its interval: `0.53 (0.11 to 0.91)`."""
    ends = f" ({row.interval[0]:.2f} to {row.interval[1]:.2f})" if row.interval else ""
    return f"{_mean_beyond(row):.2f}{ends}"


def _mean_beyond(row: TaskScore) -> float:
    return _mean(row.beyond) if row.beyond else 0.0
