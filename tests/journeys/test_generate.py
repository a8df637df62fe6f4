"""`wordorder generate` past the trained length: what it says, and a text without end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from wordorder.cli import generate as command
from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.training.compute import compiler_found
from wordorder.training.run import Run

SMALL = (
    "--width 32 --layers 1 --heads 2 --trained-length 16 --batch-size 2 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --steps 3"
).split()
WORDS = ("r", "a small", "--seed", "2", "--temperature", "1", "--min-p", "0")
Said = Callable[[], tuple[str, list[str]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "text.txt"
    data.write_text("a small text of words in order. " * 40, encoding="utf-8")
    for name in ("rotary", "learned"):
        words = ["--position", name, "--data", str(data), "--out", str(folder / name)]
        assert main(["train", *SMALL, *words]) == 0
    return {name: folder / name for name in ("rotary", "learned")}


@pytest.fixture
def here(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the rotary run, `r`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs["rotary"], "r")
    return tmp_path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Return a function that gives what went to stdout, and to stderr line by line."""

    def read() -> tuple[str, list[str]]:
        captured = capsys.readouterr()
        return captured.out, captured.err.strip().splitlines()

    read()  # what training said
    return read


def write(*more: str) -> int:
    return main(["generate", *WORDS, *more])


def extended(to: int) -> None:
    """Make the run one that was extended from 16 tokens, as its configuration says."""
    path = Path("r/config.json")
    config = json.loads(path.read_text(encoding="utf-8"))
    config["extension"] = {"method": "yarn", "from_length": 16, "to_length": to}
    config["model"]["trained_length"] = to
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("", "a prompt, or another --seed"),
        ("The", "another prompt, or another --seed"),
        ("The --temperature 0", "another prompt, or a --temperature above 0"),
        ("--stop a", None),
    ],
)
def test_a_text_without_a_token_is_explained(
    words: str, advice: str | None, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(model: object, prompt: object, sampling: object, until: Any, **_: Any) -> Any:
        until.found = advice is None
        yield ""

    monkeypatch.setattr(command, "generate_text", ended)
    assert main(["generate", "r", *words.split(), "--max-tokens", "4"]) == 0
    lines = said()[1]
    assert lines[0].startswith("no tokens, ")
    assert lines[1:] == ([f"the model ended the text at once: try {advice}"] if advice else [])


@pytest.mark.usefixtures("here")
def test_a_text_ends_before_a_stop_text(said: Said) -> None:
    how = ("--json", "--count", "2", "--max-tokens", "40")
    assert write(*how) == 0
    free = [one["text"] for one in json.loads(said()[0])["texts"]]
    stop, other = free[0][9:11], free[1][4:5]
    assert write(*how, "--stop", stop, "--stop", other) == 0
    ended = json.loads(said()[0])["texts"]
    for text, one in zip(free, ended, strict=True):
        until = min(text.find(each) % 100 for each in (stop, other))
        assert (one["text"], one["reason"], one["ended"]) == (text[:until], "stop", False)
        assert one["tokens"] < 40
    assert write("--max-tokens", "40", "--stop", stop) == 0
    assert said()[0] == f"a small{free[0][: free[0].find(stop)]}\n"
    assert write("--max-tokens", "5", "--json", "--stop", "no such text") == 0
    assert json.loads(said()[0])["texts"][0]["reason"] in ("max-tokens", "end-of-text")
    assert write("--stop", "") == 2
    assert said()[1][0].startswith("error: --stop is empty")


PAST = (
    "rotary has positions past them, but quality may drop: measure it with wordorder eval r "
    "--length"
)


def test_past_the_trained_length_it_says_so(here: Path, said: Said) -> None:
    """Eight tokens of a prompt, its beginning among them, and as many as are asked for."""
    assert write("--max-tokens", "9") == 0
    _, lines = said()
    assert len(lines) == 1 and "tokens/s" in lines[0]
    assert write("--max-tokens", "10") == 0
    assert said()[1][0] == f"the model was trained on 16 tokens; {PAST} 32"


def test_an_extended_run_says_what_carries_it(here: Path, said: Said) -> None:
    extended(2048)
    for tokens, expected in (
        ("9", []),
        ("30", ["the model was extended from 16 to 2,048 tokens by yarn"]),
    ):
        assert write("--max-tokens", tokens) == 0
        assert said()[1][:-1] == expected
    extended(32)
    assert write("--max-tokens", "26") == 0
    assert said()[1][:-1] == [f"the model was extended from 16 to 32 tokens by yarn; {PAST} 64"]


def test_in_a_window_a_text_has_no_end(here: Path, said: Said) -> None:
    """Nothing is past the trained length, as long as the window is not."""
    window = ("--window", "10", "--sinks", "4", "--max-tokens", "100")
    assert write(*window, "--json") == 0
    out, lines = said()
    found = json.loads(out)
    assert (found["window"], found["sinks"], lines) == (10, 4, [])
    assert found["texts"][0]["tokens"] == 100
    assert write(*window) == 0
    assert said()[0] == "a small" + found["texts"][0]["text"] + "\n"
    assert write("--window", "12", "--sinks", "4", "--max-tokens", "100") == 0
    assert said()[1][0] == f"the model was trained on 16 tokens; {PAST} 32"
    assert write("--window", "200", "--max-tokens", "40") == 0
    longer = said()[0]
    assert write("--max-tokens", "40") == 0
    assert said()[0] == longer


@pytest.mark.parametrize(
    ("run", "words", "expected"),
    [
        ("rotary", ["--sinks", "4"], "4 sinks have no effect without a window"),
        ("rotary", ["--window", "-4"], "--window is -4: it must be at least 0"),
        ("rotary", ["--window", "4", "--no-cache"], "leave out --no-cache"),
        ("learned", ["--window", "4"], "--position learned adds positions to the word embeddings"),
    ],
)
def test_windows_that_cannot_be(
    runs: dict[str, Path], said: Said, run: str, words: list[str], expected: str
) -> None:
    """One line, and nothing of the text: not even its beginning."""
    assert main(["generate", str(runs[run]), "a small", "--max-tokens", "100", *words]) == 2
    out, lines = said()
    assert out == "" and len(lines) == 1
    assert lines[0].startswith("error: ") and expected in lines[0]


def test_a_table_ends_a_text_where_it_ends(runs: dict[str, Path], said: Said) -> None:
    assert main(["generate", str(runs["learned"]), "a small", "--max-tokens", "100"]) == 0
    assert said()[1][0] == (
        "learned has no position past 15: generating at most 9 tokens instead of 100"
    )


@pytest.mark.parametrize("words", [[], ["--json"], ["--compile", "yes"], ["--count", "2"]])
def test_a_prompt_that_is_too_long_is_said_before_it_is_echoed(
    runs: dict[str, Path], said: Said, words: list[str]
) -> None:
    """18 characters and the end of text are 19 tokens, and the table has 16."""
    assert main(["generate", str(runs["learned"]), "a small thing ... ", *words]) == 2
    out, lines = said()
    assert out == ""
    assert len(lines) == 1 and lines[0].startswith("error: the prompt has 19 tokens, ")
    assert "learned has only 16 positions: shorten it by 3 tokens" in lines[0]


def test_many_texts_are_not_longer_than_one(
    runs: dict[str, Path], said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timing that decides on compilation does not exceed the remaining positions."""
    monkeypatch.setattr(command, "FEWEST_WORTH_COMPILING", 4)
    words = ["a small thing", "--count", "4", "--max-tokens", "9", "--json"]
    assert main(["generate", str(runs["learned"]), *words]) == 0
    assert len(json.loads(said()[0])["texts"]) == 4


def test_a_prompt_that_fills_the_table_leaves_room_for_one_token(
    runs: dict[str, Path], said: Said
) -> None:
    assert main(["generate", str(runs["learned"]), "a small thing .", "--seed", "1"]) == 0
    out, lines = said()
    assert out.startswith("a small thing .")
    assert lines[0] == "learned has no position past 15: generating at most 1 token instead of 200"


@pytest.mark.slow
@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.skipif(not compiler_found(), reason="compiling needs a C++ compiler")
def test_compiled_it_writes_the_same(said: Said) -> None:
    assert write("--max-tokens", "12", "--temperature", "0", "--compile", "no") == 0
    eager, _ = said()
    assert write("--max-tokens", "12", "--temperature", "0", "--compile", "yes") == 0
    compiled, lines = said()
    assert compiled == eager
    assert any(line.startswith("compiling the decoding step") for line in lines)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--no-cache"], "needs a cache of the whole sequence"),
        (["--window", "8"], "needs a cache of the whole sequence"),
    ],
)
def test_what_cannot_be_compiled_is_said(options: list[str], why: str, said: Said) -> None:
    assert write("--compile", "yes", *options) == 2
    _, lines = said()
    assert why in lines[-1]


@pytest.mark.usefixtures("here")
def test_it_compiles_by_itself_where_that_is_repaid(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(command, "compiler_found", lambda: True)
    monkeypatch.setattr(command, "CompiledStep", lambda model: compiled.append(model))
    assert write("--max-tokens", "4", "--count", "2", "--json") == 0
    monkeypatch.setattr(command, "FEWEST_WORTH_COMPILING", 1)
    assert write("--max-tokens", "4", "--json") == 0  # it takes no minute
    assert not compiled
    monkeypatch.setattr(command, "SECONDS_WORTH_COMPILING", 1e-6)
    assert write("--max-tokens", "4", "--json") == 0
    assert write("--max-tokens", "4", "--json", "--compile", "no") == 0
    assert write("--max-tokens", "4", "--json", "--window", "4") == 0
    assert len(compiled) == 1


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs with tokens that begin with a space, and with words that are joined by one."""
    folder = tmp_path_factory.mktemp("words")
    text = "the cat saw a red kite . " * 60
    data, brought = folder / "text.txt", folder / "words.json"
    data.write_text(text, encoding="utf-8")
    backend = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator([text], trainers.WordLevelTrainer(special_tokens=["[UNK]"]))
    backend.save(str(brought))
    for name, how in (("bpe", "bpe"), ("words", str(brought))):
        small = [*SMALL, "--tokenizer", how, "--steps", "40"]
        small += ["--vocabulary-size", "270"] * (how == "bpe")
        assert main(["train", *small, "--data", str(data), "--out", str(folder / name)]) == 0
    return {name: folder / name for name in ("bpe", "words")}


@pytest.mark.parametrize("name", ["bpe", "words"])
def test_a_space_at_the_end_of_a_prompt_changes_no_word(
    words: dict[str, Path], said: Said, name: str
) -> None:
    how = ("--temperature", "0", "--max-tokens", "6", "--repetition-penalty", "1.5")
    texts = []
    for prompt in ("the cat", "the cat "):
        assert main(["generate", str(words[name]), prompt, *how]) == 0
        texts.append(said()[0])
        greedy = {"temperature": 0.0, "max_tokens": 6, "repetition_penalty": 1.5}
        assert Run.load(words[name]).generate(prompt, **greedy) + "\n" == texts[-1]
        assert main(["generate", str(words[name]), prompt, *how, "--json"]) == 0
        assert prompt + json.loads(said()[0])["texts"][0]["text"] + "\n" == texts[-1]
    assert texts[0] == texts[1]
    assert texts[0].startswith("the cat ") and "  " not in texts[0]


def test_whitespace_that_the_tokenizer_drops_is_said(words: dict[str, Path], said: Said) -> None:
    assert main(["generate", str(words["words"]), "the cat\n", "--max-tokens", "3"]) == 0
    out, lines = said()
    assert out.startswith("the cat\n") and not out.startswith("the cat\n ")
    assert lines[0].startswith("the tokenizer drops the whitespace at the end of the prompt")


def test_python_writes_as_far_as_there_are_positions(runs: dict[str, Path]) -> None:
    run = Run.load(runs["learned"])
    assert len(run.generate("a small", seed=1, min_p=0.0)) <= 7 + 9
    with pytest.raises(BadInput, match="the prompt has 19 tokens, the end-of-text token before it"):
        run.generate("a small thing ... ")


def test_a_character_cut_short_is_in_no_text_and_no_sample(tmp_path: Path, said: Said) -> None:
    """Bytes of characters of three: whatever the number of tokens, none ends in half a one."""
    data = tmp_path / "text.txt"
    data.write_text("字" * 2000, encoding="utf-8")
    small = [*SMALL, "--steps", "60", "--learning-rate", "0.02", "--sample-prompt", "字"]
    assert main(["train", *small, "--data", str(data), "--out", str(tmp_path / "r")]) == 0
    said()
    for tokens in (7, 8, 9):
        greedy = ["--temperature", "0", "--max-tokens", str(tokens)]
        assert main(["generate", str(tmp_path / "r"), "字", *greedy]) == 0
        assert said()[0] == "字" * (1 + tokens // 3) + "\n"
    assert "\ufffd" not in (tmp_path / "r" / "README.md").read_text(encoding="utf-8")
