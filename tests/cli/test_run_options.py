"""What is not typed: from a first run, whose embedding may have to be written out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from wordorder.cli import run_options
from wordorder.cli.options import compare
from wordorder.cli.options.train import read_options
from wordorder.errors import BadInput
from wordorder.model import ModelConfig


@pytest.mark.parametrize(
    ("typed", "position"),
    [
        ([], "rotary+t5"),
        (["--trained-length", "64"], "rotary+t5"),
        (["--trained-length=256"], "rotary:base=1250+t5:max_distance=16"),
        (["--trained-length", "2.56e2"], "rotary:base=1250+t5:max_distance=16"),
    ],
)
def test_a_run_begun_from_another_keeps_what_followed_from_its_length(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], position: str
) -> None:
    first = ModelConfig(position="rotary+t5", trained_length=64, width=32, heads=4).resolved
    made = SimpleNamespace(
        load=lambda folder, trust: SimpleNamespace(model_config=first, config={})
    )
    monkeypatch.setattr("wordorder.training.run.Run", made)
    options = run_options.defaults(["--init", "first", *typed]).run
    assert options.model.position == position
    assert (options.model.width, options.model.heads) == (32, 4)


@pytest.mark.parametrize("choice", ["--keep best", "--average ema"])
def test_a_given_development_text_chooses_without_a_share_of_the_text(choice: str) -> None:
    typed = ["--preset", "nano", "--development-fraction", "0", *choice.split()]
    options = read_options([*typed, "--development-data", "b.txt"])
    assert options.train.has_development
    with pytest.raises(BadInput) as caught:
        read_options(typed)
    assert caught.value.code in ("cli.overruled-keep", "training.average-without-choice")


@pytest.mark.parametrize(
    ("read", "option"), [(read_options, "ranks"), (compare.read_options, "seeds")]
)
def test_options_of_the_command_line_alone_are_told_to_be_typed(
    tmp_path: Path, read: Callable[[list[str]], object], option: str
) -> None:
    (tmp_path / "c.yaml").write_text(f"{option}: 2\n", encoding="utf-8")
    with pytest.raises(BadInput, match=f"a file cannot set it, type --{option}") as caught:
        read(["--config", str(tmp_path / "c.yaml")])
    assert caught.value.code == "cli.config-typed-alone"
