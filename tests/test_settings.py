"""The table of settings: what each kind of annotation takes, and what it says of the rest."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Gt, Interval

from wordorder.cli.main import COMMANDS, main, options_module
from wordorder.settings import (
    LARGEST,
    Device,
    Duration,
    NotNegative,
    Positive,
    Rate,
    Share,
    Spelled,
    TokenCount,
    WrongSetting,
    check,
    checked,
)

Limits = Ge | Gt | Interval | Spelled
YesOrNo = Literal["auto", "yes", "no"]


@pytest.mark.parametrize(
    ("hint", "value", "fitted"),
    [
        (Positive, "32", 32),
        (Positive, "1e3", 1000),
        (Positive, 8.0, 8),
        (TokenCount, "2.5M", 2_500_000),
        (TokenCount, "1.1K", 1_100),
        (TokenCount, 300, 300),
        (NotNegative, 1_700_000_000_000, 1_700_000_000_000),
        (Rate, "1e-3", 1e-3),
        (Rate, 1, 1.0),
        (Share | None, None, None),
        (Share | None, "None", None),
        (Duration, 90, "90"),
        (Duration, 1.5, "1.5"),
        (Duration, "1.5h", "1.5h"),
        (bool, "no", False),
        (bool, "True", True),
        (YesOrNo, False, "no"),
        (YesOrNo, True, "yes"),
        (tuple[Positive, ...], [4, "5"], (4, 5)),
        (tuple[str, ...], "a.txt", ("a.txt",)),
        (str, Path("a") / "b", "a/b"),
        (Device, "cuda:1", "cuda:1"),
    ],
)
def test_a_value_that_means_one_of_the_type_is_taken(hint: Any, value: Any, fitted: Any) -> None:
    result = checked("x", hint, value)
    assert result == fitted and type(result) is type(fitted)


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (Positive, 0, "x is 0: it must be at least 1"),
        (Positive, True, "x is true: it must be a whole number, at least 1"),
        (Positive, "two", "x is two: it must be a whole number, at least 1"),
        (Positive, None, "x is null: it must be a whole number, at least 1"),
        (Positive, {"a": 1}, "x is {'a': 1}: it must be a whole number, at least 1"),
        (TokenCount, "2X", "x is 2X: it must be a whole number such as 500K or 10M, at least 1"),
        (TokenCount, "1.0001K", "x is 1.0001K: it must be a whole number such as 500K or 10M"),
        (TokenCount, "0K", "x is 0K: it must be at least 1"),
        (Positive, "1K", "x is 1K: it must be a whole number, at least 1"),
        (Positive, LARGEST + 1, f"x is {LARGEST + 1}: it must be at most {LARGEST:,}"),
        (Rate, float("nan"), "x is nan: it must be a finite number, at least 0"),
        (Rate, -0.5, "x is -0.5: it must be at least 0"),
        (Share, 2, "x is 2: it must be from 0 to 1"),
        (Annotated[float, Gt(0)], 0, "x is 0: it must be above 0"),
        (Annotated[int, Interval(ge=1, le=5000)], 0, "x is 0: it must be at least 1"),
        (Annotated[int, Interval(ge=1, le=5000)], 9999, "x is 9999: it must be at most 5,000"),
        (bool, 1, "x is 1: it must be true or false"),
        (YesOrNo, "maybe", "x is maybe: it must be auto, yes or no"),
        (YesOrNo, ["yes"], "x is ['yes']: it must be auto, yes or no"),
        (
            Duration,
            "0m",
            "x is 0m: it must be a duration such as 90s, 3m, 1.5h, 1h30m or 90",
        ),
        *(
            (Duration, text, "it must be a duration such as 90s")
            for text in ("", "m", "30m1h", "1h30", "1h1h", "0h0m", "1m30x", "1 30m", "-1m")
        ),
        (Duration, "9" * 400, "it must be a duration such as 90s, 3m, 1.5h, 1h30m or 90 (seconds)"),
        (Device, "gpu", "x is gpu: it must be auto, cpu, cuda, cuda:1 or mps"),
        (str, 7, "x is 7: it must be text (in quotes in YAML)"),
        (tuple[Positive, ...], (4, -1), "x is [4, -1]: it must be a list, each at least 1"),
    ],
)
def test_any_other_value_is_refused(hint: Any, value: Any, message: str) -> None:
    with pytest.raises(WrongSetting) as caught:
        checked("x", hint, value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_number_that_python_does_not_write_is_refused_by_its_size() -> None:
    with pytest.raises(WrongSetting, match="x is a number of 16,610 bits: it must be at most"):
        checked("x", Positive, 10**5000)


def test_a_dataclass_holds_what_its_annotations_say() -> None:
    @dataclass(frozen=True)
    class Inner:
        rate: Rate = 1.0

    Inner.__module__ = __name__
    globals()["Inner"] = Inner
    inner = Inner("0.5")  # type: ignore[arg-type]
    check(inner)
    assert inner.rate == 0.5
    with pytest.raises(WrongSetting, match="rate is -1"):
        check(Inner(-1))


def options_of_commands() -> list[type]:
    """Every dataclass that a command reads its options into."""
    modules = [
        import_module(options_module(name)) for name in COMMANDS if name not in ("words", "data")
    ]
    modules += [import_module(f"wordorder.cli.{name}") for name in ("words", "data")]
    return [
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, is_dataclass)
        if kind.__module__ == module.__name__ and not kind.__name__.startswith("_")
    ]


def without_limits(hint: Any) -> set[Any]:
    """The types of an annotation that nothing limits."""
    if get_origin(hint) is Annotated and any(isinstance(m, Limits) for m in hint.__metadata__):
        return set()
    return {hint}.union(*map(without_limits, get_args(hint)))


@pytest.mark.parametrize("kind", options_of_commands(), ids=lambda kind: kind.__qualname__)
def test_every_number_of_a_command_has_a_range(kind: type) -> None:
    hints = get_type_hints(kind, include_extras=True)
    for name in (field.name for field in fields(kind)):
        bare = without_limits(hints[name])
        assert not bare & {int, float}, f"{kind.__name__}.{name} has no range"
        assert name not in ("device", "time", "budget") or str not in bare


NUMBERS = {
    "generate": "max-tokens count temperature top-k top-p min-p repetition-penalty seed window "
    "sinks",
    "eval": "length stride lengths depths examples seed",
    "extend": "steps tokens time base neighbours rate batch-size seed",
    "probe": "seed",
    "words": "vocabulary count",
    "compare": "seeds lengths processes learning-rate clip seed time",
    "tasks": "seeds steps length",
    "claims": "budget seeds steps",
    "check": "heads",
    "data": "vocabulary-size validation-fraction development-fraction",
}
WORDS = {"words": ["none.txt"], "tasks": [], "claims": [], "compare": [], "data": []}


@pytest.mark.parametrize(
    ("command", "name"), [(c, name) for c, names in NUMBERS.items() for name in names.split()]
)
def test_no_command_takes_a_number_that_cannot_be(
    command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in ("nan", "inf", "-1", "x"):
        assert main([command, *WORDS.get(command, ["none"]), f"--{name}={value}"]) == 2
        line = capsys.readouterr().err.strip()
        assert line.startswith(f"error: --{name} is ") and "it must be" in line
        assert "\n" not in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("eval r --depths 0.5", "--depths needs --retrieval: add it"),
        ("eval r --pack", "--pack needs --context: add it"),
        ("eval r --field story", "--field has an effect only with --data"),
        ("extend r --to 4x --rate 0.1", "--rate needs fine-tuning: add --steps"),
        (
            "extend r --to 4x --method ntk --base 5",
            "--base has an effect only with --method base: leave it out",
        ),
        ("extend r --to 4x --inexact", "--inexact has an effect only with --resume: leave it out"),
        ("extend r --resume --to 4x", "uses the settings of the extension: leave out --to"),
        (
            "data --tokenizer {} --vocabulary-size 300",
            "--vocabulary-size has an effect only with --tokenizer bpe",
        ),
        ("words v.txt a --sentences s.txt --picture p.png", "--picture needs a table of words"),
        ("words v.txt a --include-inputs", "--include-inputs needs --analogy or --questions"),
        ("claims --json --markdown", "--markdown and --json both set the output format"),
        ("compare --keep best", "has no option --keep"),
        ("compare --config c.yaml", "keep in c.yaml: this command has no such option"),
        ("compare --no-muon --momentum 0.9", "--momentum is an option of Muon"),
    ],
)
def test_an_option_that_changes_nothing_is_refused(
    words: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("keep: best\n", encoding="utf-8")
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


PATHS = (
    *("train --data", "train --data c.yaml", "train --validation-data", "train --development-data"),
    *("train --init", "train --resume", "train --out", "train --config", "train --tokenizer"),
    *("train --find-learning-rate --data", "compare --data", "compare --out", "compare --config"),
    *("data", "data --store", "data --tokenizer", "eval", "eval r --data", "eval r --tasks-path"),
    *("generate", "generate r --prompt-file", "probe", "probe r --data", "probe r --pairs"),
    *("extend", "extend r --data", "extend r --out", "extend r --parent", "export r --to hf --out"),
    *("import", "import d --out", "explain", "tasks --out", "studio", "studio --folder"),
    *("claims --data", "claims --words", "claims --languages", "claims --questions"),
    *("claims --out", "words", "words v.txt --questions", "words v.txt --sentences"),
    *("words v.txt --picture", "words v.txt --export", "words train --data"),
)


@pytest.mark.parametrize("typed", PATHS)
def test_an_empty_path_is_not_the_current_folder(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("private: words\n", encoding="utf-8")
    words = typed.split()
    assert main([*words, "", *(["--out", "v"] if "words train" in typed else [])]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and ("'']: it must be " in line or "'': it must be " in line)
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_a_path_of_a_configuration_is_not_empty(tmp_path: Path) -> None:
    from wordorder.training.config import TrainConfig, whole_paths

    for name in ("data", "validation_data"):
        with pytest.raises(WrongSetting, match="it must be a file, a folder, python-docs"):
            TrainConfig(**{name: ("",)})
    assert whole_paths(("",)) == ("",)
    path = tmp_path / "c.yaml"
    path.write_text('out: ""\n', encoding="utf-8")
    assert main(["train", "--config", str(path)]) == 2
