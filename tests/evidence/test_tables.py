"""The ten-million-word table: planted results go through the whole chain, bad lines are refused."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from wordorder.errors import BadInput
from wordorder.interop.harness.blimp import phenomena

ROOT = Path(__file__).parents[2]
BOOKS = 12
CONTEXTS = (16, 32, 64, 128, 256, 512, 1024, 2048)
# What each position adds to rotary's loss, and the loss past the trained length.
PLANTED = {"rotary": (0.0, 0.5), "none": (0.0, 0.5), "alibi": (0.1, 0.0), "learned": (0.015, None)}
PARAMETERS = {"learned": 1_361_280}


def line(position: str, seed: int) -> dict[str, Any]:
    """A run whose losses are those of a seed and of books, and what is planted."""
    added, past = PLANTED[position]
    random = np.random.default_rng(seed)  # none is a copy of rotary
    books = 4.0 + random.normal(0, 0.01) + np.random.default_rng(99).normal(0, 0.3, BOOKS)
    books = books + added * (1 + np.random.default_rng(98).normal(0, 0.1, BOOKS))
    by_document = {"losses": books.tolist(), "weights": list(range(1000, 1000 + BOOKS))}
    contexts = []
    for length in CONTEXTS:
        shift = 0.2 * np.log2(256 / min(length, 256)) + (past or 0.0) * (length > 256)
        losses = {"losses": (books + shift).tolist(), "weights": [3] * BOOKS}
        cannot = {"cannot": "its table ends"} if past is None and length > 256 else {}
        contexts.append({"length": length, **(cannot or {"by_document": losses})})
    loss = float(np.average(books, weights=by_document["weights"]))
    paradigms = [name for names in phenomena().values() for name in names]
    return {
        **{"position": position, "seed": seed, "rate": 1.0, "share": 1.0, "loss": loss},
        **{"bits_per_byte": 0.4 * loss, "by_document": by_document, "contexts": contexts},
        **{"order": {"shuffled": 0.5}, "wikitext2_bits_per_byte": 2.0},
        "blimp": {name: {"accuracy": 0.625, "official": 0.62} for name in paradigms},
        **{"parameters": PARAMETERS.get(position, 1_328_512), "tokens": 15_499_264},
        **{"training_seconds": 3000, "measuring_seconds": 600},
        "machine": {"device": "cpu", "dtype": "bfloat16", "threads": 1},
    }


def trial(position: str, seed: int, rate: float, loss: float) -> dict[str, Any]:
    kept = ("parameters", "training_seconds", "measuring_seconds", "machine")
    return {
        **{name: value for name, value in line(position, 0).items() if name in kept},
        **{"position": position, "seed": seed, "rate": rate, "share": 0.25},
        **{"tokens": 15_499_264 // 4 // 2048 * 2048, "development_loss": loss},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "evidence/ten-million-words/protocol.json", tmp_path)
    write(tmp_path, [line(position, seed) for seed in range(3) for position in PLANTED])
    return tmp_path


def write(folder: Path, lines: list[dict[str, Any]], name: str = "runs.jsonl") -> None:
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in lines))


def column(table: tuple[list[str], list[list[str]]], name: str) -> dict[str, str]:
    head, rows = table
    return {row[0].strip("`"): row[head.index(name)] for row in rows}


def test_planted_results_are_what_the_tables_say(
    folder: Path, evidence: ModuleType, table: ModuleType, summary: ModuleType
) -> None:
    read = evidence.read(folder)
    against = column(table.losses(read), "nats against rotary")
    assert against["rotary"] == "baseline"
    assert against["none"] == "0.000 (0.000 to 0.000)"
    assert against["alibi"].startswith("+0.10")
    assert column(table.losses(read), "verdict") == {
        **{"rotary": "", "none": "equal within 0.02 so far", "alibi": "worse so far"},
        **{"learned": "worse, by less than 0.02 so far"},
    }
    assert column(table.losses(read), "pairs")["alibi"] == "3"
    lengths = column(table.lengths(read), "1,024")
    assert {p: re.sub(r" \(.*\)", "", text) for p, text in lengths.items()} == {
        **{"rotary": "+0.500 breaks", "none": "+0.500 breaks"},
        **{"alibi": "0.000 survives", "learned": "cannot"},
    }
    assert column(table.others(read), "BLiMP")["alibi"] == "62.5 ±0.0"
    assert "Done so far: 12 of the 25 runs" in summary.status(read)
    assert "gains rotary 0.200 nats: enough" in summary.status(read)


def test_the_summary_says_what_is_measured(
    folder: Path, evidence: ModuleType, summary: ModuleType
) -> None:
    read = evidence.read(folder)
    lines = summary.summary(read).splitlines()
    assert [line.partition(".**")[0] for line in lines] == [
        *("- **Loss", "- **Past the trained length", "- **Grammar"),
    ]
    assert "`none` 0.000 (0.000 to 0.000), equal within 0.02 so far (3 seeds)" in lines[0]
    assert "`rotary`" not in lines[0].partition(":")[2]
    assert "`learned` cannot" in lines[1] and "`alibi` 0.000" in lines[1]
    (folder / "runs.jsonl").unlink()
    empty = summary.summary(evidence.read(folder))
    assert "**Loss" not in empty and "**Past" not in empty


def test_seeds_that_differ_more_than_embeddings_decide_nothing(
    folder: Path, evidence: ModuleType, table: ModuleType
) -> None:
    lines = [line(position, seed) for seed in range(3) for position in ("rotary", "none")]
    for each in lines[1::2]:
        shift = (-0.05, 0.0, 0.06)[each["seed"]]
        each["loss"] += shift
        books = each["by_document"]
        books["losses"] = [loss + shift for loss in books["losses"]]
    write(folder, lines)
    assert column(table.losses(evidence.read(folder)), "verdict")["none"] == "not decided so far"


def test_with_all_seeds_a_verdict_is_final(
    folder: Path, evidence: ModuleType, table: ModuleType
) -> None:
    write(folder, [line(position, seed) for seed in range(5) for position in PLANTED])
    said = column(table.losses(evidence.read(folder)), "verdict")
    assert said["none"] == "equal within 0.02" and said["alibi"] == "worse"


def test_a_contrast_needs_three_seeds_and_a_word_the_gate(
    folder: Path, evidence: ModuleType, table: ModuleType, summary: ModuleType
) -> None:
    lines = [line(position, seed) for seed in range(2) for position in ("rotary", "none")]
    for each in lines:
        each["contexts"][3] = {**each["contexts"][4], "length": 128}  # 128 tokens do as well
    write(folder, lines)
    read = evidence.read(folder)
    assert column(table.losses(read), "nats against rotary")["none"] == ""
    assert column(table.lengths(read), "2,048")["rotary"] == "+0.500 (+0.500 to +0.500)"
    assert "gains rotary 0.000 nats: too little" in summary.status(read)


def test_one_run_has_no_interval(
    folder: Path, evidence: ModuleType, table: ModuleType, summary: ModuleType
) -> None:
    later = {**line("rotary", 0), "position": "t5", "parameters": 1_328_640}
    write(folder, [*(line("rotary", seed) for seed in range(3)), later])
    read = evidence.read(folder)
    assert column(table.lengths(read), "2,048")["t5"] == "+0.500"
    assert column(table.losses(read), "seeds")["t5"] == "1"
    assert "`t5` +0.500" in summary.reach(read) and "1 of the 20" in summary.status(read)


def test_nothing_measured_is_a_table_without_rows(
    folder: Path, modules: tuple[ModuleType, ...], tmp_path: Path
) -> None:
    (folder / "runs.jsonl").unlink()
    evidence, table, figures, summary = modules
    read = evidence.read(folder)
    assert table.losses(read)[1] == table.lengths(read)[1] == table.others(read)[1] == []
    assert "Done so far: 0 of the 25 runs" in summary.status(read)
    figures.write_figures(read, tmp_path)


def test_figures_are_the_same_bytes_each_time(
    folder: Path, modules: tuple[ModuleType, ...], tmp_path: Path
) -> None:
    evidence, _, figures, _ = modules
    read = evidence.read(folder)
    drawn = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        figures.write_figures(read, tmp_path / name)
        drawn.append([path.read_bytes() for path in sorted((tmp_path / name).glob("*.svg"))])
    assert drawn[0] == drawn[1] and len(drawn[0]) == 3
    assert b"#D55E00" in drawn[0][0] or b"#d55e00" in drawn[0][0]  # alibi's colour


def changed(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda each: each.update(values)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (changed(tokens=1), "other-settings"),
        (changed(parameters=1_328_513), "other-settings"),
        (changed(machine={"dtype": "float32", "threads": 1}), "other-settings"),
        (changed(machine={"dtype": "bfloat16", "threads": 2}), "other-settings"),
        (changed(rate=2.0), "other-settings"),
        (changed(share=0.25), "other-settings"),
        (changed(blimp={}), "other-settings"),
        (changed(by_document={"losses": [1.0], "weights": [1]}), "other-settings"),
        (changed(seed=5), "no-run-of-the-protocol"),
        (changed(position="rotary:base=500"), "no-run-of-the-protocol"),
        (changed(position="nothing"), "no-run-of-the-protocol"),
        (changed(seed=0), "run-twice"),
        (changed(loss=float("nan")), "damaged-line"),
        (lambda each: each.pop("contexts"), "damaged-line"),
        (lambda each: each["contexts"].pop(), "other-settings"),
        (lambda each: each["by_document"].pop("weights"), "damaged-line"),
        (changed(machine=None), "damaged-line"),
    ],
)
def test_a_line_of_other_settings_is_refused(
    folder: Path, evidence: ModuleType, change: Callable[[dict[str, Any]], None], code: str
) -> None:
    lines = [line("rotary", 0), line("rotary", 1)]
    change(lines[1])
    write(folder, lines)
    with pytest.raises(BadInput, match=r"runs.jsonl, line 2") as caught:
        evidence.read(folder)
    assert caught.value.code == f"evidence.{code}"


@pytest.mark.parametrize("text", ['{"position": "rot', "[1]", "7", ""])
def test_a_cut_line_is_refused(folder: Path, evidence: ModuleType, text: str) -> None:
    with (folder / "runs.jsonl").open("a") as file:
        file.write(f"{text}\n")
    with pytest.raises(BadInput, match=r"runs.jsonl, line 13") as caught:
        evidence.read(folder)
    assert caught.value.code == "evidence.damaged-line"


def test_no_page_is_written_from_bad_evidence(
    folder: Path,
    evidence: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(folder, [line("rotary", 0), line("rotary", 0)])
    read = evidence.read
    monkeypatch.setattr(evidence, "read", lambda: read(folder))
    script = runpy.run_path(str(ROOT / "docs/write_tables.py"))
    before = {page: page.stat().st_mtime_ns for page in script["pages"]()}
    with pytest.raises(SystemExit) as stopped:
        script["main"]()
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) == 1
    assert {page: page.stat().st_mtime_ns for page in before} == before


def test_another_version_of_the_protocol_is_refused(folder: Path, evidence: ModuleType) -> None:
    (folder / "protocol.json").write_text('{"version": 99}')
    with pytest.raises(BadInput) as caught:
        evidence.read(folder)
    assert caught.value.code == "evidence.protocol-version"


def test_runs_have_the_rate_that_was_chosen(folder: Path, evidence: ModuleType) -> None:
    losses = {0.5: 5.2, 1.0: 5.0, 2.0: 5.1}
    trials = [
        trial("rotary", 1_000_000 + seed, rate, loss)
        for rate, loss in losses.items()
        for seed in range(2)
    ]
    write(folder, trials, "rates.jsonl")
    assert len(evidence.read(folder).rates) == 6
    trials[4]["development_loss"] = 4.0
    write(folder, trials, "rates.jsonl")
    with pytest.raises(BadInput) as caught:
        evidence.read(folder)
    assert caught.value.code == "evidence.other-settings"


def test_rates_and_embeddings_are_compared(evidence: ModuleType, summary: ModuleType) -> None:
    losses = {"rotary": (3.05, 3.0, 3.02), "alibi": (3.3, 3.1, 3.2), "none": (3.5, 3.5, 3.4)}
    rates = [
        {**line(position, seed), "rate": rate, "share": 0.25, "development_loss": loss}
        for position, of_position in losses.items()
        for rate, loss in zip((0.5, 1.0, 2.0), of_position, strict=True)
        for seed in range(2)
    ]
    read = evidence.Evidence({}, rates, None)
    assert summary.rates_and_embeddings(read) == (
        "Each at its best rate, the five best (rotary, alibi, none) lie within 0.400 nats, and "
        "all 3 within 0.400. From half to twice the rate the loss of one of those five differs by "
        "0.050 to 0.200. wordorder's own rates (factor 1) are the best or within .005 of it for "
        "all but none (0.100)."
    )
    assert "Too few" in summary.rates_and_embeddings(evidence.Evidence({}, rates[:5], None))
