"""What is not typed: from a first run, whose embedding may have to be written out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from wordorder.cli import run_options
from wordorder.model import ModelConfig


@pytest.mark.parametrize(
    ("typed", "position"),
    [
        ([], "rotary+t5"),
        (["--trained-length", "64"], "rotary+t5"),
        (["--trained-length=256"], "rotary:base=1250+t5:max_distance=16"),
    ],
)
def test_a_run_begun_from_another_keeps_what_followed_from_its_length(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], position: str
) -> None:
    first = ModelConfig(position="rotary+t5", trained_length=64, width=32, heads=4).resolved
    made = SimpleNamespace(load=lambda folder, trust: SimpleNamespace(model_config=first))
    monkeypatch.setattr("wordorder.training.run.Run", made)
    options = run_options.defaults(["--init", "first", *typed]).run
    assert options.model.position == position
    assert (options.model.width, options.model.heads) == (32, 4)
