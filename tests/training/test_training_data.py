"""What is fitted is fitted on the training part, and a run's record says how its text was split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training.conftest import TinyRun

from wordorder.errors import BadInput, Refused
from wordorder.model import ModelConfig
from wordorder.text.load import load_corpus
from wordorder.text.split import split_corpus
from wordorder.text.tokenizer import make_tokenizer
from wordorder.training.config import TrainConfig
from wordorder.training.metrics import read
from wordorder.training.run import Run
from wordorder.training.run_text import text_of
from wordorder.training.start import resume, train
from wordorder.training.training_data import (
    TrainingData,
    held_out_rows,
    notes_on_text,
    read_training_data,
    split_warning,
    with_steps,
)

TINY = ModelConfig(position="none", width=16, layers=1, heads=2, trained_length=16)
WORDS = ("sea", "bee", "sees", "the", "finds", "carries", "boat", "and", "aunt", "king")


def sentences(count: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, 12)) + f" {n}." for n in range(count)]


def written(folder: Path, *texts: str) -> tuple[str, ...]:
    """One file of each text."""
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"{number:02}.txt").write_text(text, encoding="utf-8")
    return (str(folder),)


def config_of(data: tuple[str, ...], **given: object) -> TrainConfig:
    return TrainConfig(TINY, data=data, **{"steps": 3, **given})  # type: ignore[arg-type]


def spelled(training_data: TrainingData, part: str) -> str:
    return training_data.tokenizer.decode(getattr(training_data, part).tokens.tolist())


def test_a_run_holds_out_the_files_that_it_is_given(tmp_path: Path) -> None:
    own, other, third = (written(tmp_path / str(n), "\n".join(sentences(40, n))) for n in range(3))
    config = config_of(own, validation_data=other, development_data=third, out=str(tmp_path / "r"))
    run = train(config)
    material = read_training_data(config, run.tokenizer)
    parts = {"training": own, "validation": other, "development": third}
    for part, data in parts.items():
        assert load_corpus(data).documents[0].text in spelled(material, part)
    _, store = text_of(run, (), "text")
    assert store.tokens.tolist() == material.validation.tokens.tolist()
    assert TrainConfig.from_dict(config.to_dict(), TINY) == config
    short = written(tmp_path / "short", "a few")
    with pytest.raises(BadInput) as caught:
        read_training_data(replace(config, development_data=short))
    assert caught.value.code == "training.part-too-short" and "development" in str(caught.value)
    with pytest.raises(BadInput) as caught:
        replace(config, data=(f"{own[0]}=0.5", f"{other[0]}=0.5"))
    assert caught.value.code == "training.held-out-data-of-mixture"


@pytest.mark.parametrize("documents", [1, 3, 40])
def test_bpe_learns_from_the_training_part_alone(tmp_path: Path, documents: int) -> None:
    texts = ["\n".join(sentences(40, seed)) for seed in range(documents)]
    config = config_of(written(tmp_path / "text", *texts))
    training_data, corpus = read_training_data(config), load_corpus(config.data)
    training = split_corpus(corpus, 0.1, 0.04).training
    learnt = [make_tokenizer("bpe", part, 4096).content_hash for part in (training, corpus)]
    assert training_data.tokenizer.content_hash == learnt[0] != learnt[1]
    assert training_data.facts["fitted_on"] == "merges learnt from the training text alone"


def test_merges_do_not_change_when_the_held_out_text_does(tmp_path: Path) -> None:
    lines = sentences(200)
    config = config_of(written(tmp_path / "text", "\n".join(lines)))
    before = read_training_data(config)
    held = len("\n".join(lines)) * 14 // 100 - 1
    written(tmp_path / "text", "\n".join(lines)[:-held] + ("zyzzyva " * held)[:held])
    after = read_training_data(config)
    assert spelled(after, "validation") != spelled(before, "validation")
    assert after.tokenizer.content_hash == before.tokenizer.content_hash
    assert after.training.tokens.tolist() == before.training.tokens.tolist()


def test_the_alphabet_of_characters_is_that_of_the_whole_text(tmp_path: Path) -> None:
    lines = sentences(200)
    data = written(tmp_path / "text", "\n".join(lines) + "ẞ")
    training_data = read_training_data(config_of(data, tokenizer="characters"))
    assert spelled(training_data, "validation").endswith("ẞ")
    assert "ẞ" not in spelled(training_data, "training")
    assert training_data.facts["fitted_on"] == "the alphabet of the whole text"


def test_parts_are_those_of_the_split(tmp_path: Path) -> None:
    texts = ["\n".join(sentences(40, seed)) for seed in range(3)]
    training_data = read_training_data(config_of(written(tmp_path / "text", *texts)))
    for part, (begin, end) in {
        "training": (0, 0.86),
        "development": (0.86, 0.9),
        "validation": (0.9, 1),
    }.items():
        pieces = [text[int(len(text) * begin) : int(len(text) * end)] for text in texts]
        assert spelled(training_data, part) == "".join(pieces)
        store = getattr(training_data, part)
        assert store.bytes == sum(len(piece.encode()) for piece in pieces)
        assert training_data.facts[f"{part}_tokens"] == len(store)
    assert training_data.facts["split"]["documents"] == {
        **dict.fromkeys(("all", "different", "training", "development", "validation"), 3)
    }
    said = dict(held_out_rows(training_data.facts))
    assert said["validation"].startswith("the last 10% of each of 3 documents")
    assert "the 4% before that" in said["development"]


def test_no_development_part(tmp_path: Path) -> None:
    data = written(tmp_path / "text", "\n".join(sentences(200)))
    training_data = read_training_data(config_of(data, development_fraction=0.0))
    assert training_data.development is None
    assert dict(held_out_rows(training_data.facts))["development"] == "none: nothing is chosen"


def test_a_development_part_shorter_than_a_context_is_trained_on(tmp_path: Path) -> None:
    data = written(tmp_path / "text", "\n".join(sentences(12)))
    training_data = read_training_data(config_of(data, tokenizer="bytes"))
    assert training_data.development is not None
    config = config_of(data, tokenizer="bytes")
    short = read_training_data(replace(config, model=replace(TINY, trained_length=40)))
    assert short.development is None
    assert len(short.training) > len(training_data.training)
    assert short.facts["split"]["development_fraction"] == 0
    assert short.facts["notes"] == [
        "4% of the text is shorter than one context of 40 tokens, so there is no development part "
        "and nothing is chosen"
    ]


def test_too_little_text_says_what_was_dropped(tmp_path: Path) -> None:
    data = written(tmp_path / "text", *["one short line"] * 30)
    with pytest.raises(BadInput, match=r"29 of 30 documents repeat .* dropped\): give more text"):
        read_training_data(config_of(data))


def test_a_configuration_checks_its_fractions() -> None:
    with pytest.raises(BadInput, match="leave no text to train on"):
        TrainConfig(TINY, validation_fraction=0.5, development_fraction=0.6)


def test_a_record_without_a_development_fraction_has_none() -> None:
    values = TrainConfig(TINY).to_dict()
    assert TrainConfig.from_dict(values, TINY).development_fraction == 0.04
    del values["development_fraction"]
    assert TrainConfig.from_dict(values, TINY).development_fraction == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    texts = ["\n".join(sentences(60, seed)) for seed in range(3)]
    data = written(folder / "text", *texts)
    given = {"dtype": "float32", "kernel": "plain", "compile": "no", "evaluate_every": 1}
    return train(config_of(data, out=str(folder / "run"), **given))


def test_only_the_last_line_is_of_the_validation_text(run: Run) -> None:
    validations = [r for r in read(run.folder / "metrics.jsonl") if "validation_loss" in r]
    assert [r["text"] for r in validations] == [*["development"] * 3, "validation"]
    assert validations[-1]["final"]
    facts = run.config["data"]
    assert validations[0]["validation_tokens"] == facts["development_tokens"]
    assert validations[-1]["validation_tokens"] == facts["validation_tokens"]


def changed(run: Run, folder: Path, **split: object) -> Run:
    """A copy of a run, recorded with another split, or with none."""
    shutil.copytree(run.folder, folder)
    record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if split:
        record["data"]["split"].update(split)
    else:
        del record["data"]["split"]
        del record["training"]["development_fraction"]
        record["data"]["validation_tokens"] += 1
    (folder / "config.json").write_text(json.dumps(record), encoding="utf-8")
    return Run.load(folder)


@pytest.mark.parametrize("split", [{}, {"version": 1}])
def test_a_run_that_was_split_otherwise(run: Run, tmp_path: Path, split: dict) -> None:
    old = changed(run, tmp_path / "old", **split)
    with pytest.raises(Refused, match=r"another split of its text .* add --inexact"):
        resume(old.folder)
    with pytest.raises(BadInput, match=r"another split of its text .* with --data"):
        text_of(old, (), "text")
    assert text_of(old, run.config["training"]["data"], "text")[1].bytes
    assert old.generate("the", max_tokens=2).startswith("the")
    resume(old.folder, inexact=True)


def test_the_text_that_a_run_held_out(run: Run) -> None:
    name, store = text_of(run, (), "text")
    assert name.endswith("(validation)")
    assert len(store) == run.config["data"]["validation_tokens"]
    resume(run.folder)


def test_a_model_that_read_what_is_held_out_now_is_warned_of() -> None:
    facts = {"name": "my.txt", "content_hash": "a", "split": {"version": 2}}
    assert split_warning(facts, facts) == ""
    assert split_warning({"name": "other.txt", "content_hash": "b"}, facts) == ""
    changed = split_warning({**facts, "content_hash": "b"}, facts)
    assert changed.startswith("my.txt has changed since the model was trained on it")
    for recorded in ({"content_hash": "a"}, {"content_hash": "a", "split": {"version": 1}}):
        assert "the text held out now was trained on" in split_warning(recorded, facts)


@pytest.mark.parametrize(
    ("before", "now", "noted"),
    [
        ("unknown", "python-docs", True),
        ("my.txt", "python-docs", True),
        ("python-docs", "python-docs", False),
        ("unknown", "my.txt", False),
    ],
)
def test_a_model_of_other_text_is_not_silently_trained_on_the_built_in_one(
    before: str, now: str, noted: bool
) -> None:
    record = {"name": before, "content_hash": before, "split": {}}
    notes = notes_on_text(record, {"name": now, "content_hash": now, "split": {}})
    assert ["give it with --data" in note for note in notes] == [True] * noted


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("epochs", [0.3, 1.0, 2.5, 1e-9])
def test_epochs_are_rounded_up_to_whole_steps(
    tiny: Callable[..., TinyRun], epochs: float, accumulate: int
) -> None:
    run = tiny("run", epochs=epochs, accumulate=accumulate)
    config = with_steps(run.config, run.training_data)
    read = run.training_data.batches(config).epoch
    assert config.epochs is None and config.steps is not None
    assert read((config.steps - 1) * accumulate) < epochs <= read(config.steps * accumulate) + 1e-9
    assert with_steps(config, run.training_data) is config
