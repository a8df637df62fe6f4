"""`wordorder generate --chat`: lines in, answers out, within the context."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wordorder.cli import chat as module
from wordorder.cli.main import main
from wordorder.cli.options.generate import read_options
from wordorder.errors import BadInput
from wordorder.model.decoding import Sampling
from wordorder.stopping import Stopped
from wordorder.text.chat_template import recorded_template
from wordorder.text.conversation import Conversation
from wordorder.training.run import Run

SMALL = (
    "--width 32 --layers 1 --heads 2 --trained-length 64 --batch-size 2 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --threads 1"
).split()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run on messages, one on prompts with answers, and one on text."""
    folder = tmp_path_factory.mktemp("runs")
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    rows = {
        "chat": [{"messages": turns * (1 + n % 2)} for n in range(2)],
        "plain": [{"prompt": "hi", "answer": answer} for answer in ("yes", "yes", "no")],
        "text": [{"text": "a small text of words in order. " * 20}],
    }
    for name, values in rows.items():
        data = folder / f"{name}.jsonl"
        data.write_text("\n".join(map(json.dumps, values)), encoding="utf-8")
        words = ["--data", str(data), "--out", str(folder / name), "--steps", "30"]
        words += ["--development-fraction", "0"]
        assert main(["train", *SMALL, *words]) == 0
    return {name: folder / name for name in rows}


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    def typed(*lines: str | bytes) -> None:
        data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    return typed


def chat(run: Path, *options: str) -> int:
    return main(["generate", str(run), "--chat", "--temperature", "0", *options])


def test_each_line_is_answered_on_stdout(
    runs: dict[str, Path], typed: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    typed("hi", "", "hi", "/reset", "hi", "/quit", "hi")
    assert chat(runs["chat"]) == 0
    out, err = capfd.readouterr()
    assert out == "yes\n" * 3
    assert err == "a new conversation\n"


def test_answers_as_json(
    runs: dict[str, Path], typed: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    typed("hi", "x" * 200, "/reset", "", "/foo", "hi")
    assert chat(runs["chat"], "--json", "--seed", "5") == 0
    out, err = capfd.readouterr()
    first, none, *commands, last = (json.loads(line) for line in out.splitlines())
    assert first["answer"] == last["answer"] == "yes"
    assert first["tokens"] == len("yes") and (first["seed"], last["seed"]) == (5, 6)
    assert first["note"] is None
    assert (none["answer"], none["tokens"]) == (None, 0) and "no room" in none["note"]
    said = [each["note"] for each in commands if each["answer"] is None]
    assert said[:2] == ["a new conversation", "the line is blank"] and "no /foo" in said[2]
    assert err == ""


def test_an_unknown_command_is_not_sent_to_the_model(
    runs: dict[str, Path], typed: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    typed("/foo bar", " /foo bar")
    assert chat(runs["chat"]) == 0
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 1
    assert err.startswith("there is no /foo: /reset begins") and len(err.splitlines()) == 1


def test_an_answer_ends_before_a_stop_text(
    runs: dict[str, Path], typed: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    typed("hi")
    assert chat(runs["chat"], "--stop", "es", "--max-tokens", "3") == 0
    assert capfd.readouterr() == ("y\n", "")


@pytest.mark.parametrize("system", [None, "be brief"])
def test_a_system_prompt_is_before_each_conversation_and_never_dropped(
    runs: dict[str, Path], system: str | None
) -> None:
    run = Run.load(runs["chat"])
    conversation = Conversation(recorded_template(run.chat), run.tokenizer, system)
    room_for_two = conversation.least_tokens() + 55
    for text in ("one", "two", "three"):
        prompt, _ = conversation.ask(text, room_for_two)
        assert prompt is not None
        conversation.answered("yes")
        read = run.tokenizer.decode(prompt.tokens[1:])
        assert read.startswith(f"system\n{system}") == (system is not None)
        assert read.endswith("assistant\n") and text in read
    assert "two" in read and "one" not in read


@pytest.mark.parametrize(
    ("run", "options", "code"),
    [
        ("plain", ("--system", "be brief"), "cli.chat-no-roles"),
        ("chat", ("--system", "x" * 100), "cli.chat-system-too-long"),
    ],
)
def test_a_system_prompt_that_cannot_be(
    runs: dict[str, Path], typed: Any, run: str, options: tuple[str, ...], code: str
) -> None:
    typed("hi")
    settings = read_options([str(runs[run]), "--chat", *options])
    with pytest.raises(BadInput) as caught:
        module.chat(settings, Sampling())
    assert caught.value.code == code


def test_a_system_prompt_needs_a_chat(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "run", "--system", "be brief"]) == 2
    assert "add --chat" in capsys.readouterr().err


def test_a_run_on_pairs_answers_each_line_by_itself(
    runs: dict[str, Path], typed: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    typed("hi", "hi")
    assert chat(runs["plain"]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == [out.splitlines()[0]] * 2
    assert "single answers" in err


def test_the_oldest_turns_are_dropped_and_long_lines_refused(
    runs: dict[str, Path], typed: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    typed("hi", "hi", "hi", "x" * 100, "hi")
    assert chat(runs["chat"]) == 0
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 4
    assert "the oldest 2 turns no longer fit and were dropped" in err
    assert "this line leaves no room for an answer in the context of 64 tokens" in err


def test_an_answer_that_is_cut_is_marked(
    runs: dict[str, Path], typed: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    typed("hi")
    assert chat(runs["chat"], "--max-tokens", "2") == 0
    out, err = capfd.readouterr()
    assert out == "ye\n" and "cut after 2 tokens" in err


def test_an_answer_without_a_token_is_explained(
    runs: dict[str, Path],
    typed: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    typed("hi")
    monkeypatch.setattr(module, "generate_text", lambda *_, **__: iter([""]))
    assert chat(runs["chat"]) == 0
    assert "the model ended its answer at once: " in capfd.readouterr().err


def test_a_line_that_is_not_utf_8_has_one_number(
    runs: dict[str, Path], typed: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    typed("hi", b"un caf\xe9 noir")
    assert chat(runs["chat"]) == 2
    err = capfd.readouterr().err
    assert "standard input, line 2 is not UTF-8: byte 0xe9 at offset 6; convert it" in err
    typed("hi", "été noir, ".encode() * 50 + b"\xff" + "été noir, ".encode() * 50)
    assert chat(runs["chat"]) == 2
    err = capfd.readouterr().err
    assert "in standard input, line 2 is not UTF-8, the first at offset 600: remove it" in err


def interrupted(error: BaseException) -> Any:
    def pieces(*_: Any, **__: Any) -> Iterator[str]:
        yield "y"
        raise error

    return pieces


def test_ctrl_c_stops_the_answer_alone(
    runs: dict[str, Path],
    typed: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    typed("hi", "hi")
    monkeypatch.setattr(module, "generate_text", interrupted(KeyboardInterrupt()))
    assert chat(runs["chat"]) == 0
    assert capfd.readouterr().out == "y\ny\n"
    typed("hi", "hi")
    monkeypatch.setattr(module, "generate_text", interrupted(Stopped(15)))
    assert chat(runs["chat"]) == 143


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--count", "2"], "--count is not possible with --chat"),
        (["--window", "8"], "--window is not possible with --chat"),
        (["hello"], "leave out PROMPT"),
    ],
)
def test_other_options_are_refused(
    runs: dict[str, Path], words: list[str], part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert chat(runs["chat"], *words) == 2
    assert part in capfd.readouterr().err


def test_a_model_of_text_and_bytes_that_are_not_text_are_refused(
    runs: dict[str, Path], typed: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    typed("hi")
    assert chat(runs["text"]) == 2
    assert "--init" in capfd.readouterr().err
    typed("hi", b"\xff\xfe\xfd")
    assert chat(runs["chat"]) == 2
    assert "standard input, line 2" in capfd.readouterr().err


def test_eval_counts_answers_alone_and_says_so(
    runs: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    run = str(runs["chat"])
    assert main(["eval", run, "--json"]) == 0
    record = json.loads(capfd.readouterr().out)
    assert record["answers_only"] and record["tokens"] < 20
    assert main(["eval", run]) == 0
    assert "tokens of the answers in" in capfd.readouterr().out
    assert main(["eval", run, "--stride", "8"]) == 2
    assert "--stride and --context" in capfd.readouterr().err
    data = [str(runs["chat"].parent / "plain.jsonl"), "--development-fraction", "0"]
    assert main(["data", *data, "--tokenizer", "bytes"]) == 0
    assert "answer tokens" in capfd.readouterr().out
    assert Run.load(run).chat is not None


def test_a_prompt_is_no_part_of_redirected_answers(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["hi"])

    def ask(prompt: str = "") -> str:
        print(prompt, end="")  # as `input` does where stdout is no terminal
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert chat(runs["chat"], "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["answer"]
    assert err.count("> ") == 2
