"""`wordorder data` as its user sees it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wordorder.cli.data import main
from wordorder.errors import BadInput
from wordorder.text.load import load_corpus


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("\f".join(f"The note of day {n} is [bold]short[/bold]." for n in range(40)))
    return path


def test_json_is_one_object(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(notes), "--json", "--tokenizer", "bytes", "--validation-fraction", "0.3"]) == 0
    facts = json.loads(capsys.readouterr().out)
    parts = facts["split"].values()
    for what in ("documents", "bytes", "characters", "tokens"):
        assert facts[what] == sum(part[what] for part in parts)
    assert facts["documents"] == 40
    assert facts["tokens"] == facts["bytes"] + 40
    assert facts["tokenizer"] == {"kind": "bytes", "vocabulary_size": 257}
    assert facts["options"]["validation_fraction"] == 0.3
    assert facts["sample"]["text"].startswith("The note of day ")
    assert facts["content_hash"] == load_corpus(str(notes)).content_hash
    assert facts["split_rule"]["documents"] == {
        "all": 40,
        "different": 40,
        **{name: part["documents"] for name, part in facts["split"].items()},
    }


def test_a_token_that_is_part_of_a_character_is_shown_as_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("é" * 60, encoding="utf-8")
    main([str(tmp_path / "a.txt"), "--tokenizer", "bytes"])
    shown = capsys.readouterr().out.partition("as tokens:\n")[2]
    assert shown.startswith(r"\xc3|\xa9|") and "\ufffd" not in shown


def test_says_what_is_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in {"a": "An English text. ", "b": "Ein deutscher Text. "}.items():
        (tmp_path / f"{name}.txt").write_text(text * 200)
    for name in "cd":
        (tmp_path / f"{name}.txt").write_text("Un texte français. " * 200)
    assert main([str(tmp_path), "--tokenizer", "bytes"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == "documents 4 3 3 3"
    assert "validation: the last 10% of each of 3 documents" in lines
    assert "development: the 4% before that" in lines
    assert "note: 1 of 4 documents repeats the text of another and was dropped" in lines
    digest = load_corpus(str(tmp_path)).content_hash
    assert any(line.startswith(f"content hash {digest}") for line in lines)


def test_no_development_part(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(notes), "--tokenizer", "bytes", "--development-fraction", "0"]) == 0
    out = capsys.readouterr().out
    assert "all training validation" in " ".join(out.split())
    assert "development: none: nothing is chosen" in out


def test_validation_text_that_is_trained_on_all_the_same_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"the line of number {n} is long enough to be counted as one" for n in range(200)]
    (tmp_path / "part.txt").write_text("\n".join(lines[:100]))
    (tmp_path / "whole.txt").write_text("\n".join(lines))
    assert main([str(tmp_path), "--tokenizer", "bytes"]) == 0
    found = " ".join(capsys.readouterr().out.split())
    assert "% of the long lines of the validation text are also in the training text" in found


def test_bpe_does_not_read_held_out_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "".join(f"The note of day {n} is short. " for n in range(100))
    path = tmp_path / "text.txt"
    sizes = []
    for end in ("", "zyzzyva " * 40):
        path.write_text(text[: len(text) - len(end)] + end)
        assert main([str(path), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        sizes.append((facts["tokenizer"]["vocabulary_size"], facts["split"]["training"]["tokens"]))
    assert sizes[0] == sizes[1]


def test_tables(notes: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\0")
    program = "import sys; from wordorder.cli.data import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, str(tmp_path), "--vocabulary-size", "300"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "\x1b" not in run.stdout
    lines = {" ".join(line.split()[:2]) for line in run.stdout.splitlines()}
    assert "documents 40" in lines
    assert re.search(r"\d\.\d\d bytes per token with bpe of \d+ tokens", run.stdout)
    assert "is [bold]short[/bold].\n" in run.stdout  # text is not markup
    assert "another suffix and" in " ".join(run.stdout.split())


def test_bad_input_is_left_to_the_command_line() -> None:
    with pytest.raises(BadInput, match="no such file or folder: nowhere"):
        main(["nowhere"])


def test_no_torch() -> None:
    program = "import sys, wordorder.cli.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
