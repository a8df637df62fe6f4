"""The model card and the plot say which text each held-out loss is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.axes import Axes

from wordorder.training.report import draw_losses, held_out_losses, model_card, text_in_words, write

CONFIG: dict[str, Any] = {
    "wordorder": "0",
    "steps": 40,
    "model": {
        "kind": "transformer",
        "position": "rotary",
        "layers": 1,
        "width": 16,
        "heads": 2,
        "feed_forward": "gelu",
        "feed_forward_width": 64,
        "trained_length": 32,
        "vocabulary_size": 300,
    },
    "data": {
        "name": "my.txt",
        "documents": 1,
        "bytes": 9000,
        "training_tokens": 8000,
        "validation_tokens": 900,
        "tokenizer": "bytes",
    },
    "plan": {"steps": 4, "parameters": {"position": 0, "total": 5000}, "epochs": 2.0},
    "machine": {
        "device": "cpu",
        "threads": 1,
        "dtype": "float32",
        "kernel": "plain",
        "compile": False,
        "torch": "2",
    },
    "training": {"seed": 0},
    "command": "",
}


def held_out(step: int, loss: float, tokens: int, **more: Any) -> dict[str, Any]:
    return {
        "step": step,
        "validation_loss": loss,
        "validation_standard_error": 0.1,
        "validation_bits_per_byte": 2.0,
        "validation_tokens": tokens,
        **more,
    }


def records(**first: Any) -> list[dict[str, Any]]:
    steps = [
        {"step": n, "loss": 3.0, "bits_per_byte": 2.0, "tokens": 64 * n, "seconds": 0.1 * n}
        for n in range(1, 41)
    ]
    return [
        *steps,
        held_out(20, 3.1, 100, **first),
        held_out(40, 2.9, 100, **first),
        held_out(40, 3.6, 900, final=True, text="validation", validation_degrees_of_freedom=3.0),
    ]


def test_each_text_is_named_with_how_much_of_it_was_read() -> None:
    assert list(held_out_losses(records(text="development"))) == [
        "development text, 100 tokens, while training",
        "validation text, 900 tokens, at the end",
    ]
    assert text_in_words(held_out(1, 3.0, 1)) == "validation text, 1 token, while training"


def test_the_card_gives_an_interval_where_its_freedom_is_known() -> None:
    card = model_card("mine", CONFIG, records(text="development"))
    # Student's t with 3 degrees of freedom is 3.182.
    assert "| loss on validation text, 900 tokens, at the end | 3.6000 ± 0.3182 (95%" in card
    assert "| loss on development text, 100 tokens, while training | 2.9000 nats per" in card
    assert "my.txt: 1 document, 9,000 bytes" in card


def test_a_sample_says_which_weights_wrote_it(tmp_path: Path) -> None:
    sampled = records()
    sampled.insert(3, {"step": 4, "sample": "one\n"})
    sampled[-1] |= {"sample": "two", "step": 20}
    assert "A sample after step 20, of the saved weights:\n\n> two" in model_card(
        "r", CONFIG, sampled
    )
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    for record, whose in (({}, ""), ({"best_averaged": True}, "averaged ")):
        sampled[-1] |= record
        lines = "".join(f"{json.dumps(each)}\n" for each in sampled)
        (tmp_path / "metrics.jsonl").write_text(lines, encoding="utf-8")
        write(tmp_path)
        assert (tmp_path / "samples.txt").read_text(encoding="utf-8") == (
            f"--- after step 4\none\n\n--- after step 20, of the saved {whose}weights\ntwo\n\n"
        )
    assert "A sample after step 4:\n\n> one" in model_card("r", CONFIG, sampled[:-1])


def test_a_name_of_data_stays_in_its_cell_of_the_card() -> None:
    config = {**CONFIG, "data": {**CONFIG["data"], "name": "a|b\nc.txt"}}
    assert r"| data | a\|b c.txt: " in model_card("mine", config, records(text="development"))


def test_the_plot_joins_points_of_one_text_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matplotlib.use("agg")
    drawn: dict[str, list[float]] = {}
    plot = Axes.plot

    def recorded(axes: Axes, *given: Any, **options: Any) -> Any:
        drawn[options.get("label", "")] = list(given[1])
        return plot(axes, *given, **options)

    monkeypatch.setattr(Axes, "plot", recorded)
    draw_losses(tmp_path / "loss.png", CONFIG, records())
    assert drawn["validation text, 100 tokens, while training"] == [3.1, 2.9]
    assert drawn["validation text, 900 tokens, at the end"] == [3.6]
