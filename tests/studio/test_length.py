"""The room Length: losses as `wordorder eval` measures them, their progress and their texts."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from wordorder.evaluation.context import context_losses, context_windows, losses_in_window
from wordorder.extension.with_position import with_position
from wordorder.studio.measuring import measured
from wordorder.studio.opened import OpenRuns
from wordorder.studio.rooms.words import Neighbours

Ask = Callable[..., Any]


def losses(client: TestClient, **question: str) -> list[dict[str, Any]]:
    """The events of a measurement."""
    body = client.get("/api/length/losses", params=question)
    return [json.loads(x[6:]) for x in body.text.splitlines() if x.startswith("data: ")]


def test_losses_by_length_are_those_of_eval(client: TestClient, runs: OpenRuns) -> None:
    *progress, last = losses(client, run="rotary", factor="2")
    curve = last["result"]
    model, (_, store) = runs.run("rotary").model, runs.text("rotary")
    expected = context_losses(model, store, (16, 32, 64, 128), trained_length=64)
    found = [(each["context_length"], each["loss_nats"]) for each in curve["points"]]
    assert found == [(each.context_length, each.loss_nats) for each in expected.lengths]
    assert all(0 <= event["share"] <= 1 for event in progress)
    assert curve["command"].endswith("--context --length 128")
    # The tokens of another tokenizer are longer or shorter: only bytes are the same.
    run, windows = runs.run("rotary"), context_windows(store, 128, trained_length=64)
    size = run.tokenizer.token_bytes(windows.tokens[:, -windows.targets :].flatten().tolist())
    assert [each["bits_per_byte"] for each in curve["points"]] == pytest.approx(
        [each["loss_nats"] / math.log(2) * curve["targets"] / size for each in curve["points"]]
    )
    assert curve["tokenizer"] == run.tokenizer.content_hash
    again = losses(client, run="rotary", factor="2")
    assert again[-1]["result"] == curve and len(again) <= len(progress) + 1


def test_methods_of_extension_are_measured_on_the_same_targets(
    client: TestClient, ask: Ask, runs: OpenRuns
) -> None:
    names = [each["name"] for each in ask("/api/length/methods", run="rotary")]
    assert "yarn" in names and not {"longrope", "drop", "unchanged"} & set(names)
    assert [each["name"] for each in ask("/api/length/methods", run="learned")] == ["resample"]
    curve = losses(client, run="learned", factor="2", method="resample")[-1]["result"]
    longer = with_position(runs.run("learned").model, "learned:length=128", 128)
    _, store = runs.text("learned")
    expected = context_losses(longer, store, (64, 128), trained_length=64)
    assert [each["loss_nats"] for each in curve["points"]] == [
        each.loss_nats for each in expected.lengths
    ]
    plain = losses(client, run="learned", factor="2")[-1]["result"]["points"][-1]
    assert plain["loss_nats"] is None and "position" in plain["cannot"]


def test_what_cannot_be_measured_is_said(client: TestClient) -> None:
    assert "predicts masked tokens" in losses(client, run="masked")[-1]["problem"]
    assert "does not apply" in losses(client, run="gru", method="yarn")[-1]["problem"]
    assert "no run" in losses(client, run="nothing")[-1]["problem"]
    assert losses(client, run="gru", factor="2")[-1]["result"]["position"] == "GRU"


def test_a_measurement_ends_when_nobody_waits_for_it(runs: OpenRuns) -> None:
    reports, ended = [], threading.Event()

    def measure(progress: Callable[[float], None]) -> Neighbours:
        try:
            while True:
                progress(0.5)
                reports.append(1)
        finally:
            ended.set()

    events = measured(runs, measure)
    assert next(events).share in (0.0, 0.5)
    events.close()  # type: ignore[attr-defined]
    assert ended.wait(20)


def test_a_text_is_read_as_it_was_measured(ask: Ask, runs: OpenRuns) -> None:
    question = {"run": "rotary", "factor": "2", "context_length": 128, "window": 2}
    answer = ask("/api/length/text", **question)
    _, store = runs.text("rotary")
    windows = context_windows(store, 128, trained_length=64)
    assert answer["windows"] == len(windows) and len(answer["tokens"]) == windows.targets == 32
    expected = losses_in_window(runs.run("rotary").model, windows, 128, 2)
    assert answer["loss_nats"] == pytest.approx(float(expected.mean()))
    chances = [each["probability"] for each in answer["tokens"]]
    assert chances == pytest.approx(expected.neg().exp().tolist())
    written = "".join(each["text"] for each in answer["tokens"])
    assert written == runs.run("rotary").tokenizer.decode(windows.tokens[2, -32:].tolist())
    short = ask("/api/length/text", **{**question, "context_length": 16})
    assert len(short["before"]) <= 16 and short["loss_nats"] != answer["loss_nats"]


def test_where_eval_cannot_read_whole_windows_it_is_python_that_is_shown(
    client: TestClient,
) -> None:
    curve = losses(client, run="learned", factor="4")[-1]["result"]
    assert any(point["cannot"] for point in curve["points"])
    assert "context_losses" in curve["command"]
