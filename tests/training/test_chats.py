"""Runs that train on conversations: which tokens count, and what is recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_config import TEXT, small_config

import wordorder as wo
from wordorder.errors import BadInput
from wordorder.evaluation.loss import evaluate
from wordorder.training.metrics import read
from wordorder.training.run_text import text_of
from wordorder.training.start import resume, train
from wordorder.training.training_data import read_text, read_training_data


def pairs(folder: Path, count: int = 24) -> Path:
    path = folder / "pairs.jsonl"
    rows = ({"prompt": f"{n} bees", "answer": f"see {7 * n % 31}"} for n in range(count))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def messages(folder: Path, count: int = 24) -> Path:
    path = folder / "chats.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for n in range(count):
            turns = (("user", f"{n}?"), ("assistant", f"{n}.")) * (1 + n % 2)
            row = {"messages": [{"role": role, "content": content} for role, content in turns]}
            file.write(f"{json.dumps(row)}\n")
    return path


def config_of(data: Path, out: Path, **options: Any) -> wo.TrainConfig:
    config = small_config(data, out)
    model = replace(config.model, trained_length=48)
    return replace(config, model=model, steps=4, checkpoint_every=2, **options)


def test_answers_alone_are_trained_on_and_counted(tmp_path: Path) -> None:
    run = train(config_of(messages(tmp_path), tmp_path / "run"))
    assert run.chat is not None and run.chat["template"] == "chatml"
    assert run.tokenizer.vocabulary_size == 256 + 3
    name, store = text_of(run, (), "text")
    assert store.answers is not None and "validation" in name
    loss = evaluate(run.model, store, context_length=48)
    assert loss.answers_only and loss.tokens == store.targets and loss.bytes == store.bytes
    final = read(run.folder / "metrics.jsonl")[-1]
    assert final["validation_tokens"] == store.targets
    assert final["validation_loss"] == pytest.approx(loss.loss_nats, abs=1e-4)
    chat = run.config["data"]["chat"]
    assert 0 < chat["answer_tokens"] < run.config["data"]["training_tokens"]
    sampled = next(r["sample"] for r in read(run.folder / "metrics.jsonl") if "sample" in r)
    assert sampled.startswith("user\n")


def test_losses_of_answers_are_those_of_each_conversation_alone(tmp_path: Path) -> None:
    run = train(config_of(messages(tmp_path), tmp_path / "run"))
    _, store = text_of(run, (), "text")
    assert store.answers is not None
    packed = evaluate(run.model, store, context_length=48)
    total = 0.0
    for start, size in zip(store.starts, store.sizes, strict=True):
        ids = store.tokens[start : start + size].astype("int64")
        read_ids = torch.tensor([[store.end_of_text, *ids[:-1]]])
        targets = torch.from_numpy(ids).where(
            torch.from_numpy(store.answers[start : start + size]), -1
        )
        with torch.no_grad():
            total += float(run.model(wo.Batch(read_ids, targets[None])).sum())
    assert packed.loss_nats * packed.tokens == pytest.approx(total, rel=1e-5)


def test_a_run_on_conversations_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(config_of(pairs(tmp_path), tmp_path / "whole"))
    from wordorder.training.training import Training

    step = Training.step

    def killed(self: Training) -> dict[str, Any]:
        if self.done == 3 and (tmp_path / "killed" / "training").exists():  # not while timing
            raise KeyboardInterrupt
        return step(self)

    config = config_of(pairs(tmp_path), tmp_path / "killed")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    resumed = resume(tmp_path / "killed")
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("tied", [True, False])
def test_fine_tuning_adds_the_tokens_of_the_template(tmp_path: Path, tied: bool) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    config = small_config(text, tmp_path / "first")
    model = replace(config.model, tied_embeddings=tied, trained_length=48)
    first = train(replace(config, model=model))
    config = config_of(messages(tmp_path), tmp_path / "second", init=str(first.folder))
    second = train(replace(config, model=model, steps=1, learning_rate=0.0))
    assert second.tokenizer.encode("a small") == first.tokenizer.encode("a small")
    assert second.model_config.vocabulary_size == first.model_config.vocabulary_size + 2
    before, after = first.model.state_dict(), second.model.state_dict()
    table = before["embedding.weight"]
    assert torch.equal(after["embedding.weight"][:257], table)
    assert torch.allclose(after["embedding.weight"][257:], table.mean(0).expand(2, -1))
    third = train(
        replace(
            config_of(pairs(tmp_path), tmp_path / "third"), model=model, init=str(second.folder)
        )
    )
    assert third.chat == {**third.config["data"]["chat"]} and third.chat["template"] == "chatml"
    assert third.model_config.vocabulary_size == second.model_config.vocabulary_size


def test_long_conversations_are_counted_in_a_note(tmp_path: Path) -> None:
    config = config_of(pairs(tmp_path), tmp_path / "run")
    short = replace(config, model=replace(config.model, trained_length=12))
    notes = read_training_data(short).facts["notes"]
    assert any("of 24 conversations are longer than one context of 12 tokens" in n for n in notes)
    short = replace(config, model=replace(config.model, trained_length=6))
    with pytest.raises(BadInput) as caught:
        read_training_data(short)
    assert caught.value.code == "training.no-answer-in-context"


def test_options_that_do_not_go_with_conversations_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    config = config_of(pairs(tmp_path), tmp_path / "run")
    masked = replace(config.model, causal=False)
    gru = replace(config.model, kind="gru")
    for wrong, code in (
        (replace(config, model=masked, objective="masked-token"), "training.chat-objective"),
        (replace(config, model=gru), "training.chat-gru"),
        (replace(config, chat_template="tokenizer"), "text.chat-no-template"),
        (
            replace(config, data=(str(text),), chat_template="chatml"),
            "text.chat-template-without-chats",
        ),
    ):
        with pytest.raises(BadInput) as caught:
            read_training_data(wrong)
        assert caught.value.code == code
    with pytest.raises(BadInput) as caught:
        read_text(config, command="compare")
    assert caught.value.code == "training.text-needed"
