"""Every bad input: one clear line, the right exit code, no traceback, and nothing lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from wordorder.cli.main import main
from wordorder.locks import held, held_file

SMALL = (
    "--width 32 --layers 1 --heads 2 --trained-length 16 --batch-size 2 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no"
).split()


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("a small text of words in order. " * 40, encoding="utf-8")
    return "text.txt"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run that the tests damage copies of."""
    folder = tmp_path_factory.mktemp("finished")
    data = folder / "text.txt"
    data.write_text("a small text of words in order. " * 40, encoding="utf-8")
    assert train("--data", str(data), "--steps", "3", "--out", str(folder / "r")) == 0
    return folder / "r"


def train(*words: str) -> int:
    return main(["train", *SMALL, *words])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said last: the error."""
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "nothere.txt"], "nothere.txt"),
        (["--position", "rotery"], "did you mean rotary?"),
        (["--position", "rotary:bass=1"], "rotary has no option 'bass': did you mean base?"),
        (["--position", "rotary:xyz=1"], "its options are: base (0), fraction (1)"),
        (["--heads", "5"], "the width 32 is not a multiple of 5 heads"),
        (["--tokens", "3", "--time", "3m"], "give one"),
        (["--time", "soon"], "a duration such as 90s, 3m, 1.5h, 1h30m or 90"),
        (["--widht", "3"], "did you mean --width"),
        (["--objective", "masked-token"], "add --no-causal"),
        (["--config", "no.yaml"], "no such file"),
        (["--resume", "nothing", "--max_restarts", "0"], "leave out --width"),
        (["--init", "nothing"], "no run folder nothing"),
        (["--trained-length", "100000"], "fewer than one context"),
    ],
)
def test_wrong_options(
    text: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [] if "--data" in words else ["--data", text]
    length = [] if "--time" in words else ["--steps", "2"]
    assert train("--out", "r", *length, *data, *words) == 2
    assert said in one_line(capsys)
    assert not Path("r").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"ab\x00\x01" * 50, "offset 2"), (b"abc\xff" * 50, "offset 3")],
)
def test_files_that_are_no_text(
    text: str, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.txt").write_bytes(content)
    assert train("--data", "bad.txt", "--steps", "2", "--out", "r") == 2
    assert said in one_line(capsys)


def test_an_existing_run_is_kept(
    text: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", text, "--steps", "3", "--out", "r"]
    shutil.copytree(finished, "r")
    before = Path("r/model.safetensors").read_bytes()
    assert train(*words) == 2
    assert "replace it with --overwrite" in one_line(capsys)
    assert Path("r/model.safetensors").read_bytes() == before
    assert train(*words, "--overwrite", "--seed", "1") == 0
    assert Path("r/model.safetensors").read_bytes() != before


def test_a_folder_of_other_things_is_never_overwritten(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("home").mkdir()
    Path("home/letter").write_text("dear", encoding="utf-8")
    assert train("--data", text, "--steps", "3", "--out", "home", "--overwrite") == 2
    assert "was not created by wordorder" in one_line(capsys)
    assert Path("home/letter").read_text(encoding="utf-8") == "dear"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--data", "nothere.txt"], 2),
        (["--position", "rotery"], 2),
        (["--trained-length", "100000"], 2),
        (["--init", "r"], 2),
        (["--data", "r/samples.txt"], 2),
        (["--batch-size", "100000000"], 1),
        (["--learning-rate", "1e30", "--clip", "0", "--steps", "50"], 1),
    ],
)
def test_with_overwrite_the_run_stays_where_the_new_one_cannot_be(
    text: str, finished: Path, words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, "r")
    before = contents(Path("r"))
    rest = ["--out", "r", "--overwrite"] + (["--steps", "2"] if "--steps" not in words else [])
    data = [] if "--data" in words else ["--data", text]
    assert train(*data, *rest, *words) == code
    one_line(capsys)
    assert contents(Path("r")) == before


def test_what_others_put_into_a_run_is_never_removed(text: str, finished: Path) -> None:
    shutil.copytree(finished, "r")
    theirs = {
        name: b"mine"
        for name in ("labels.csv", "training/notes", "training/step-00000003/notes", "README.md")
    }
    for name, content in theirs.items():
        Path("r", name).write_bytes(content)
    assert train("--data", text, "--steps", "2", "--out", "r", "--overwrite", "--seed", "1") == 0
    assert theirs.items() <= contents(Path("r")).items()
    assert not Path("r/training/step-00000003/state.json").exists()
    assert main(["train", "--resume", "r"]) == 0
    assert theirs.items() <= contents(Path("r")).items()


@pytest.mark.parametrize("command", ["train", "compare", "tasks", "claims"])
@pytest.mark.parametrize("record", ['{"architectures": ["x"], "model": {}}', "[]", "", "\xff"])
def test_a_strangers_folder_is_no_run(
    text: str, command: str, record: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("README.md", "labels.csv", "training/state.json", "runs/a/config.json"):
        Path("home", name).parent.mkdir(parents=True, exist_ok=True)
        Path("home", name).write_text("dear")
    known_by = {"train": "config", "compare": "comparison", "tasks": "tasks", "claims": "claims"}
    Path("home", f"{known_by[command]}.json").write_bytes(record.encode("latin-1"))
    before = contents(Path("home"))
    words = {
        "train": [*SMALL, "--data", text, "--steps", "2"],
        "compare": [*SMALL, "--data", text, "--steps", "20"],
        "tasks": ["--tasks", "copy"],
        "claims": ["--only", "base-bound"],
    }
    for more in ([], ["--overwrite"]):
        assert main([command, *words[command], "--out", "home", *more]) == 2
        assert "was not written by wordorder" in one_line(capsys)
        assert contents(Path("home")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["train", *SMALL, "--data", "text.txt", "--steps", "2", "--out", "r", "--overwrite"],
        ["train", *SMALL, "--data", "text.txt", "--steps", "2", "--out", "new"],
        ["train", "--resume", "r"],
        ["extend", "r", "--to", "2x", "--out", "new"],
        ["compare", *SMALL, "--data", "text.txt", "--steps", "20", "--out", "new"],
        ["tasks", "--tasks", "copy", "--out", "new"],
        ["claims", "--only", "base-bound", "--out", "new"],
        ["words", "train", "--data", "text.txt", "--out", "new"],
    ],
    ids=lambda words: " ".join((words[0], *words[-2:])),
)
def test_what_another_process_writes_to_is_refused(
    text: str, finished: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, "r")
    holding = held_file if words[0] == "words" else held
    out = Path("r" if "r" in (words[-1], words[-2]) else "new")
    with holding(out):
        before = contents(Path())
        assert main(words) == 3
        assert f"is writing to {out}" in one_line(capsys)
        assert contents(Path()) == before


def test_an_architecture_that_is_not_the_runs(
    text: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, "r")
    record = json.loads(Path("r/config.json").read_text(encoding="utf-8"))
    record["model"]["layers"] = 2
    Path("r/config.json").write_text(json.dumps(record), encoding="utf-8")
    assert main(["train", "--resume", "r"]) == 2
    assert "layers is 2" in one_line(capsys)
    assert main(["generate", "r", "a"]) == 2
    assert "model.safetensors does not fit" in one_line(capsys)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_file_that_is_missing_or_damaged_is_named(
    text: str, finished: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, "r")
    path = Path("r") / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert main(["generate", "r", "a"]) == 2
    assert name in one_line(capsys)


def test_a_loss_that_is_not_finite_stops_the_run(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", text, "--steps", "50", "--out", "r", "--checkpoint-every", "1"]
    assert train(*words, "--learning-rate", "1e30", "--clip", "0") == 1
    line = one_line(capsys)
    assert (
        "at step" in line and "learning rate" in line and "the last good checkpoint is in r" in line
    )
    kept = sorted(Path("r/training").glob("step-*"))
    assert kept


def test_what_cannot_fit_is_refused_before_it_starts(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--data", text, "--steps", "2", "--out", "r", "--batch-size", "100000000") == 1
    line = one_line(capsys)
    assert "with batches of 100000000 x 16 tokens needs about" in line
    assert "use --batch-size " in line
    assert not Path("r").exists()
