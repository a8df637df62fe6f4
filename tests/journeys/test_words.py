"""`wordorder words` as a user runs it: on a file of vectors, on a run, and training a table."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.words.cache import open_vectors

PLANTED = """6 4
the 0 0 0 1
man 0 0 1 0
king 1 0 1 0
woman 0 1 1 0
queen 1 1 1 0
table 0 0.1 0 2
"""
QUESTIONS = (
    ": family\nman king woman queen\nman king woman table\n: capitals\nParis France Rome Italy\n"
)
TEXT = "I love AI . the king and the queen love the man and the woman . " * 60
SMALL = (
    "--width 32 --layers 2 --heads 2 --trained-length 16 --batch-size 2 --vocabulary-size 400 "
    "--dtype float32 --kernel plain --compile no --steps 3"
).split()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("v.txt").write_text(PLANTED, encoding="utf-8")
    Path("q.txt").write_text(QUESTIONS, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    data = ["--data", str(folder / "text.txt")]
    assert main(["train", *SMALL, *data, "--out", str(folder / "r")]) == 0
    return folder / "r"


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["words", *map(str, words)]) == 0
    return capsys.readouterr().out


def found(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    return json.loads(asked(capsys, *words, "--json"))


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["words", *map(str, words)]) == 2
    shown = capsys.readouterr()
    assert not shown.out and len(shown.err.splitlines()) == 1
    return shown.err


def test_neighbours_and_analogies_of_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = asked(capsys, "v.txt", "king", "--analogy", "king", "man", "woman", "--expect", "queen")
    assert shown.startswith("v.txt: 6 words of 4 numbers\n")
    assert "king - man + woman" in shown
    assert "rank of queen: 1 by 3CosAdd, 1 by 3CosMul, of 3 words" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())

    one = found(capsys, "v.txt", "--analogy", "king - man + woman", "--count", "1")
    assert one["analogy"]["words"] == ["king", "man", "woman"]
    assert one["analogy"]["add"][0]["word"] == one["analogy"]["mul"][0]["word"] == "queen"
    near = found(capsys, "v.txt", "King", "--expect", "queen", "--count", "2")
    assert [each["word"] for each in near["neighbours"]["King"]] == ["queen", "man"]
    assert near["ranks"] == {"King": 1}


def test_questions_by_section(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = asked(capsys, "v.txt", "--questions", "q.txt")
    assert "capitals" in shown and "among the first 6 words" in shown
    both = found(capsys, "v.txt", "--questions", "q.txt")["questions"]
    assert both["vocabulary"] == 6
    for method in ("add", "mul"):
        total = both[method]["total"]
        assert (total["right"], total["asked"], total["absent"]) == (1, 2, 1)
    few = found(capsys, "v.txt", "--questions", "q.txt", "--vocabulary", "5")["questions"]
    assert few["add"]["total"]["asked"] == 1


def test_pictures_and_exports(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["v.txt", "--analogy", "king", "man", "woman", "--picture", "p.svg", "--export", "tb"]
    shown = asked(capsys, *words)
    assert "p.svg" in shown
    drawn = Path("p.svg").read_text(encoding="utf-8")
    assert all(f"<!-- {word} -->" in drawn for word in ("king", "man", "queen", "woman"))
    names = Path("tb/metadata.tsv").read_text(encoding="utf-8").split()
    assert names == "the man king woman queen table".split()
    asked(capsys, "v.txt", "king", "--picture", "one.svg", "--count", "2")
    assert "<!-- queen -->" in Path("one.svg").read_text(encoding="utf-8")


def test_an_analogy_without_any_other_word_is_drawn(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("three.txt").write_text("3 2\nking 1 0\nman 0 1\nwoman 1 1\n", encoding="utf-8")
    shown = asked(capsys, "three.txt", "--analogy", "king", "man", "woman", "--picture", "t.svg")
    assert "t.svg" in shown


def test_a_runs_own_table(run: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = asked(capsys, run, "--analogy", "king", "man", "woman", "--expect", "queen")
    assert "rank of queen: " in shown
    ranks = found(capsys, run, "--analogy", "king", "man", "woman", "--expect", "queen")
    first = [each["left_out"] for each in ranks["analogy"]["ranks"].values()] == [1, 1]
    assert first or "small language model seldom solve analogies" in " ".join(shown.split())
    assert "has no word 'kingdom' (" in refused(capsys, run, "kingdom")


def test_only_training_needs_gensim_and_says_how_to_install_it(
    run: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gensim", None)
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    words = "king --analogy king man woman --expect queen --questions q.txt".split()
    for source in (run, "v.txt"):
        assert "king - man + woman" in asked(capsys, source, *words)
    Path("s.txt").write_text("the king\n", encoding="utf-8")
    assert "the same" in asked(capsys, run, "I love AI", "--sentences", "s.txt")
    message = refused(capsys, "train", "--data", "v.txt", "--out", "t.vec")
    assert "wordorder words train needs gensim: pip install 'wordorder[words]'" in message
    with pytest.raises(BadInput, match=r"Vectors.keyed needs gensim: pip install 'wordorder\[wo"):
        open_vectors("v.txt").keyed()


def test_sentences(run: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.txt").write_text("the king\nI love AI\nthe man\n", encoding="utf-8")
    both = found(capsys, run, "I love AI", "--sentences", "s.txt")
    assert both["other"] == "AI love I"
    assert both["apart"]["words"]["relative"] < 1e-5 < 1e-2 < both["apart"]["last"]["relative"]
    assert all(near[0]["word"] == "I love AI" for near in both["nearest"].values())
    shown = asked(capsys, run, "I love AI", "--sentences", "s.txt")
    assert "the same" in shown and "not the same" in shown


def test_a_table_is_trained_and_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    words = ["train", "--data", "text.txt.gz", "--out", "t.bin", "--dimensions", "8"]
    shown = found(capsys, *words, "--threads", "1")
    assert shown["out"] == "t.bin" and shown["words"] == 9
    assert "already exists: replace it with --overwrite" in refused(capsys, *words)
    assert asked(capsys, *words, "--overwrite").startswith("t.bin: 9 words of 8 numbers")
    assert found(capsys, "t.bin", "king")["dimensions"] == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.vec", "king"], "nothing.vec does not exist: give a run folder or a file"),
        (["v.txt", "kin"], "v.txt has no word 'kin': did you mean 'king'?"),
        (["v.txt", "--analogy", "king", "man"], "--analogy has 2 words: give three"),
        (["v.txt", "--analogy", "king man woman"], "--analogy has 1 word: give three"),
        (["v.txt", "--expect", "queen"], "--expect needs a WORD or --analogy"),
        (["v.txt", "--count", "0", "king"], "--count is 0: it must be at least 1"),
        (["v.txt", "--questions", "v.txt"], "v.txt, line 1: 2 words, but a question has 4"),
        (["v.txt", "--picture", "p.png"], "--picture needs at least two words"),
        (["v.txt", "a b", "--sentences", "q.txt"], "--sentences needs a run"),
        (["broken.txt", "a"], "broken.txt, line 3: a word and 1 number, but line 1 announces 2"),
        (["v.txt", "--countt", "3"], "did you mean --count?"),
        (["."], "is not a run: it has none of a run's files, such as config.json"),
        (["train", "--data", "v.txt", "--out", "no/v.txt"], "the folder no does not exist"),
        (["train", "--data", "v.txt", "--out", "t.txt", "--epochs", "0"], "--epochs is 0"),
    ],
)
def test_what_cannot_be_asked(
    here: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.txt").write_text("2 2\na 1 2\nb 1\n", encoding="utf-8")
    line = refused(capsys, *words)
    assert line.startswith("error: ") and said in line


def test_sentences_of_a_run_that_cannot_be_compared(
    run: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no arguments were given" in refused(capsys, run, "--sentences", "q.txt")
    assert "no such file: none.txt" in refused(capsys, run, "I am", "--sentences", "none.txt")


def test_a_file_of_vectors_is_asked_without_torch(here: Path) -> None:
    code = (
        "import sys; from wordorder.cli.main import main; "
        "assert main(['words', 'v.txt', 'king', '--questions', 'q.txt']) == 0; "
        "assert 'torch' not in sys.modules, 'torch is imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "queen" in done.stdout and done.stderr == ""
