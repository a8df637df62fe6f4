"""`wordorder probe` as a user runs it: tables of 80 columns, one JSON object, a picture."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

from wordorder.cli.main import main

SMALL = (
    "--width 32 --layers 2 --heads 2 --trained-length 16 --batch-size 2 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --steps 2"
).split()
TITLES = (
    "How far back order matters",
    "Loss of the last 4 of 16 tokens with their context reordered",
    "Positions replaced by others from training, in windows of 8",
    "The embedding removed, without retraining",
    "Where attention goes",
    "Reading the position from hidden states",
    "Sentences against shuffles of their own words",
    "Minimal pairs",
)
PAIR = {"sentence_good": "the dog bit the man", "sentence_bad": "dog the bit man the"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that the tests read: rotary, learned, a GRU and one that fills in hidden tokens."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "text.txt"
    data.write_text("the dog and the man, in words and in order. " * 100, encoding="utf-8")
    for name, words in {
        "rotary": [],
        "learned": ["--position", "learned"],
        "gru": ["--model", "gru"],
        "masked": ["--objective", "masked-token", "--no-causal"],
        "short": ["--trained-length", "8"],
    }.items():
        out = ["--data", str(data), "--out", str(folder / name)]
        assert main(["train", *SMALL, *words, *out]) == 0
    (folder / "pairs.jsonl").write_text(json.dumps(PAIR) + "\n", encoding="utf-8")
    (folder / "pairs.jsonl.gz").write_bytes(gzip.compress(json.dumps(PAIR).encode()))
    return folder


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said last: the error."""
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_a_run_is_probed(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    assert main(["probe", "rotary", "--pairs", "pairs.jsonl", "pairs.jsonl.gz"]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0].endswith("text.txt (validation)")
    assert max(map(len, lines)) <= 80
    places = [next(i for i, line in enumerate(lines) if line.startswith(t)) for t in TITLES]
    assert places == sorted(places)
    for part in ("all positions shifted by 16", "no embedding in layer 2", "0 (input)"):
        assert part in shown
    assert sum(line.startswith("pairs.jsonl") for line in lines) == 2
    assert lines[-1] == "rotary/probe.png"
    assert (runs / "rotary/probe.png").stat().st_size > 10_000


def test_json_is_one_object(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    assert main(["probe", "gru", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["run"], found["trained_length"]) == ("gru", 16)
    assert found["cannot"] == {
        "removed": "a GRU has no positional embedding: choose a run of a transformer",
        "attention": "a GRU has no attention: choose a run of a transformer",
    }
    assert (found["removed"], found["attention"]) == (None, None)
    names = [each["name"] for each in found["order"]["probes"]]
    assert names[0] == "swapped" and names[-1] == "shifted"
    assert [each["layer"] for each in found["position"]["layers"]] == [0, 1, 2]
    assert Path(found["picture"]).is_file()


def test_what_cannot_be_is_said_in_its_place(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    assert main(["probe", "learned", "--only", "order", "removed", "sentences"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "cannot: position 31 is past the largest that --position learned can" in shown
    assert "cannot: the embedding acts at the input, before all layers" in shown
    assert "sentences: cannot: " in shown and "Where attention goes" not in shown


def test_many_heads_are_shown_by_layer(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    rows = []
    for most in (4, 3):
        monkeypatch.setattr("wordorder.cli.probe.MOST_HEADS", most)
        assert main(["probe", "rotary", "--only", "attention"]) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        rows.append([line for line in lines if line[:1] in (["1"], ["2"])])
    heads, layers = rows
    assert [row[:2] for row in heads] == [["1", "1"], ["1", "2"], ["2", "1"], ["2", "2"]]
    assert [row[:2] for row in layers] == [["1", "all"], ["2", "all"]]
    assert len({len(row) for row in (*heads, *layers)}) == 1
    mean = (float(heads[0][-2]) + float(heads[1][-2])) / 2
    assert float(layers[0][-2]) == pytest.approx(mean, abs=0.11)


@pytest.mark.slow
def test_another_text_may_be_given(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    Path("other.txt").write_text("another text about something else. " * 40, encoding="utf-8")
    words = ["rotary", "--only", "order", "--json"]
    found = []
    for more in ([], ["--data", "other.txt"], ["--data", "other.txt", "--seed", "1"]):
        assert main(["probe", *words, *more]) == 0
        found.append(json.loads(capsys.readouterr().out))
    own, other, drawn = found
    assert other["data"] == "other.txt" != own["data"]
    assert other["order"]["loss_nats"] == drawn["order"]["loss_nats"] != own["order"]["loss_nats"]
    assert other["order"]["probes"] != drawn["order"]["probes"]


def test_where_the_folder_cannot_be_written_the_tables_are_shown(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    there = Path("rotary/probe.png")
    there.unlink(missing_ok=True)
    there.mkdir()
    try:
        assert main(["probe", "rotary", "--only", "position"]) == 0
    finally:
        there.rmdir()
    captured = capsys.readouterr()
    assert "Reading the position" in captured.out and "probe.png" not in captured.out
    assert "cannot write rotary/probe.png: Is a directory" in captured.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "no run folder nothing"),
        (
            ["rotary", "--only", "positions"],
            "unknown part 'positions' of the probe: did you mean position",
        ),
        (["rotary", "--pairs", "no.jsonl"], "no such file: no.jsonl"),
        (["rotary", "--pairs", "bad.jsonl"], "bad.jsonl, line 3, column 1 is not JSON"),
        (["learned", "--pairs", "pairs.jsonl"], "pairs.jsonl, line 1: 19 tokens are too long"),
        (
            ["masked"],
            "probe (except --only position) needs a model that predicts the next token, but masked",
        ),
        (["short"], "the model has a trained length of 8, and a probe needs at least 16"),
        (["rotary", "--data", "few.txt"], "the text is 4 tokens, shorter than one window of 16"),
        (["rotary", "--pair", "pairs.jsonl"], "did you mean --pairs?"),
    ],
)
def test_bad_input(
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(runs)
    lines = [json.dumps(PAIR), json.dumps(PAIR), "not json", json.dumps(PAIR)]
    Path("bad.jsonl").write_text("\n".join(lines), encoding="utf-8")
    Path("few.txt").write_text("few", encoding="utf-8")
    assert main(["probe", *words]) == 2
    assert said in one_line(capsys)


def test_a_text_that_changed_since_is_told(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "rotary", tmp_path / "rotary")
    record = json.loads((tmp_path / "rotary/config.json").read_text(encoding="utf-8"))
    record["data"]["content_hash"] = "another"
    (tmp_path / "rotary/config.json").write_text(json.dumps(record), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["probe", "rotary"]) == 2
    assert "has changed since rotary was trained on it" in one_line(capsys)


def test_the_example_of_the_docs_runs(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs/probe.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shutil.copytree(runs / "rotary", tmp_path / "runs/mine")
    shutil.copy(runs / "text.txt", tmp_path / "my.txt")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert re.fullmatch(r"\[-?[\d.]+, -?[\d.]+, -?[\d.]+\]\n", capsys.readouterr().out)
