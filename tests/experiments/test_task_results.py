"""What may be said of made-up scores: who learned, who is told apart, what passed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from wordorder.evaluation.retrieval import interval_of
from wordorder.experiments.page import Table
from wordorder.experiments.shares import share_interval
from wordorder.experiments.task_report import for_terminal, task_table
from wordorder.experiments.task_results import TaskResults, headline, task_results, verdict
from wordorder.experiments.task_training import Protocol
from wordorder.experiments.task_views import curves, lengths

COPY = Protocol("copy", 10, 100)
FLIP_FLOP = Protocol("flip-flop", 10, 100)
NAMES = {"copy": ("1x", "1.5x", "2x", "3x"), "flip-flop": ("trained", "sparse", "dense")}
Scores = Sequence[float | None]


def result(
    position: str, seed: int, *curve: Scores, protocol: Protocol = COPY, part: float = 0.5
) -> dict[str, Any]:
    """A run whose checkpoints scored so, in the order of the trials."""
    key, other = ("token", "exact") if protocol is FLIP_FLOP else ("exact", "token")
    records = [
        {
            "step": 10 * (number + 1),
            "loss": 0.1,
            "trials": {
                name: None if score is None else {key: score, other: part}
                for name, score in zip(NAMES[protocol.task], scores, strict=True)
            },
        }
        for number, scores in enumerate(curve)
    ]
    shown = {"task": protocol.task}
    return {"protocol": shown, "position": position, "seed": seed, "curve": records}


def found_of(*results: dict[str, Any], seeds: int = 3, protocol: Protocol = COPY) -> TaskResults:
    positions = list(dict.fromkeys(each["position"] for each in results))
    return task_results([protocol], positions, seeds, results, [])


def same(position: str, *scores: Scores, **options: Any) -> list[dict[str, Any]]:
    """One run for each seed, with one checkpoint."""
    return [result(position, seed, each, **options) for seed, each in enumerate(scores)]


def test_the_one_whose_worst_seed_beats_every_other_reads_furthest() -> None:
    found = found_of(
        *same("none", (1, 1, 0.9, 0.5), (1, 0.9, 0.7, 0.2), *[(1, 1, 1, 1)] * 2),
        *same("t5", (1, 0.5, 0.1, 0), (1, 0.6, 0, 0), *[(1, 0.4, 0, 0)] * 2),
        seeds=4,
    )
    first, chance = verdict(found)
    assert re.fullmatch(
        r"copy: none \(no embedding\) generalises best in every seed: 0.85 \(0\.\d+ to [01]\.\d+\) "
        r"beyond the trained length; then t5 0.17 \(0\.\d+ to 0\.\d+\)\.",
        first,
    )
    assert chance == (
        "If no embedding generalised better than another, the probability of claiming so would be "
        "at most 2.9%."
    )
    assert headline(found) == (
        "Accuracy of at least 0.95 beyond training: copy: none (no embedding) at 1.5x."
    )


def test_three_seeds_of_two_embeddings_do_not_settle_who_reads_furthest() -> None:
    """One of two is ahead in every one of three seeds by luck alone in 2 of 20 cases."""
    found = found_of(
        *same("none", *[(1, 1, 1, 1)] * 3),
        *same("t5", *[(1, 0, 0, 0)] * 3),
    )
    (line,) = verdict(found)
    assert "reads furthest" not in line
    assert "leads in every seed, 1.00" in line
    assert "by chance in 10% of such tasks: at least 4 seeds of each are needed" in line


def test_intervals_of_shares_stay_between_0_and_1_and_count_distinct_examples() -> None:
    repeat = Protocol("repeat", 10, 100)
    runs = same("none", (1, 1, 0.98, 0), (1, 0.97, 0, 0), (1, 1, 1, 0))
    for each in runs:
        each["protocol"] = {"task": "repeat"}
    (row,) = task_results([repeat], ["none"], 3, runs, []).of("repeat")
    assert repeat.examples == 128 and [cell.examples for cell in row.cells] == [26] * 4
    for cell in row.cells:
        low, high = cell.interval
        assert 0 <= low <= cell.mean <= high <= 1
    assert row.cells[0].interval[1] == 1 and row.cells[3].interval[0] == 0
    assert found_of(*same("none", (1, 1, 1, 1)), seeds=1).of("copy")[0].cells[0].interval is None


def test_embeddings_whose_seeds_overlap_are_not_told_apart() -> None:
    found = found_of(
        *same("none", (1, 1, 1, 1), (1, 0, 0, 0)),
        *same("t5", (1, 0.5, 0.4, 0.3), (1, 0.6, 0.4, 0.2)),
        seeds=2,
    )
    (line,) = verdict(found)
    assert re.sub(r" \([^)]*\)", "", line) == (
        "copy: none 0.50 and t5 0.40 beyond the trained length, not distinguishable with these "
        "seeds."
    )


def test_one_seed_is_said_to_be_one() -> None:
    found = found_of(result("none", 0, (1, 1, 1, 1)), result("t5", 0, (1, 0, 0, 0)), seeds=1)
    first, last = verdict(found)
    assert "none (no embedding) leads in its one seed, 1.00 beyond the trained length" in first
    assert last == "One seed: no intervals, and another seed may give the opposite result."


def test_what_has_not_learned_is_not_judged_beyond() -> None:
    found = found_of(
        *same("none", (0.96, 0, 0, 0), (0.94, 0, 0, 0)),
        *same("alibi", (0.95, 0.9, 0.9, 0.9), (0.93, 0.9, 0.9, 0.9)),
        seeds=2,
    )
    assert [row.learned for row in found.of("copy")] == [True, False]
    (line,) = verdict(found)
    assert re.sub(r" \(0.00 to 0.\d+\)", "", line) == (
        "copy: learned, but near chance beyond the trained length: none 0.00; "
        "not learned, so not evaluated beyond: alibi (0.94)."
    )
    assert headline(found).endswith("copy: no embedding.")
    cells = table_cells(task_table("copy", found))
    assert cells["alibi", "last"][0].startswith("0.94\n.95 .93\n.")
    assert cells["alibi", "last"][1:] == ["not learned"] * 3


def test_what_cannot_be_is_said_and_never_a_number() -> None:
    found = found_of(*same("learned", (1, None, None, None)), seeds=1)
    row = found.of("copy")[0]
    assert row.beyond is None and row.cells[1].mean is None
    assert "cannot represent all lengths: learned" in verdict(found)[0]
    assert table_cells(task_table("copy", found))["learned", "last"] == ["1.00", *["cannot"] * 3]
    assert [cell["mean"] for cell in found.to_dict()["rows"][0]["trials"]] == [1, *["cannot"] * 3]
    drawn = lengths(COPY, found).lines[0]
    assert drawn.points == ((1.0, 1.0),) and drawn.note == "(cannot read every length)"


def test_what_can_read_some_of_it_is_not_ranked_by_the_easier_part() -> None:
    found = found_of(
        *same("learned", (1, 0.9, None, None)), *same("none", (1, 0.8, 0.4, 0)), seeds=1
    )
    assert (
        "none 0.40 beyond the trained length; cannot represent all lengths: learned"
        in verdict(found)[0]
    )
    assert table_cells(task_table("copy", found))["learned", "last"][1] == "0.90"
    assert len(lengths(COPY, found).lines[0].points) == 2


def test_the_best_checkpoint_is_the_best_beyond_of_those_that_have_learned() -> None:
    curve = [(0.5, 1, 1, 1), (1, 0.9, 0.6, 0.3), (0.97, 0.9, 0.7, 0.5), (1, 0.1, 0, 0)]
    found = found_of(result("none", 0, *curve), seeds=1)
    (best,) = found.of("copy", "best")
    assert best.steps == (30,) and best.beyond == pytest.approx((0.7,))
    assert "better at an earlier checkpoint: none 0.70" in verdict(found)[0]
    assert found.of("copy")[0].steps == (40,)


def test_of_equal_checkpoints_the_best_is_the_last() -> None:
    found = found_of(result("none", 0, (0.96, 0.2, 0, 0), (1, 0.2, 0, 0), (1, 0, 0, 0)), seeds=1)
    (best,) = found.of("copy", "best")
    assert best.steps == (20,) and best.within == 1


def test_without_a_checkpoint_that_has_learned_the_best_is_of_all() -> None:
    found = found_of(result("none", 0, (0.5, 0.2, 0, 0), (0.6, 0.1, 0, 0)), seeds=1)
    (best,) = found.of("copy", "best")
    assert best.steps == (10,) and not best.learned


def test_every_seed_chooses_its_own_best() -> None:
    found = found_of(
        result("none", 0, (1, 1, 1, 1), (1, 0, 0, 0)), result("none", 1, (1, 0, 0, 0), (1, 1, 0, 0))
    )
    (best,) = found.of("copy", "best")
    assert best.steps == (10, 20)


def test_flip_flop_is_scored_by_reads_and_shows_errors() -> None:
    found = found_of(
        *same("rotary", (0.99, 0.6, 1.0), protocol=FLIP_FLOP),
        *same("path", (1.0, 0.9999, 1.0), protocol=FLIP_FLOP),
        seeds=1,
        protocol=FLIP_FLOP,
    )
    assert "with other fractions of ignores" in verdict(found)[0]
    assert headline(found).endswith("flip-flop: rotary at dense and path at sparse and dense.")
    cells = table_cells(task_table("flip-flop", found))
    assert cells["rotary", "reads wrong"] == ["1%", "40%", "0%"]
    assert cells["path", "reads wrong"][1] == "0.01%"
    places = [x for x, _ in lengths(FLIP_FLOP, found).ticks]
    assert places == [1.0, 2.0, 4.0]


def test_chance_is_no_merit() -> None:
    parity = Protocol("parity", 10, 100)
    runs = same("none", (1, 0.5, 0.48, 0.52)) + same("t5", (1, 0.5, 0.5, 0.5))
    for each in runs:
        each["protocol"] = {"task": "parity"}
    assert verdict(task_results([parity], ["none", "t5"], 1, runs, []))[0] == (
        "parity: learned, but near chance beyond the trained length: none 0.50 and t5 0.50, "
        "chance is 0.50."
    )


def test_runs_that_failed_come_first() -> None:
    found = task_results([COPY], ["none"], 1, [], ["copy none seed 0: loss nan", "b: c"])
    assert verdict(found)[0] == "2 runs failed: copy none seed 0: loss nan; b: c."


def test_curves_hold_every_seed_and_leave_out_what_cannot() -> None:
    runs = [
        result("none", 0, (0, 0, 0, 0), (1, 0.9, 0.6, 0.3)),
        result("none", 1, (0, 0, 0, 0), (1, 0.3, 0.0, 0.0)),
        result("learned", 0, (0, None, None, None), (1, None, None, None)),
    ]
    beyond, within = curves(COPY, found_of(*runs, seeds=2), runs)
    assert [line.name for line in beyond.lines] == ["none"]
    assert beyond.lines[0].points == ((10.0, 0.0), (20.0, pytest.approx(0.35)))
    assert len(beyond.lines[0].seeds) == 2
    assert [line.name for line in within.lines] == ["none", "learned"]


def test_the_terminal_shows_verdict_and_tables() -> None:
    from io import StringIO

    from rich.console import Console

    found = found_of(*same("none", (1, 0.25, 0, 0), (1, 0.75, 0, 0)), seeds=2)
    out = StringIO()
    Console(file=out, width=80).print(for_terminal(found))
    text = out.getvalue()
    assert text.startswith("Accuracy of at least")
    assert "0.50" in text and ".25 .75" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def table_cells(table: Table) -> dict[tuple[str, str], list[str]]:
    cells, position = {}, ""
    for first, checkpoint, *rest in table.rows:
        position = first or position
        cells[position, checkpoint.strip()] = list(rest)
    return cells


@pytest.mark.parametrize("rare", [(0, 0, 1 / 128), (0, 0, 0, 0, 1 / 256), (1, 1, 127 / 128)])
def test_a_mean_is_in_its_interval(rare: tuple[float, ...]) -> None:
    low, high = share_interval(rare, 256)
    assert low <= sum(rare) / len(rare) <= high
    assert low < 0.003 or high > 0.997  # ends are not cut off by the grid


@pytest.mark.parametrize("seeds", [3, 5, 6, 8, 10, 20, 40])
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_equal_shares_have_an_interval_whatever_rounding_does(share: float, seeds: int) -> None:
    low, high = interval_of([share] * seeds)
    assert low < share - 0.05 and high > share + 0.05


def test_what_a_report_leaves_out_makes_no_leader() -> None:
    """Choosing tasks or embeddings after a look would find a leader by chance."""
    runs = [
        *same("none", *[(1, 0.9, 0.9, 0.9)] * 4),
        *same("t5", *[(1, 0.1, 0.1, 0.1)] * 4),
    ]
    fields = [COPY], ["none", "t5"], 4, runs, []
    alone = " ".join(verdict(task_results(*fields)))
    assert "generalises best in every seed" in alone
    rival = " ".join(verdict(task_results(*fields, [("copy", "alibi")])))
    assert "results of alibi in this folder are left out" in rival
    tasks = " ".join(verdict(task_results(*fields, [("sort", "none"), ("reverse", "none")])))
    assert "at least" in tasks and "seeds of each are needed" in tasks
