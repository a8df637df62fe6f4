"""The same words are the same text by whatever door they come in, in every script and encoding."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from wordorder.cli.main import main

CHINESE = "天亮以前，老渔夫望着远处的雪山。到了秋天，卖茶的女人想起一封旧信。\n"
ENGLISH = "The cat saw the key. A dog lost a letter.\n"
SMALL = (
    "--width 16 --layers 1 --heads 2 --trained-length 16 --batch-size 2 "
    "--dtype float32 --kernel plain --compile no --steps 2"
).split()
Said = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text((CHINESE + ENGLISH) * 30, encoding="utf-8")
    (folder / "zh.txt").write_text(CHINESE.strip() * 40, encoding="utf-8")
    for name, data, tokenizer in (("r", "text.txt", "bpe"), ("c", "zh.txt", "characters")):
        words = ["--data", str(folder / data), "--tokenizer", tokenizer]
        words += ["--vocabulary-size", "300"] * (tokenizer == "bpe")
        assert main(["train", *SMALL, *words, "--out", str(folder / name)]) == 0
    return folder


@pytest.fixture
def said(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Run a command beside the runs; returns its exit code, stdout and stderr."""
    monkeypatch.chdir(runs)

    def run(*words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        capsys.readouterr()
        code = main(list(words))
        return code, *capsys.readouterr()

    return run


def test_a_prompt_is_one_text_by_every_door(said: Said) -> None:
    rest = ("--seed", "1", "--max-tokens", "3", "--json")
    prompt = "The cat.\nA dog"
    first = json.loads(said("generate", "r", prompt, *rest)[1])
    windows = b"\xef\xbb\xbfThe cat.\r\nA dog\r\n"
    Path("windows.txt").write_bytes(windows)
    Path("wide.txt").write_bytes(prompt.encode("utf-16"))
    for words, stdin in (
        (("--prompt-file", "windows.txt"), b""),
        (("--prompt-file", "wide.txt"), b""),
        (("-",), windows),
        (("The cat.\r\nA dog",), b""),
    ):
        found = json.loads(said("generate", "r", *words, *rest, stdin=stdin)[1])
        assert found["prompt"] == prompt
        assert [each["text"] for each in found["texts"]] == [t["text"] for t in first["texts"]]


def test_a_prompt_that_is_no_utf8_is_one_line(said: Said) -> None:
    typed = os.fsdecode("天亮".encode("gb18030"))
    for words in (("generate", "r", typed), ("explain", "r", typed), ("words", "r", typed)):
        code, out, err = said(*words)
        assert (code, out) == (2, "") and len(err.splitlines()) == 1
        assert " is not UTF-8 at byte 0" in err
    code, out, err = said("generate", "r", "-", stdin="天亮以".encode()[:-1])
    assert (code, out) == (2, "") and "ends in the middle of a character" in err


def test_the_same_sentence_in_a_file_with_a_mark(said: Said) -> None:
    Path("s.txt").write_bytes("\ufeffThe cat saw the key.\r\nA dog lost it.\r\n".encode())
    out = said("words", "r", "The cat saw the key.", "--sentences", "s.txt", "--json")[1]
    for near in json.loads(out)["nearest"].values():
        assert near[0]["word"] == "The cat saw the key."
        assert near[0]["score"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("run", ["r", "c"])
def test_text_without_spaces_is_explained_by_its_tokens(said: Said, run: str) -> None:
    code, out, _ = said("explain", run, "卖茶的女人")
    assert code == 0 and "The text has no spaces" in out
    found = json.loads(said("explain", run, "卖茶的女人", "--json")[1])
    assert found["reversed"] == "tokens" and found["same_tokens"]
    first, second = found["readings"]
    assert first["text"] == "卖茶的女人" and sorted(second["text"]) == sorted(first["text"])
    assert found["readings"][0]["ids"] != found["readings"][1]["ids"]
    code, out, _ = said("words", run, "卖茶的女人", "--sentences", "zh.txt")
    assert code == 0 and "the other order reverses its tokens" in out


def test_text_with_spaces_is_explained_by_its_words(said: Said) -> None:
    code, out, _ = said("explain", "r", "The cat saw", "--json")
    assert code == 0 and json.loads(out)["reversed"] == "words"
    assert json.loads(out)["readings"][1]["text"] == "saw cat The"


def test_text_without_spaces_is_said_to_be_so_where_words_are_counted(said: Said) -> None:
    notes = json.loads(said("data", "zh.txt", "--json")[1])["notes"]
    assert any("is this text without spaces?" in note for note in notes)
    pytest.importorskip("gensim")
    words = ("--data", "zh.txt", "--out", "zh.vec", "--threads", "1", "--dimensions", "4")
    code, out, err = said("words", "train", *words, "--min-count", "1", "--json")
    assert code == 0 and "insert spaces between the words first" in err
    assert any("without spaces" in note for note in json.loads(out)["notes"])


def test_a_name_that_is_no_text_is_read_recorded_and_shown(said: Said) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    Path(name).write_text(CHINESE * 30, encoding="utf-8")
    code, out, _ = said("data", name)
    assert code == 0 and out.startswith("caf\\xe9.txt\n")
    words = ["--data", name, "--tokenizer", "bytes", "--out", "n"]
    code, _, err = said("train", *SMALL, *words)
    assert code == 0 and "Traceback" not in err
    record = json.loads(Path("n/config.json").read_text(encoding="utf-8"))
    assert record["data"]["name"].endswith("caf\\xe9.txt")
    assert Path(record["training"]["data"][0]).name == name
    assert said("eval", "n")[0] == 0  # which reads the file again


def test_a_configuration_may_open_with_a_mark(said: Said) -> None:
    Path("c.yaml").write_bytes(b"\xef\xbb\xbfsteps: 2\r\nwidth: 16\r\nheads: 2\r\n")
    words = "--layers 1 --trained-length 16 --batch-size 2 --compile no".split()
    data = ["--data", "text.txt", "--tokenizer", "bytes", "--out", "y", "--dtype", "float32"]
    assert said("train", "--config", "c.yaml", *words, *data)[0] == 0
    Path("c.yaml").write_bytes("steps: 2 # é".encode("cp1252"))
    code, _, err = said("train", "--config", "c.yaml", *words, *data)
    assert code == 2 and "as Windows-1252 it is" in err


def test_notes_of_data_that_is_named_reach_whoever_asks(said: Said) -> None:
    Path("t.jsonl").write_text(
        "\n".join(json.dumps({"text": text}) for text in (None, CHINESE * 20)), encoding="utf-8"
    )
    code, _, err = said("eval", "r", "--data", "t.jsonl")
    assert code == 0 and "note: 1 of 2 rows of t.jsonl has no text in field 'text'" in err
