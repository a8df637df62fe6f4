"""How large a model and how much dropout a text and a time deserve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import wordorder as wo
from wordorder.cli.options.train import read_options
from wordorder.model import PRESETS, ModelConfig, make_model
from wordorder.training import preparation
from wordorder.training.config import TrainConfig
from wordorder.training.display import Display
from wordorder.training.size import (
    FEWEST_TOKENS,
    WORTHWHILE_PASSES,
    as_preset,
    choose_preset,
    dropout_for,
    layer_weights,
    operations_per_token,
    with_dropout,
)
from wordorder.training.tokenized_text import TrainingData


class Store:
    """A text of 1,000 tokens."""

    bytes, targets = 3_900, 1_000

    def __len__(self) -> int:
        return self.targets


TINY = TrainConfig(model=ModelConfig(**PRESETS["tiny"]))
MUCH_TEXT = 10**9


def chosen(seconds: float, text_tokens: int = MUCH_TEXT, per_token: float = 1e-4) -> str:
    return choose_preset(
        TINY, text_tokens=text_tokens, seconds=seconds, seconds_per_token=per_token
    )


def test_more_time_more_text_and_a_faster_machine_deserve_a_larger_model() -> None:
    names = list(PRESETS)
    for sizes in (
        [names.index(chosen(10.0**n)) for n in range(7)],
        [names.index(chosen(1e6, text_tokens=10**n)) for n in range(2, 9)],
        [names.index(chosen(100, per_token=10.0**-n)) for n in range(2, 9)],
    ):
        assert sizes == sorted(sizes)
        assert sizes[0] == 0 and sizes[-1] == len(names) - 1


@pytest.mark.parametrize("name", list(PRESETS)[1:])
def test_a_preset_is_chosen_from_its_number_of_tokens_on(name: str) -> None:
    """Of tokens that it would read itself, of which more than five passes do not count."""
    cost = operations_per_token(as_preset(TINY.model, name)) / operations_per_token(TINY.model)
    seconds = FEWEST_TOKENS[name] * 1e-4 * cost
    smaller = list(PRESETS)[: list(PRESETS).index(name)]
    assert chosen(1.01 * seconds) == name
    assert chosen(0.99 * seconds) in smaller
    text = FEWEST_TOKENS[name] / WORTHWHILE_PASSES
    assert chosen(10 * seconds, text_tokens=int(0.99 * text)) != name


def test_operations_are_six_for_each_weight_and_those_of_attention() -> None:
    config = ModelConfig(vocabulary_size=96, width=32, layers=2, heads=4, trained_length=16)
    model = make_model(config)
    counts = model.parameter_counts()
    attention = 2 * 6 * 32 * 16  # layers, per query and key: half of 2 * 3 * 2 products
    assert operations_per_token(config) == 6 * (counts["matrices"] + 96 * 32) + attention


def test_dropout_grows_with_the_passes_and_none_is_needed_for_new_text() -> None:
    found = [
        dropout_for(passes, token_bytes=3.9, weights_per_token=3.0)
        for passes in (0.1, 1, 2, 5, 8, 100)
    ]
    assert found[0] == 0
    assert found == sorted(found) and len(set(found)) >= 3
    assert max(found) < 0.5


def test_characters_need_dropout_later_than_tokens_of_bpe() -> None:
    """With .8 weights a character, 2 passes: .15 of dropout cost .07 nats (evidence/)."""
    of_characters = {"token_bytes": 1.0, "weights_per_token": 0.8}
    assert [dropout_for(passes, **of_characters) for passes in (2.0, 16.0)] == [0.0, 0.0]
    assert dropout_for(17.0, **of_characters) == 0.3
    assert dropout_for(2.0, token_bytes=1.0, weights_per_token=3.2) == 0.0
    assert dropout_for(2.0, token_bytes=1.0, weights_per_token=20.0) == 0.1


def text_of(tokens: int, token_bytes: float) -> TrainingData:
    """Return training data with this many tokens of this mean length."""
    store = SimpleNamespace(targets=tokens, bytes=int(tokens * token_bytes))
    read = TINY.batch_size * TINY.model.trained_length
    batches = SimpleNamespace(epoch=lambda number: number * read / tokens)
    text = SimpleNamespace(training=store, batches=lambda config: batches)
    return cast(TrainingData, text)


def test_a_dropout_that_is_asked_for_stays() -> None:
    asked = replace(TINY, model=replace(TINY.model, dropout=0.07))
    assert with_dropout(asked, text_of(1000, 3.9), 50) is asked


@pytest.mark.parametrize(("token_bytes", "dropout"), [(3.9, 0.2), (1.0, 0.0)])
def test_steps_become_passes_and_weights_by_the_text(token_bytes: float, dropout: float) -> None:
    text = text_of(1_000_000, token_bytes)
    steps = 4_000_000 // TINY.tokens_per_step
    assert layer_weights(TINY.model) * 4 / 1_000_000 < 13
    assert with_dropout(TINY, text, steps).model.dropout == dropout
    twice = replace(TINY, accumulate=2)
    assert with_dropout(twice, text, steps // 2).model.dropout == dropout


def test_a_run_has_the_dropout_of_its_passes(tmp_path: Path) -> None:
    """In its record and in its model alike, so that it is resumed with the same."""
    text = tmp_path / "text.txt"
    text.write_text("the cat saw the key and went home again. " * 20, encoding="utf-8")
    model = wo.ModelConfig(width=16, layers=1, heads=2, trained_length=8)
    for steps, passes in ((2, "few"), (16, "many")):
        run = wo.train(
            wo.TrainConfig(
                model=model,
                data=(str(text),),
                tokenizer="bytes",
                steps=steps,
                batch_size=4 if passes == "few" else 64,
                dtype="float32",
                kernel="plain",
                threads=1,
                out=str(tmp_path / passes),
            )
        )
        record = json.loads((run.folder / "config.json").read_text())
        weights = layer_weights(model) / record["data"]["training_tokens"]
        passes = record["plan"]["epochs"]
        expected = dropout_for(passes, token_bytes=1.0, weights_per_token=weights)
        assert record["model"]["dropout"] == expected
        assert run.model.blocks[0].dropout.share == expected
    assert expected > 0


@pytest.mark.parametrize(
    ("budget", "likely", "anew"), [(30.0, "nano", 1), (180.0, "mini", 1), (1000.0, "mini", 2)]
)
@pytest.mark.parametrize("name", ["nano", "mini"])
def test_the_likely_size_is_measured_and_another_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, name: str, budget: float, likely: str, anew: int
) -> None:
    """A run that may repay compiling is compiled at the size that it takes, not before."""
    tried: list[TrainConfig] = []

    def prepared(config: TrainConfig, *rest: object) -> SimpleNamespace:
        tried.append(config)
        plan = SimpleNamespace(timing=SimpleNamespace(step_seconds=0.1))
        return SimpleNamespace(config=config, plan=plan)

    monkeypatch.setattr(preparation, "_prepare", prepared)
    monkeypatch.setattr(preparation, "choose_preset", lambda config, **figures: name)
    training_data = SimpleNamespace(training_stores=(Store(),), training=Store())
    config = replace(TINY, auto_size=True, time=f"{budget:g}s")
    found = preparation.prepare(config, training_data, 0.0, Display())  # type: ignore[arg-type]
    assert (found.config.model.width, found.config.compile) == (PRESETS[name]["width"], "auto")
    assert found.config.model.trained_length == 256
    assert tried[0].model.width == PRESETS[likely]["width"]
    assert len(tried) == (anew if name == likely else 2)
    assert tried[0].compile == ("no" if anew == 2 else "auto")


def test_the_size_stays_where_steps_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[TrainConfig] = []
    monkeypatch.setattr(preparation, "_prepare", lambda config, *rest: tried.append(config))
    config = replace(TINY, auto_size=True, steps=5)
    preparation.prepare(config, SimpleNamespace(), 0.0, Display())  # type: ignore[arg-type]
    assert tried == [config]


def test_the_size_is_left_open_where_nothing_says_it(tmp_path: Path) -> None:
    assert read_options([]).train.auto_size
    assert read_options(["--preset", "auto", "--position", "alibi"]).train.auto_size
    config = tmp_path / "c.yaml"
    config.write_text("layers: 2\n")
    for given in (
        ["--preset", "tiny"],
        ["--width", "96"],
        ["--trained-length=32"],
        ["--config", str(config)],
    ):
        options = read_options(given)
        assert not options.train.auto_size, given
    assert read_options(["--config", str(config)]).train.model.layers == 2
