"""`wordorder data` as its user sees it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wordorder.cli.data import main
from wordorder.errors import BadInput


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


def test_tables(notes: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\0")
    program = "import sys; from wordorder.cli.data import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, str(tmp_path), "--vocabulary-size", "300"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert "\x1b" not in run.stdout
    lines = {" ".join(line.split()[:2]) for line in run.stdout.splitlines()}
    assert "documents 40" in lines
    assert re.search(r"\d\.\d\d bytes per token with bpe of \d+ tokens", run.stdout)
    assert "is [bold]short[/bold]. ..." in run.stdout  # text is not markup
    assert "note: 1 of 2 files" in run.stdout


def test_bad_input_is_left_to_the_command_line() -> None:
    with pytest.raises(BadInput, match="no such file or folder: nowhere"):
        main(["nowhere"])


def test_no_torch() -> None:
    program = "import sys, wordorder.cli.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
