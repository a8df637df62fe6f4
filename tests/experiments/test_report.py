"""The report of a comparison: made from two files, the same each time, and readable."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from wordorder.errors import BadInput
from wordorder.experiments import tables
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.report import for_terminal, read_summary, report_page, write_report
from wordorder.experiments.summary import summarise

MadeUp = tuple[Comparison, list[dict[str, Any]]]
Browser = Callable[..., dict[str, Any]]
FIGURES = ("curves", "lengths", "losses", "order", "whole-windows")


@pytest.fixture
def folder(tmp_path: Path, made_up: MadeUp) -> Path:
    facts, records = made_up
    folder = tmp_path / "compared"
    folder.mkdir()
    facts.write(folder)
    lines = "".join(f"{json.dumps(line)}\n" for line in records)
    (folder / "results.jsonl").write_text(lines, encoding="utf-8")
    return folder


def made(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_report_is_whole_and_the_same_each_time(folder: Path) -> None:
    summary = write_report(folder)
    first = made(folder)
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    files = {"comparison.json", "results.jsonl", "table.csv", "report.html"}
    assert set(first) == figures | files
    assert write_report(folder) == summary
    assert made(folder) == first


def test_figures_that_are_not_drawn_any_more_are_removed(folder: Path) -> None:
    write_report(folder)
    (folder / "figures/mine.png").write_bytes(b"mine")
    path = folder / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [{**line, "curve": [], "curves": []} for line in lines]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    write_report(folder)
    names = {each.name for each in (folder / "figures").iterdir()}
    assert "curves.png" not in names and {"losses.png", "mine.png"} <= names


@pytest.mark.parametrize("width", [420, pytest.param(1280, marks=pytest.mark.slow)])
def test_the_report_is_drawn_offline_and_whole(folder: Path, browser: Browser, width: int) -> None:
    seen = browser(report_page(read_summary(folder)), width)
    assert seen["errors"] == []
    assert seen["fetched"] == seen["refused"] == []
    names = ("losses", "curves", "lengths", "length-changes", "whole-windows", "order")
    assert seen["figures"] == seen["drawn"] == [f"figure-{name}" for name in names]
    assert round(seen["smallest"], 1) >= 12
    assert seen["width"] == 0  # no scrolling sideways
    assert seen["outside"] == []
    text = seen["text"]
    verdict = "Better than rotary: alibi. Worse than rotary: learned, sinusoidal and none."
    assert 0 < text.index(verdict) < text.index("Validation loss against rotary")
    for said in (
        "t5 with seed 2 failed: the loss is not a number at step 412.",
        "These results hold for this model (0.83 M parameters",
        "learned cannot at 2x: position 64 is past the longest",
        "The causal mask: a token sees only those before it.",
        "a context of 2,048 tokens is left out",
        "in the same order for one seed.",
        "learned adds 8,192, 1.0% of all.",
        "wordorder compare --positions none sinusoidal learned rotary alibi t5 --seeds 3",
    ):
        assert said in text


@pytest.mark.slow
def test_one_seed_makes_a_page_too(made_up: MadeUp, browser: Browser) -> None:
    facts, records = made_up
    tuned = {"alibi": 2.0}
    facts = replace(facts, seeds=1, command=None, leaks=[], notes=[], tuned=tuned)
    seen = browser(report_page(summarise(facts, records[:6])))
    assert seen["errors"] == []
    assert len(seen["figures"]) == 6
    assert seen["figures"] == seen["drawn"]
    assert "alibi: 2 times" in seen["text"]
    assert "one seed: no interval" in seen["text"]
    assert "Left out" not in seen["text"]


def test_nothing_trained_makes_a_page_of_costs(made_up: MadeUp) -> None:
    page = report_page(summarise(replace(made_up[0], seeds=0), []))
    body = page.partition("<body>")[2]
    assert "Nothing was trained" in body
    assert "<svg" not in body
    headings = re.findall("<h2>(.*?)</h2>", body)
    assert headings[:2] == ["Order", "Speed, memory, parameters"]
    assert "1.18x" in body


def test_the_table_has_every_number(folder: Path) -> None:
    summary = read_summary(folder)
    rows = list(csv.DictReader(tables.table_csv(summary).splitlines()))
    assert [row["position"] for row in rows] == [r.position for r in summary.results]
    row = dict(zip([r["position"] for r in rows], rows, strict=True))
    alibi, learned, rotary = row["alibi"], row["learned"], row["rotary"]
    change = next(r.against_baseline for r in summary.results if r.position == "alibi")
    assert change is not None
    assert float(alibi["difference"]) == pytest.approx(change.mean, rel=1e-5)
    assert float(alibi["difference_high"]) == pytest.approx(change.high or 0, rel=1e-5)
    assert float(alibi["p_holm"]) == pytest.approx(change.adjusted_p or 0, rel=1e-5)
    assert alibi["shown"] == "yes" and row["t5"]["shown"] == "no"
    assert learned["same_targets_16x"] == learned["same_targets_16x_word"] == "cannot"
    assert learned["same_targets_16x_change"] == ""
    assert learned["whole_windows_2x"] == learned["order_shifted"] == "cannot"
    assert (rotary["baseline"], rotary["difference"], rotary["shown"]) == ("yes", "", "")
    assert (row["t5"]["seeds"], row["t5"]["failed"], row["t5"]["missing"]) == ("2", "1", "0")
    assert len(alibi["loss_nats_by_seed"].split()) == 3


def test_every_column_is_explained(folder: Path) -> None:
    header = tables.table_csv(read_summary(folder)).splitlines()[0].split(",")
    names: set[str] = set()
    for entry in tables.COLUMNS:
        first, *more = entry.split(", ")
        names |= {first, *(first + part if part.startswith("_") else part for part in more)}
    names = {name.replace("_change_low", "_low").replace("_change_high", "_high") for name in names}
    names = {name.replace("_change_p", "_p") for name in names}
    general = [re.sub(r"_\d+x", "_Fx", name) for name in header]
    ends = r"(?=$|_low$|_high$|_p$)"
    general = [re.sub(rf"^order_.*?{ends}", "order_HOW", name) for name in general]
    assert set(general) == names


def test_the_terminal_shows_the_verdict_and_a_table(folder: Path) -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(for_terminal(read_summary(folder)))
    text = captured.get()
    assert text.startswith("Better than rotary: alibi.")
    row = next(line for line in text.splitlines() if line.startswith("t5 "))
    assert row.split() == ("t5 3.5408 (2 seeds) 0.000 ±0.024 +0.020 survives 1.18x 768".split())
    assert max(map(len, text.splitlines())) <= 80


def test_names_are_no_markup_in_the_terminal(made_up: MadeUp) -> None:
    facts, records = made_up
    name = "mymodule.My[red]Embedding"
    facts = Comparison.from_json(json.loads(facts.to_json().replace('"alibi"', json.dumps(name))))
    records = json.loads(json.dumps(records).replace('"alibi"', json.dumps(name)))
    console = Console(width=120)
    with console.capture() as captured:
        console.print(for_terminal(summarise(facts, records)))
    assert captured.get().count(name) >= 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no comparison.json: give a folder created by wordorder compare"),
        ("{", "comparison.json is damaged "),
    ],
)
def test_a_folder_of_something_else(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "comparison.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        write_report(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [{}, {"curve": [[1]]}, {"same_targets": 5}, {"seed": "x"}],
)
def test_a_result_that_is_not_whole_is_damaged(folder: Path, changed: dict[str, Any]) -> None:
    path = folder / "results.jsonl"
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    if not changed:
        del first["validation_loss"]
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps({**first, **changed}) + "\n")
    with pytest.raises(BadInput, match=r"results\.jsonl is damaged"):
        read_summary(folder)


def test_a_last_line_half_written_is_left_out(folder: Path) -> None:
    with (folder / "results.jsonl").open("a", encoding="utf-8") as out:
        out.write('{"position": "t5", "se')
    assert len(read_summary(folder).results) == 6
