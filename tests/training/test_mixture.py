"""Weighted mixtures: exact shares, each text split by itself, each loss reported."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_config import small_config

from wordorder.batch import RowShare
from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.evaluation.loss import evaluate
from wordorder.text.data_names import mixture_of
from wordorder.text.mixture import dealt
from wordorder.training.config import TrainConfig
from wordorder.training.metrics import read
from wordorder.training.run import Run
from wordorder.training.run_text import text_of
from wordorder.training.start import resume, train
from wordorder.training.training import Training
from wordorder.training.training_data import read_text, read_training_data


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "a.txt", tmp_path / "b=2.txt"
    first.write_text("a bee sees the sea and a bee. " * 40, encoding="utf-8")
    second.write_text("0123456789 " * 60, encoding="utf-8")
    return first, second


def config_of(texts: tuple[Path, Path], out: Path, first: Any, second: Any) -> TrainConfig:
    config = small_config(texts[0], out)
    data = tuple(f"{path}={weight}" for path, weight in zip(texts, (first, second), strict=True))
    return replace(config, data=data, steps=6, checkpoint_every=2, batch_size=4)


@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.5, 0.25, 0.25), (1.0, 0.0), (1e-4, 1 - 1e-4)])
def test_rows_are_dealt_in_exact_shares(weights: tuple[float, ...]) -> None:
    part, within = dealt(weights, 0, 1000)
    for number, weight in enumerate(weights):
        own = within[part == number]
        assert own.tolist() == list(range(len(own)))
        counts = np.cumsum(part == number)
        assert np.abs(counts - weight * np.arange(1, 1001)).max() <= 1.01
    for first in (1, 7, 500, 990):
        again = dealt(weights, first, 10)
        assert again[0].tolist() == part[first : first + 10].tolist()
        assert again[1].tolist() == within[first : first + 10].tolist()


@pytest.mark.parametrize("objective", ["next-token", "masked-token"])
def test_a_share_of_a_mixed_batch_is_its_rows(
    texts: tuple[Path, Path], tmp_path: Path, objective: str
) -> None:
    config = config_of(texts, tmp_path / "run", 4, 1)
    model = replace(config.model, causal=objective == "next-token")
    config = replace(config, model=model, objective=objective)
    batches = read_training_data(config).batches(config)
    for index in range(4):
        whole = batches.at(index)
        for rank in range(4):  # some have no row of the second text
            own, targets = batches.share(index, RowShare(rank, 4))
            rows = RowShare(rank, 4).of(whole)
            assert torch.equal(own.tokens, rows.tokens) and torch.equal(own.targets, rows.targets)
            assert targets == int((whole.targets >= 0).sum())


def test_a_batch_has_the_rows_of_each_text(texts: tuple[Path, Path], tmp_path: Path) -> None:
    config = config_of(texts, tmp_path / "run", 3, 1)
    data = read_training_data(config)
    batches = data.batches(config)
    rows = [data.tokenizer.decode(row.tolist()) for n in range(6) for row in batches.at(n).tokens]
    digits = [any(character.isdigit() for character in row) for row in rows]
    assert sum(digits) == 6  # a quarter of 24 rows
    assert all(not any(c.isalpha() for c in row) for row, d in zip(rows, digits, strict=True) if d)
    alone = replace(config, data=(str(texts[0]),))
    first = read_training_data(alone).batches(alone)
    kept = [row for row, is_digits in zip(rows, digits, strict=True) if not is_digits]
    expected = [data.tokenizer.decode(row.tolist()) for n in range(5) for row in first.at(n).tokens]
    assert kept == expected[:18]  # the rows of the text by itself, in their order
    assert batches.epoch(6) == pytest.approx(
        max(18 / first.windows_per_epoch, 6 / data.parts[1].data.batches(config).windows_per_epoch)
    )


def test_documents_held_out_in_one_text_and_trained_on_in_another_have_a_note(
    tmp_path: Path,
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for n in range(40):
        (many / f"{n}.txt").write_text(f"{n} bees see {n * n} seas. " * 9, encoding="utf-8")
    config = replace(small_config(many, tmp_path / "run"), development_fraction=0.0)

    def notes(*names: Path) -> list[str]:
        data = tuple(f"{name}=1" for name in names)
        return read_training_data(replace(config, data=data)).facts["notes"]

    (note,) = notes(many, many / "18.txt")
    assert note.startswith("1 document is in several texts of the mixture, split differently")
    copy = tmp_path / "copy.txt"
    copy.write_bytes((many / "18.txt").read_bytes())
    assert not notes(copy, many / "18.txt")  # held out alike


def test_each_part_is_reported_and_the_loss_is_their_mean(
    texts: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(texts, tmp_path / "run", 3, 1)
    run = train(config)
    final = read(run.folder / "metrics.jsonl")[-1]
    parts = list(final["parts"].values())
    assert list(final["parts"]) == [str(path) for path in texts]
    assert [part["weight"] for part in parts] == [0.75, 0.25]
    mean = sum(part["weight"] * part["validation_loss"] for part in parts)
    assert final["validation_loss"] == pytest.approx(mean)
    data = read_training_data(config, run.tokenizer)
    for part, record in zip(data.parts, parts, strict=True):
        loss = evaluate(run.model, part.data.validation, context_length=16)
        assert record["validation_loss"] == pytest.approx(loss.loss_nats, abs=1e-5)
        assert record["validation_bits_per_byte"] == pytest.approx(loss.bits_per_byte, abs=1e-5)
    assert final["validation_tokens"] == sum(part["validation_tokens"] for part in parts)
    assert math.isfinite(final["validation_standard_error"])
    split = run.config["data"]["split"]
    assert split["rule"] == "parts" and len(split["parts"]) == 2
    _, store = text_of(Run.load(run.folder), (), "text")
    assert len(store) == run.config["data"]["validation_tokens"]
    assert main(["eval", str(run.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == len(store)


def test_a_mixture_resumes_to_the_bit(
    texts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(config_of(texts, tmp_path / "whole", 0.7, 0.3))
    step = Training.step

    def killed(self: Training) -> dict[str, Any]:
        if self.done == 5 and (tmp_path / "killed" / "training").exists():  # not while timing
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config_of(texts, tmp_path / "killed", 0.7, 0.3))
    resumed = resume(tmp_path / "killed")
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (("a.txt=-1", "b=2.txt=1"), "text.wrong-weight"),
        (("a.txt=nan", "b=2.txt=1"), "text.wrong-weight"),
        (("a.txt=0", "b=2.txt=1"), "text.wrong-weight"),
        (("a.txt=1", "b=2.txt"), "text.some-weights"),
        (("=1", "b=2.txt=1"), "text.weight-without-name"),
        (("a.txt=1", "a.txt=2"), "text.repeated-part"),
    ],
)
def test_wrong_weights_are_refused(
    texts: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data: tuple[str, ...],
    code: str,
) -> None:
    monkeypatch.chdir(texts[0].parent)
    with pytest.raises(BadInput) as caught:
        TrainConfig(data=data)
    assert caught.value.code == code
    assert main(["train", "--steps", "1", "--data", *data]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_part_that_does_not_exist_is_named(
    texts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = replace(config_of(texts, tmp_path / "run", 1, 1), data=("a.txt=1", "nothing.txt=1"))
    with pytest.raises(BadInput, match=r"no such file or folder: nothing\.txt;"):
        read_training_data(config)


def test_one_text_is_needed_to_compare(texts: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_text(config_of(texts, tmp_path / "run", 1, 1), command="compare")
    assert caught.value.code == "training.mixture-not-possible"


def test_shares_of_huge_weights_are_shares() -> None:
    assert [part.weight for part in mixture_of(("a=1e308", "b=1e308"))] == [0.5, 0.5]
