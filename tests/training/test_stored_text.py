"""A run on a store is the run on its text in memory: weights, resuming, evaluation, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_config import small_config

from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.model import ModelConfig
from wordorder.text.sharded.array import ShardedArray
from wordorder.text.sharded.folder import open_sharded
from wordorder.text.sharded.prepare import StoreConfig, prepare
from wordorder.training.config import TrainConfig
from wordorder.training.follower import _described, _store
from wordorder.training.metrics import read
from wordorder.training.run import Run
from wordorder.training.run_text import text_of
from wordorder.training.start import resume, train
from wordorder.training.training import Training
from wordorder.training.training_data import read_training_data


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    documents = (f"{n} bees see {7 * n % 31} seas, and the sea sees bees. " * 3 for n in range(60))
    path.write_text("\f".join(documents), encoding="utf-8")
    return path


def stored(text: Path, name: str = "store", **options: Any) -> Path:
    folder = text.with_name(name)
    config = StoreConfig((str(text),), **{"tokenizer": "bytes", "chunk_bytes": 2000, **options})
    prepare(folder, config)
    return folder


def same(one: Run, other: Run) -> bool:
    first, second = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def losses(run: Run) -> list[dict[str, Any]]:
    names = ("loss", "validation_loss", "validation_bits_per_byte", "epoch")
    return [{k: v for k, v in r.items() if k in names} for r in read(run.folder / "metrics.jsonl")]


@pytest.mark.parametrize("options", [{}, {"isolate_documents": True}, {"tokenizer": "bpe"}])
def test_trains_as_from_memory(text: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    config = replace(small_config(text, tmp_path / "memory"), steps=6, **options)
    config = replace(config, model=replace(config.model, vocabulary_size=300)) if (
        config.tokenizer == "bpe"
    ) else config  # fmt: skip
    store = stored(text, tokenizer=config.tokenizer, vocabulary_size=300)
    one = train(config)
    other = train(replace(config, data=(str(store),), out=str(tmp_path / "disk")))
    assert same(one, other) and losses(one) == losses(other)
    assert isinstance(read_training_data(replace(config, data=(str(store),))).training.tokens,
                      ShardedArray)  # fmt: skip
    facts = [run.config["data"] for run in (one, other)]
    assert facts[1] == {**facts[0], "name": facts[1]["name"]}


def test_resumes_to_the_bit(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(small_config(stored(text), tmp_path / "whole"), steps=6, checkpoint_every=2)
    whole = train(config)
    step = Training.step

    def killed(self: Training) -> dict[str, Any]:
        if self.done == 5 and (tmp_path / "killed" / "training").exists():  # not while timing
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(replace(config, out=str(tmp_path / "killed")))
    assert same(whole, resume(tmp_path / "killed"))


@pytest.mark.slow
def test_its_validation_text_is_evaluated(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = stored(text)
    memory = train(small_config(text, tmp_path / "memory"))
    run = train(small_config(store, tmp_path / "run"))
    expected = text_of(memory, (), "text")[1]
    for data in ((), (str(store),)):
        name, tokens = text_of(Run.load(run.folder), data, "text")
        assert name.endswith("text.txt (validation)")
        assert np.array_equal(tokens.tokens, expected.tokens)
    for words in (["eval"], ["eval", "--data", str(store)], ["probe", "--only", "order"]):
        assert main([words[0], str(run.folder), *words[1:], "--json"]) == 0
    capsys.readouterr()
    other = train(replace(small_config(text, tmp_path / "other"), tokenizer="characters"))
    with pytest.raises(BadInput) as caught:
        text_of(other, (str(store),), "text")
    assert caught.value.code == "training.store-of-other-tokenizer"


def test_conversations_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    rows = ({"prompt": f"{n}?", "answer": f"{7 * n % 31} bees."} for n in range(80))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    config = replace(small_config(path, tmp_path / "memory"), tokenizer="bytes")
    config = replace(config, model=replace(config.model, trained_length=64))
    store = stored(path, chat_template="plain")
    one = train(config)
    other = train(replace(config, data=(str(store),), out=str(tmp_path / "disk")))
    assert same(one, other) and losses(one) == losses(other)
    for change in ({"chat_template": "chatml"}, {"objective": "masked-token"}):
        if "objective" in change:
            change["model"] = replace(config.model, causal=False)
        with pytest.raises(BadInput) as caught:
            read_training_data(replace(config, data=(str(store),), **change))
        assert caught.value.code in ("training.store-other-template", "training.chat-objective")


def test_stores_are_parts_of_a_mixture(text: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("0123456789 " * 300, encoding="utf-8")
    first, second = stored(text), stored(other, "second")
    config = replace(small_config(text, tmp_path / "a"), steps=4, batch_size=4)
    texts = train(replace(config, data=(f"{text}=3", f"{other}=1")))
    for out, data in {"b": (first, second), "c": (first, other), "d": (text, second)}.items():
        names = tuple(f"{name}={weight}" for name, weight in zip(data, (3, 1), strict=True))
        run = train(replace(config, data=names, out=str(tmp_path / out)))
        assert same(texts, run)
    assert run.config["data"]["split"]["rule"] == "parts"
    mixed = (f"{first}=1", f"{stored(other, 'third', tokenizer='characters')}=1")
    with pytest.raises(BadInput) as caught:
        read_training_data(replace(config, data=mixed, tokenizer="bpe"))
    assert caught.value.code == "training.store-other-tokenizer"


def test_a_vocabulary_of_another_size_than_the_stores_has_a_note(
    text: Path, tmp_path: Path
) -> None:
    store = stored(text, tokenizer="bpe", vocabulary_size=300)
    config = replace(small_config(store, tmp_path / "a"), tokenizer="bpe")

    def notes(size: int, data: str) -> list[str]:
        model = replace(config.model, vocabulary_size=size)
        return read_training_data(replace(config, model=model, data=(data,))).facts["notes"]

    for data in (str(store), f"{store}=1"):
        assert "--vocabulary-size 280 has no effect" in " ".join(notes(280, data))
        for size in (300, ModelConfig.vocabulary_size):
            assert "--vocabulary-size" not in " ".join(notes(size, data))


def test_masked_tokens_need_no_other_store(text: Path, tmp_path: Path) -> None:
    config = small_config(text, tmp_path / "a")
    model = replace(config.model, causal=False, position="learned")
    config = replace(config, model=model, objective="masked-token")
    one = train(config)
    other = train(replace(config, data=(str(stored(text)),), out=str(tmp_path / "b")))
    assert same(one, other) and same(other, resume(other.folder))
    text_of(other, (str(text.with_name("store")),), "text")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"validation_fraction": 0.2}, "training.store-other-split"),
    ({"tokenizer": "characters"}, "training.store-other-kind"),
    ({"more": "text.txt"}, "training.store-and-text"),
    ({"trained_length": 4000}, "training.part-too-short"),
    ({"chat_template": "chatml"}, "text.chat-template-without-chats"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "code"), REFUSED)
def test_other_options_are_refused(
    text: Path, tmp_path: Path, options: dict[str, Any], code: str
) -> None:
    store = stored(text)
    config = small_config(store, tmp_path / "run")
    values = dict(options)
    if "more" in values:
        values["data"] = (str(store), str(tmp_path / values.pop("more")))
    if "trained_length" in values:
        values["model"] = replace(config.model, trained_length=values.pop("trained_length"))
    with pytest.raises(BadInput) as caught:
        read_training_data(replace(config, **values))
    assert caught.value.code == code


def test_another_tokenizer_is_refused(text: Path, tmp_path: Path) -> None:
    store = stored(text)
    run = train(replace(small_config(text, tmp_path / "run"), tokenizer="characters"))
    config = small_config(store, tmp_path / "other")
    with pytest.raises(BadInput) as caught:
        train(replace(config, tokenizer="bpe", init=str(run.folder)))
    assert caught.value.code == "training.store-other-tokenizer"
    with pytest.raises(BadInput) as caught:
        read_training_data(replace(config, tokenizer=str(run.folder / "tokenizer.json")))
    assert caught.value.code == "training.store-other-tokenizer-option"
    again = stored(text, "again", tokenizer=str(run.folder))
    train(replace(config, data=(str(again),), tokenizer="bpe", init=str(run.folder)))


def test_a_short_development_part_chooses_nothing(text: Path, tmp_path: Path) -> None:
    store = stored(text, development_fraction=0.001)
    config = small_config(store, tmp_path / "run")
    data = read_training_data(replace(config, model=replace(config.model, trained_length=200)))
    assert data.development is None and "nothing is chosen" in data.facts["notes"][-1]


def test_a_follower_opens_the_same_store(text: Path, tmp_path: Path) -> None:
    data = read_training_data(small_config(stored(text), tmp_path / "run"))
    fields = _described(data.training)
    opened = _store(fields, {}, data.tokenizer)
    assert np.array_equal(opened.tokens, data.training.tokens)
    other = stored(text, "other", tokenizer="characters")
    for folder in (str(tmp_path / "nowhere"), str(other)):
        with pytest.raises(BadInput) as caught:
            _store({**fields, "folder": folder}, {}, data.tokenizer)
        assert caught.value.code == "training.rank-other-store"


def test_a_store_from_the_command_line(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["data", "text.txt", "--store", "store", "--tokenizer", "bytes", "--processes", "1"]
    assert main(words) == 0
    output = capsys.readouterr()
    assert "reading" in output.err and "next: wordorder train --data store" in output.err
    assert "shards: 1" in output.out and "60" in output.out
    assert main(["data", "store", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert main(["data", "text.txt", "--tokenizer", "bytes", "--json"]) == 0
    memory = json.loads(capsys.readouterr().out)
    for name in ("content_hash", "documents", "bytes", "tokens", "split_rule", "tokenizer"):
        assert facts[name] == memory[name], name
    assert main(words) == 0  # nothing is left to do
    index = open_sharded("store").index
    assert index["config"]["data"] == [str(text)]
    wrong = {
        "other options": ["data", "text.txt", "--store", "store"],
        "an option of a store": ["data", "store", "--tokenizer", "bytes"],
        "two": ["data", "store", "text.txt"],
        "processes alone": ["data", "text.txt", "--processes", "2"],
        "weights": ["data", "text.txt=1", "--store", "mixture"],
        "no conversations": ["data", "text.txt", "--chat-template", "chatml"],
        "a folder of a user": ["data", "text.txt", "--store", "."],
    }
    capsys.readouterr()
    for what, line in wrong.items():
        assert main(line) == 2, what
        assert capsys.readouterr().err.count("\n") == 1, what


def test_the_parts_of_a_mixture_are_described(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.txt").write_text("0123456789 " * 300, encoding="utf-8")
    data = [f"{text}=3", f"{tmp_path / 'other.txt'}=1"]
    assert main(["data", *data, "--json", "--vocabulary-size", "300"]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert [part["weight"] for part in parts] == [0.75, 0.25]
    config = TrainConfig(data=tuple(data))
    config = replace(config, model=replace(config.model, vocabulary_size=300, trained_length=16))
    recorded = read_training_data(config).facts["parts"]
    for part, record in zip(parts, recorded, strict=True):
        assert part["split"]["training"]["tokens"] == record["training_tokens"]
    assert main(["data", *data]) == 0
    assert "(25.0% of the tokens trained on)" in " ".join(capsys.readouterr().out.split())
