"""`wordorder eval` as a user runs it: parts, one JSON object, and where it must say no."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from wordorder.cli.main import main
from wordorder.evaluation.needles import KINDS

SMALL = (
    "--width 16 --layers 1 --heads 2 --trained-length 32 --batch-size 2 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --threads 1 --steps 1 --validation-fraction 0.9"
).split()
ASKED = ["--stride", "16", "--context", "--retrieval", "passkey", "recall", "--examples", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that the tests read: rotary, learned, a GRU and one that fills in hidden tokens."""
    folder = tmp_path_factory.mktemp("eval")
    names = [f"{name}.txt" for name in "abcdef"]
    for name in names:
        (folder / name).write_text(name + " and what is in it, in order. " * 14, encoding="utf-8")
    data = ["--data", *(str(folder / name) for name in names)]
    for name, words in {
        "rotary": [],
        "learned": ["--position", "learned"],
        "gru": ["--model", "gru"],
        "masked": ["--objective", "masked-token", "--no-causal"],
    }.items():
        assert main(["train", *SMALL, *words, *data, "--out", str(folder / name)]) == 0
    return folder


@pytest.fixture(autouse=True)
def _here(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run `wordorder eval`, which must succeed; returns its stdout."""
    capsys.readouterr()
    assert main(["eval", *words]) == 0
    return capsys.readouterr().out


def found(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    return json.loads(run(capsys, *words, "--json"))


def test_whole_windows_alone_where_nothing_else_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = run(capsys, "rotary", "--length", "64").splitlines()
    assert " windows of 64" in "".join(lines) and "past the trained length" in lines[-1]
    assert not any(line.startswith(("Windows of", "The same", "Found")) for line in lines)
    plain = found(capsys, "rotary", "--length", "64")
    assert (plain["sliding"], plain["context"], plain["retrieval"]) == (None, None, None)


def test_each_part_is_one_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    printed = run(capsys, "rotary", *ASKED, "--length", "80")
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    titles = (
        "Windows of 80 that move by 16",
        "Loss of the same tokens by length of context",
        "Retrieval: passkey",
        "Retrieval: recall",
    )
    places = [lines.index(title) for title in titles]
    assert places == sorted(places)
    assert all(lines[place - 1] == "" for place in places)
    contexts = [line.split()[0] for line in lines[places[1] + 3 : places[1] + 7]]
    assert contexts == ["16", "32", "64", "80"]
    assert "32 cannot: an example of 32 tokens is too short: this task needs " in printed
    assert [line.split()[:2] for line in lines[-2:]] == [["80", "chosen"], ["exact", "0"]]


@pytest.mark.parametrize("name", ["rotary", "gru"])
def test_json_has_everything(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    record = found(capsys, name, *ASKED, "--length", "80", "--depths", "0", "1")
    assert record["run"] == name and record["context_length"] == 80
    sliding = record["sliding"]
    assert (sliding["stride"], sliding["fewest_before"]) == (16, 65)
    assert sliding["tokens"] + sliding["left_out"] == record["tokens"]
    assert sliding["bytes"] < record["bytes"] and sliding["bits_per_byte"] > 1
    assert [each["context_length"] for each in record["context"]["lengths"]] == [16, 32, 64, 80]
    assert record["context"]["left_out"] == [] and record["context"]["note"] is None
    for loss in (record, sliding, *record["by_position"], *record["context"]["lengths"]):
        low, high = loss["interval"]
        assert low <= loss["loss_nats"] <= high and loss["degrees_of_freedom"] > 2
    cells = [(cell["kind"], cell["length"], cell["depth"]) for cell in record["retrieval"]]
    kinds = ("passkey", "recall")
    assert cells == [(kind, length, d) for kind in kinds for length in (32, 80) for d in (0, 1)]
    short, long = record["retrieval"][0], record["retrieval"][2]
    assert (short["exact"], short["exact_interval"], short["chosen_interval"]) == (None,) * 3
    assert "this task needs" in short["cannot"] and long["cannot"] is None
    assert long["chosen_interval"][0] <= long["chosen"] <= long["chosen_interval"][1]
    assert long["examples"] == len(long["by_text"]) == 2


def test_all_kinds_at_lengths_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--retrieval", "all", "--lengths", "200", "--depths", "0.5", "--examples", "1"]
    record = found(capsys, "rotary", *words)
    cells = [(cell["kind"], cell["length"]) for cell in record["retrieval"]]
    assert cells == [(kind, 200) for kind in KINDS]
    again = found(capsys, "rotary", *words)
    assert again["retrieval"] == record["retrieval"]


def test_context_goes_as_far_as_the_text_has_documents(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printed = " ".join(run(capsys, "rotary", "--context").split())
    assert "a context of 512 tokens is left out: no documents of the text reach 512" in printed
    assert printed.count("left out") == 2  # 256 for another reason
    packed = found(capsys, "rotary", "--context", "--pack")["context"]
    assert [each["context_length"] for each in packed["lengths"]] == [16, 32, 64, 128, 256, 512]


def test_one_long_document_has_a_curve_with_intervals_over_its_blocks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("long.txt").write_text("one long text, from its beginning to its end. " * 60, "utf-8")
    words = ["rotary", "--context", "--data", "long.txt", "--length", "128"]
    printed = " ".join(run(capsys, *words).split())
    assert printed.count("over blocks of this text") == 1 and "left out" not in printed
    assert "95% interval over 16 blocks of the text, which has 1 document" in printed
    assert "1 documents" not in printed
    record = found(capsys, *words)
    lengths = record["context"]["lengths"]
    assert [each["context_length"] for each in lengths] == [16, 32, 64, 128]
    assert all(each["standard_error"] > 0 for each in lengths)
    assert (record["documents"], record["blocks"]) == (1, 16)


def test_a_text_that_is_mostly_one_document_is_said_to_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number in range(5):
        Path(f"{number}.txt").write_text(f"{number} a short text. " * 10, "utf-8")
    Path("5.txt").write_text("one long text, from its beginning to its end. " * 300, "utf-8")
    words = ["rotary", "--context", "--data", *(f"{number}.txt" for number in range(6))]
    note = "most of these tokens are of fewer than 4 documents: intervals are over blocks"
    assert note in " ".join(run(capsys, *words, "--length", "64").split())
    assert found(capsys, *words, "--length", "64")["context"]["note"].startswith(note)


def test_past_its_table_a_learned_embedding_says_so_in_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--context", "--retrieval", "recall", "--lengths", "32", "64", "--examples", "1"]
    printed = " ".join(run(capsys, "learned", *words).split())
    assert "64 cannot: position 63 is past the largest that --position learned can" in printed
    assert "32 chosen" in printed and "64 cannot" in printed.partition("Retrieval: ")[2]


def test_whole_windows_of_a_run_that_fills_in(capsys: pytest.CaptureFixture[str]) -> None:
    record = found(capsys, "masked")
    assert record["bits_per_byte"] is None and record["sliding"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rotary --stride 0", "--stride is 0: it must be at least 1"),
        ("rotary --stride 65 --length 64", "a stride of 65 is out of range: it must be between"),
        ("rotary --retrieval passkeys", "passkey, multi-key, variable-tracking, recall"),
        ("rotary --retrieval passkey", "--retrieval passkey: an example of 32 tokens is too sho"),
        ("rotary --retrieval recall --depths 2", "--depths is [2.0]: it must be from 0 to 1"),
        ("rotary --retrieval recall --lengths 0", "--lengths is [0]: it must be at least 1"),
        ("rotary --retrieval recall --examples 0", "--examples is 0: it must be at least 1"),
        ("rotary --retrieval recall --seed -1", "--seed is -1: it must be at least 0"),
        ("rotary --length -3", "--length is -3: it must be at least 0"),
        (
            "rotary --context --data a.txt",
            "--context: contexts of 16 to 512 tokens are left out: the text has 416 target",
        ),
        (
            "rotary --context --data few.txt --pack",
            "--context: contexts of 16 to 512 tokens are left out: the text has no target tokens",
        ),
        ("masked --stride 8", "--stride needs a model that predicts the next token, but masked"),
        ("masked --context", "--context needs a model that predicts the next token, but masked"),
        ("masked --retrieval all", "--retrieval needs a model that predicts the next token"),
        ("rotary --strid 8", "did you mean --stride?"),
    ],
)
def test_bad_input(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("few.txt").write_text("few", encoding="utf-8")
    assert main(["eval", *words.split()]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ") and said in line


def test_the_example_of_the_docs_runs(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs/eval.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shutil.copytree(runs / "rotary", tmp_path / "runs/mine")
    shutil.copy(runs / "a.txt", tmp_path / "my.txt")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(code, {})
    first, *depths = capsys.readouterr().out.splitlines()
    assert first.endswith(" nats, with at least 49 tokens before each")
    assert [line.split()[0] for line in depths] == ["0.0", "0.25", "0.5", "0.75", "1.0"]
