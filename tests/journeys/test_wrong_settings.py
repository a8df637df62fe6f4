"""Settings that cannot be: refused by the command line, a YAML file and Python alike, in one line.

A run that was there before, which --overwrite was to replace, is there afterwards to the byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import wordorder as wo
from wordorder.cli.config_file import read_config_file
from wordorder.cli.main import main
from wordorder.cli.options.train import read_options
from wordorder.errors import BadInput
from wordorder.training import preconditions
from wordorder.training.config import from_mapping, seconds

SMALL = (
    "--data text.txt --width 32 --layers 1 --heads 2 --trained-length 16 --batch-size 2 --steps 2 "
    "--dtype float32 --kernel plain --compile no --threads 1"
).split()
INFINITE = float("inf")
# A field, a value that it cannot have, and what is allowed.
WRONG: list[tuple[str, Any, str]] = [
    ("norm", "foo", "it must be rms or layer"),
    ("schedule", "linear", "it must be warmup-stable-decay or cosine"),
    ("model", "lstm", "it must be transformer or gru"),
    ("objective", "next", "it must be next-token or masked-token"),
    ("device", "gpu", "it must be auto, cpu, cuda or mps"),
    ("dtype", "float16", "it must be auto, float32 or bfloat16"),
    ("clip", -1, "it must be at least 0"),
    ("learning_rate", -0.1, "it must be at least 0"),
    ("matrix_learning_rate", -1, "it must be at least 0"),
    ("weight_decay", -1, "it must be at least 0"),
    ("warmup", 5, "it must be from 0 to 1"),
    ("decay", 3, "it must be from 0 to 1"),
    ("momentum", 1, "it must be at least 0 and below 1"),
    ("dropout", 1.5, "it must be at least 0 and below 1"),
    ("validation_fraction", 0, "it must be above 0 and below 1"),
    ("development_fraction", 1, "it must be at least 0 and below 1"),
    ("steps", 0, "it must be at least 1"),
    ("steps", 1.5, "it must be a whole number, at least 1"),
    ("tokens", -5, "it must be at least 1"),
    ("batch_size", 0, "it must be at least 1"),
    ("accumulate", 10**9, "it must be at most 65,536"),
    ("threads", -1, "it must be at least 0"),
    ("threads", 10**6, "it must be at most 1,024"),
    ("seed", -1, "it must be at least 0"),
    ("seed", 10**30, "it must be at most 9,223,372,036,854,775,807"),
    ("evaluate_every", -1, "it must be at least 0"),
    ("checkpoint_every", -1, "it must be at least 0"),
    ("vocabulary_size", 10**12, "it must be at most 10,000,000"),
    ("width", 10**11, "it must be at most 1,048,576"),
    ("layers", 10**6, "it must be at most 1,000"),
    ("heads", 0, "it must be at least 1"),
    ("trained_length", 0, "it must be at least 1"),
    ("windows", -4, "it must be at least 0"),
    ("embedding_scale", -1, "it must be at least 0"),
    ("norm_epsilon", 0, "it must be above 0"),
    ("time", "soon", "it must be a duration such as 90s, 3m, 1.5h, 1h30m or 90"),
    ("time", "0s", "it must be a duration"),
    *((name, float("nan"), "finite") for name in ("learning_rate", "clip", "warmup", "dropout")),
    *((name, INFINITE, "finite") for name in ("learning_rate", "clip", "weight_decay", "decay")),
    *((name, INFINITE, "it must be a whole number") for name in ("steps", "seed", "width")),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, and one run of it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "text.txt").write_text("a small text of words in order. " * 40, encoding="utf-8")
    small = [str(folder / "text.txt") if word == "text.txt" else word for word in SMALL]
    assert main(["train", *small, "--tokenizer", "bytes", "--out", str(folder / "r")]) == 0
    return folder


Refused = Callable[..., str]


@pytest.fixture
def refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Return a function that trains over a run, and returns the error; the run is as it was."""
    monkeypatch.chdir(finished)
    before = contents(finished / "r")

    def train(*words: str, base: Sequence[str] = (*SMALL, "--tokenizer", "bytes")) -> str:
        assert main(["train", *base, *words, "--out", "r", "--overwrite"]) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("error: ")
        assert contents(finished / "r") == before
        return line.removeprefix("error: ")

    return train


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def typed(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_a_value_that_cannot_be(
    refused: Refused, tmp_path: Path, name: str, value: Any, allowed: str
) -> None:
    line = refused(f"{typed(name)}={value}")
    assert line.startswith(f"{typed(name)} is ") and allowed in line

    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump({name: value}), encoding="utf-8")
    line = refused("--config", str(file))
    assert line.startswith(f"{name} in {file} is ") and allowed in line

    field = "kind" if name == "model" else name
    model = {f.name for f in fields(wo.ModelConfig)}
    kind = wo.ModelConfig if field in model else wo.TrainConfig
    with pytest.raises(BadInput) as caught:
        kind(**{field: value})
    line = str(caught.value)
    assert line.startswith(f"{field} is ") and allowed in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate: [1, 2]", "learning_rate in c.yaml is [1, 2]: it must be a finite number"),
        ("learning_rate:", "learning_rate in c.yaml is null: it must be a finite number"),
        ("learning_rate: true", "learning_rate in c.yaml is true: it must be a finite number"),
        ("learning_rate: .nan", "learning_rate in c.yaml is nan: it must be a finite number"),
        ("steps: 2026-10-31", "steps in c.yaml is datetime.date(2026, 10, 31): it must be a whole"),
        ("steps: true", "steps in c.yaml is true: it must be a whole number"),
        ("steps: {of: 3}", "steps in c.yaml is {'of': 3}: it must be a whole number"),
        ("muon: 1", "muon in c.yaml is 1: it must be true or false"),
        ("muon: perhaps", "muon in c.yaml is perhaps: it must be true or false"),
        ("windows: [4, x]", "windows in c.yaml is [4, 'x']: it must be a list, each a whole"),
        ("out: 7", "out in c.yaml is 7: it must be text (in quotes in YAML)"),
        ("sample_prompt: no", "sample_prompt in c.yaml is false: it must be text"),
        ('out: "a\\0b"', "it must be text without null bytes"),
        ("learning_rte: 1", "unknown option 'learning_rte': did you mean learning_rate?"),
        ("seed: 190:20:30", "seed in c.yaml is '190:20:30': it must be a whole number"),
        ("clip: 1:30.5", "clip in c.yaml is '1:30.5': it must be a finite number"),
        ("seed: 2\n<<: {steps: 3}", "--config c.yaml, line 2: the merge key << has no use"),
        ("zzzzz: 1", "unknown option 'zzzzz': wordorder train --help lists them"),
        ("auto_size: true", "auto_size in c.yaml: this command has no such option"),
        ("preset: huge", "preset in the --config file is huge: it must be auto or one of nano"),
        ("preset: [nano]", "preset in the --config file is ['nano']"),
        ("3: 4", "the key 3 is not an option name"),
        ("steps: 2\nsteps: 3", "steps is repeated"),
        ("batch-size: 2\nbatch_size: 3", "sets batch_size twice"),
        ("- steps", "must set options by name"),
        ("", "must set options by name"),
        ("steps", "must set options by name"),
        ("steps: [", "is not valid YAML"),
        ("steps: 2026-13-45", "is not valid YAML"),
        ("steps: !!bool maybe", "is not valid YAML"),
        ("steps: !!timestamp soon", "is not valid YAML"),
        ("a: &a [*a]\nsteps: *a", "is not valid YAML"),
        ("!!python/object:os.system {}", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
        ("steps: &a [1]\nwindows: &b [*a, *a]\n", "steps in c.yaml is [1]: it must be a whole"),
    ],
)
def test_a_file_that_cannot_be(refused: Refused, finished: Path, text: str, said: str) -> None:
    (finished / "c.yaml").write_text(text, encoding="utf-8")
    assert said in refused("--config", "c.yaml", base=SMALL)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("010", 10), ("08", 8), ("-010", -10), ("0o10", 8), ("0x10", 16), ("0b11", 3), ("+3", 3)),
        *(("1_000", 1000), ("0", 0), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1.0e3", 1000.0)),
        *(("1e-3", "1e-3"), ("1e3", "1e3"), ("190:20:30", "190:20:30"), ("on", True)),
        *(("no", False), ("yes", True), ("'010'", "010"), ("~", None), (".inf", math.inf)),
    ],
)
def test_numbers_of_a_file_are_those_of_yaml_1_2(tmp_path: Path, text: str, number: Any) -> None:
    (tmp_path / "c.yaml").write_text(f"value: {text}\n", encoding="utf-8")
    value = read_config_file(str(tmp_path / "c.yaml"))["value"]
    assert value == number and type(value) is type(number)


def test_what_yaml_reads_otherwise_is_taken_as_it_was_meant() -> None:
    values = yaml.safe_load(
        "learning_rate: 1e-3\nsteps: 1e3\nmuon: 'no'\ncompile: no\nwindows: 64\ndata: a.txt\n"
        "out: None\ntensorboard: 'True'\n"
    )
    assert values["learning_rate"] == "1e-3" and values["compile"] is False
    config = from_mapping(values)
    assert (config.learning_rate, config.steps, config.muon) == (1e-3, 1000, False)
    assert (config.compile, config.model.windows, config.data) == ("no", (64,), ("a.txt",))
    assert config.out is None and config.tensorboard is True
    assert seconds(from_mapping({"time": 90}).time or "") == 90
    assert wo.TrainConfig(data="a.txt", learning_rate="1e-3").learning_rate == 1e-3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--model gru --isolate-documents", "not possible with a GRU"),
        (
            "--model gru --no-causal",
            "so it is always causal: leave out --no-causal",
        ),
        (
            "--model gru --no-causal --objective masked-token",
            "a GRU processes tokens from left to right",
        ),
        (
            "--model gru --position alibi",
            "--position is an option of transformers, but --model is gru",
        ),
        ("--model gru --windows 4", "--windows is an option of transformers"),
        ("--model gru --preset gpt2-nano", "but --model is gru: use --preset nano"),
        ("--model gru --embedding-norm", "--embedding-norm is an option of transformers"),
        ("--max-restarts 3", "add --ranks 2 or more, or leave it out"),
        (
            "--vocabulary-size 300",
            "--vocabulary-size has an effect only with --tokenizer bpe, not bytes",
        ),
        ("--no-muon --momentum 0.9", "--momentum is an option of Muon, which --no-muon disables"),
        ("--schedule cosine --decay 0.3", "--decay is an option of warmup-stable-decay"),
        ("--development-fraction 0 --keep best", "--keep best needs a development text"),
        ("--inexact", "--inexact has an effect only with --resume"),
        (
            "--validation-data t --validation-fraction 0.2",
            "--validation-fraction has no effect with --validation-data",
        ),
        ("--find-learning-rate --max-restarts 3", "leave out --max-restarts"),
        ("--init r", "(bytes, 257 tokens): leave out --tokenizer"),
        ("--init r --vocabulary-size 257", "leave out --tokenizer and --vocabulary-size, or train"),
        ("--steps 2 --time 3s", "--time and --steps both set the length"),
        ("--data t", "--data is given twice: give all of its values after one"),
    ],
)
def test_options_of_which_one_would_be_overruled(refused: Refused, words: str, said: str) -> None:
    assert said in refused(*words.split())


def test_data_without_a_name_is_no_text(refused: Refused) -> None:
    assert "data is empty" in refused("--data", base=SMALL[2:])


def test_what_shows_only_in_the_middle_of_a_run_is_found_before(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    characters = [*SMALL, "--tokenizer", "characters"]
    line = refused("--sample-prompt", "é", base=characters)
    assert line.startswith("--sample-prompt: character 'é' (U+00E9) at offset 0 is not among")
    line = refused("--position", "learned:length=16", "--sample-prompt", "a" * 30)
    assert line.startswith("--sample-prompt has 31 tokens") and "has positions for" in line
    blind = ["--no-causal", "--objective", "masked-token", "--sample-prompt", "a"]
    assert refused(*blind).endswith("generates no samples: leave it out")
    monkeypatch.setattr(preconditions, "find_spec", lambda name: None)
    assert "pip install 'wordorder[tensorboard]'" in refused("--tensorboard")


def test_what_is_typed_wins_over_the_file(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    text = "preset: nano\nwidth: 33\nmodel: gru\ntime: 1h\nobjective: masked-token\n"
    Path("c.yaml").write_text(text, encoding="utf-8")
    words = "--config c.yaml --preset mini --model transformer --heads 3 --no-causal --steps 2"
    options = read_options(words.split())
    run = options.train
    assert (options.preset, run.model.layers, run.model.width) == ("mini", 6, 33)
    assert (run.time, run.steps, run.model.causal) == (None, 2, False)


def test_python_is_told_of_a_tokenizer_that_is_overruled(finished: Path) -> None:
    model = wo.ModelConfig(width=32, layers=1, heads=2, trained_length=16)
    asked = {"model": model, "data": (str(finished / "text.txt"),), "steps": 1}
    out = str(finished / "of-python")
    with pytest.raises(BadInput, match=r"\(bytes, 257 tokens\): leave out --tokenizer"):
        wo.train(wo.TrainConfig(**asked, init=str(finished / "r"), tokenizer="characters", out=out))
    with pytest.raises(BadInput, match="vocabulary_size is 300, but the tokenizer bytes has 257"):
        model = replace(model, vocabulary_size=300)
        wo.train(wo.TrainConfig(**{**asked, "model": model}, tokenizer="bytes", out=out))
    assert not Path(out).exists()


def test_what_is_recorded_is_the_tokenizer_that_was_used(finished: Path) -> None:
    small = [word for word in SMALL if word != "text.txt"]
    small.insert(1, str(finished / "text.txt"))
    again = ["--init", str(finished / "r"), "--out", str(finished / "again")]
    assert main(["train", *small, *again]) == 0
    assert wo.load(finished / "again").config["training"]["tokenizer"] == "bytes"
