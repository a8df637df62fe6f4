"""What docs/evidence.md says by hand is in the evidence of the ten-million-word table."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from wordorder.experiments.statistics import interval
from wordorder.interop.harness.blimp import phenomena

ROOT = Path(__file__).parents[2]
BELOW_CHANCE = ("npi_licensing", "ellipsis", "island_effects")


def test_what_the_page_says_by_hand_is_in_the_evidence(
    evidence: ModuleType, table: ModuleType
) -> None:
    page = " ".join((ROOT / "docs/evidence.md").read_text(encoding="utf-8").split())
    read = evidence.read()
    five = {position: read.runs[position] for position in evidence.FIRST}

    assert "only its loss does not rise with longer texts" in page
    far = {p: evidence.change_of_context(lines, 256, 2048) for p, lines in five.items()}
    assert [p for p, change in far.items() if change and change.mean < 0.03] == ["alibi"]

    assert "no model is clearly better than the n-gram model" in page
    for lines in read.runs.values():
        other = interval([line["wikitext2_bits_per_byte"] for line in lines.values()])
        assert other.high is None or other.high > read.n_gram["wikitext2_bits_per_byte"]

    assert "worse than `rotary` on each of the 43 books, `sinusoidal` on 42, `alibi` on 37" in page
    means = {
        position: np.mean([line["by_document"]["losses"] for line in lines.values()], axis=0)
        for position, lines in five.items()
    }
    worse = {position: int(sum(loss > means["rotary"])) for position, loss in means.items()}
    assert worse == {"none": 43, "learned": 43, "sinusoidal": 42, "alibi": 37, "rotary": 0}

    assert (
        "(NPI) are below chance for every model here, ellipsis and island effects for most or all"
        in page
    )
    rows = [list(lines.values()) for lines in read.runs.values()] + [[read.n_gram]]
    below = {
        name: np.mean([table.score(lines, names) < 50 for lines in rows])
        for name, names in phenomena().items()
    }
    assert below["npi_licensing"] == 1
    assert below["ellipsis"] > 0.5 < below["island_effects"]
    assert all(share < 1 for name, share in below.items() if name not in BELOW_CHANCE)

    assert "the official way, where a tie is wrong, gives the same to a tenth of a percent" in page
    names = evidence.paradigms()
    for lines in rows:
        assert abs(table.score(lines, names) - table.score(lines, names, "official")) < 0.1


def test_what_the_page_says_of_later_embeddings_is_in_the_evidence(evidence: ModuleType) -> None:
    page = " ".join((ROOT / "docs/evidence.md").read_text(encoding="utf-8").split())
    read = evidence.read()
    gaps = {p: gap for p, (gap, _) in evidence.against_rotary(read).items()}
    changes = {p: evidence.change_of_context(read.runs[p], 256, 2048) for p in gaps}
    assert "and their intervals against `rotary` still include zero" in page
    assert all(gaps[p].mean < 0 < gaps[p].high for p in ("kerple", "fire"))
    assert "In each of its five seeds the loss of `kerple` is below that of `rotary` and of" in page
    below = {
        (p, other): [line["loss"] < read.runs[other][s]["loss"] for s, line in read.runs[p].items()]
        for p in ("kerple", "fire")
        for other in ("rotary", "alibi")
    }
    assert below["kerple", "rotary"] == below["kerple", "alibi"] == [True] * 5
    assert "texts eight times as long do not raise it" in page and changes["kerple"].high < 0
    assert "`fire` has nearly the same mean, and is below `rotary` in four seeds" in page
    assert abs(gaps["fire"].mean - gaps["kerple"].mean) < 0.002
    assert sum(below["fire", "rotary"]) == 4 and len(below["fire", "rotary"]) == 5
    assert "The interval of `t5`, exploratory too, leaves out zero, with a smaller" in page
    assert gaps["kerple"].mean < gaps["t5"].mean < gaps["t5"].high < 0
    assert changes["fire"].low > 0 < changes["t5"].low


def test_the_machines_are_those_of_the_page(evidence: ModuleType) -> None:
    page = " ".join((ROOT / "docs/evidence.md").read_text(encoding="utf-8").split())
    read = evidence.read()
    assert "all runs of `none` and `learned` were computed on a GPU, all others on CPUs" in page
    runs = [line for lines in read.runs.values() for line in lines.values()]
    fast = [line for line in runs if line["machine"]["device"] == "cuda"]
    assert Counter(line["position"] for line in fast) == {"none": 5, "learned": 5}
    said = "on a GPU (NVIDIA H200), fifteen at a time; such a run took about 2.5 minutes with its"
    assert said in page and "and all but six of the trials of learning rates" in page
    assert sum(line["machine"]["device"] != "cuda" for line in read.rates) == 6
    assert {line["processes"] for line in fast} == {15}
    seconds = [line["training_seconds"] + line["measuring_seconds"] for line in fast]
    assert min(seconds) >= 140 and max(seconds) <= 160


def test_the_order_of_short_and_long_training_is_that_of_the_page() -> None:
    page = " ".join((ROOT / "docs/evidence.md").read_text(encoding="utf-8").split())
    assert "ahead of `rotary`, by .022 nats at 1.3 million parameters and by .075 at 2.6" in page
    assert "after 2,000 steps at 1.3 million it is behind by .036" in page
    losses: dict[tuple[str, int, str], list[float]] = {}
    for line in (ROOT / "evidence/defaults.jsonl").read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        if run["variant"] == "default":
            key = (run["size"], run["steps"], run["position"])
            losses.setdefault(key, []).append(run["loss"])
    behind = {
        key[:2]: np.mean(losses[*key[:2], "alibi"]) - np.mean(of)
        for key, of in losses.items()
        if key[2] == "rotary"
    }
    said = {("nano", 400): -0.022, ("tiny", 400): -0.075, ("nano", 2000): 0.036}
    assert {key: behind[key] for key in said} == pytest.approx(said, abs=0.0006)
    assert behind["mini", 400] < 0


def test_trials_on_both_machines_differ_as_the_page_says(evidence: ModuleType) -> None:
    page = " ".join((ROOT / "docs/evidence.md").read_text(encoding="utf-8").split())
    lines = (evidence.FOLDER / "rates-on-cpu.jsonl").read_text(encoding="utf-8").splitlines()
    cpu = {(t["position"], t["rate"], t["seed"]): t for t in map(json.loads, lines)}
    gpu = {(t["position"], t["rate"], t["seed"]): t for t in evidence.read().rates}
    apart = [t["development_loss"] - gpu[key]["development_loss"] for key, t in cpu.items()]
    mean, spread = float(np.mean(apart)), float(np.std(apart, ddof=1))
    assert mean > 0  # the CPU's are higher
    said = f"{len(apart)} trials of learning rates were computed on both: the GPU's losses are "
    said += f"{mean:.4f} nats lower in the mean, with a standard deviation of {spread:.4f}"
    assert said.replace("0.", ".") in page
