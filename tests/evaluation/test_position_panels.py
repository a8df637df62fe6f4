"""The panels of every embedding: which there are, that they hold numbers, and that all is whole."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mechanisms import each

from wordorder import drawing
from wordorder.evaluation.position_panels import PositionPanels, panels_of, panels_of_spec
from wordorder.model import LanguageModel, ModelConfig, make_model
from wordorder.panels import QUIET, Field, Lines, look_of
from wordorder.positions import CATALOGUE, parse

OF_CONTENT = ("key-offset", "repo")
NOT_OF_POSITIONS = "it is not a function of positions alone"
MODEL = ModelConfig(width=32, layers=2, heads=2, trained_length=32)
EXPECTED = {
    "none": "",
    "sinusoidal": "table similarity attention",
    "learned": "table similarity attention",
    "rotary": "turning product attention",
    "xpos": "turning product attention",
    "axial": "turning product attention",
    "pope": "turning product attention",
    "selective": "product attention",
    "self-extend": "turning distances attention",
    "log-temperature": "temperature",
    "inkling": "bias attention",
    "key-offset": "",
    "fope": "product attention",
    "grape": "product attention",
    "repo": "",
    "coupled": "sampled",
    "stick-breaking": "attention",
    "shaw": "vectors-keys bias attention",
    "shaw-values": "vectors-keys vectors-values",
    "randomized": "sampled",
    "offset": "sampled",
    "cope": "counted",
    "dape": "attention",
    "path": "attention",
    "rotary:scaling=yarn,factor=4": "turning product attention",
    "learned+alibi": "table similarity bias attention",
    "offset+sinusoidal": "sampled table similarity attention",
    "rotary/none": "turning product attention",
    "alibi/dape": "bias attention attention",
    **dict.fromkeys(
        "alibi t5 kerple fire sandwich relative forgetting deberta transformer-xl".split(),
        "bias attention",
    ),
}


def drawn(text: str, model: ModelConfig = MODEL) -> PositionPanels:
    return panels_of_spec(text, model)


def trained(text: str) -> PositionPanels:
    """The panels of a model whose weights are all larger than its initial ones."""
    config = replace(MODEL, position=text)
    first, model = make_model(config), make_model(config)
    assert isinstance(first, LanguageModel) and isinstance(model, LanguageModel)
    for one in (first, model):
        one.initialise(3)
    with torch.no_grad():
        for parameter in model.position.parameters():
            parameter.mul_(2).add_(0.1)
    return panels_of(parse(text), model.position, first.position)


def test_the_whole_catalogue_is_expected_here() -> None:
    assert set(CATALOGUE) <= set(EXPECTED)


@pytest.mark.parametrize("text", EXPECTED)
def test_every_embedding_has_its_panels_with_numbers(text: str) -> None:
    result = drawn(text)
    assert [panel.name for panel in result.panels] == EXPECTED[text].split()
    reasons = {"none": "it adds nothing to a model", **dict.fromkeys(OF_CONTENT, NOT_OF_POSITIONS)}
    assert result.not_drawn == {name: why for name, why in reasons.items() if name in text}
    for panel in result.panels:
        if isinstance(panel, Field):
            values = [number for row in panel.values for number in row]
        else:
            assert isinstance(panel, Lines)
            values = [y for line in panel.lines for _, y in line.points]
        assert len(values) > 16 and all(math.isfinite(value) for value in values)
        assert len(set(values)) > 3


# One for each kind and number of panels, and those with the longest words.
LAID_OUT = {"shaw-values", "self-extend", "log-temperature", "t5", "offset+sinusoidal"}
LAID_OUT |= {"rotary:scaling=yarn,factor=4", "alibi/dape"}


@pytest.mark.parametrize("text", each(filter(EXPECTED.get, EXPECTED), LAID_OUT))
def test_all_text_is_inside_the_frame(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(drawing, "save", lambda figure, *_, **__: figures.append(figure))
    drawing.save_panels(Path("x.png"), [drawn(text).panels], title=text, width=5.6)
    (figure,) = figures
    figure.draw_without_rendering()
    box, frame = figure.get_tightbbox(), figure.bbox_inches
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 + 0.01
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert all(axes.has_data() for axes in panels)
    boxes = sorted((axes.get_tightbbox() for axes in panels), key=lambda box: -box.y1)
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))


def test_the_trained_length_is_marked() -> None:
    for text in ("sinusoidal", "rotary", "alibi"):
        for panel in drawn(text).panels[:2]:
            if panel.name != "attention":
                assert panel.past.value == 32 and "trained length" in panel.past.label
    assert all(panel.past is None for panel in drawn("learned").panels)  # its table ends there
    assert drawn("rotary:scaling=yarn,factor=4").panels[0].x_range == (0, 127)
    assert drawn("rotary").panels[0].x_range == (0, 63)


def test_a_dot_marks_the_first_turn_of_a_pair() -> None:
    turning = drawn("rotary:base=100").panels[0]
    turns = [2 * math.pi * 100 ** (i / 8) for i in range(8)]
    expected = [(math.ceil(turn), i) for i, turn in enumerate(turns) if turn <= 63]
    assert list(turning.marks) == expected
    assert turning.values[1][7] == pytest.approx(7 / turns[1] % 1)


def test_a_scaled_rotary_stands_beside_the_unscaled() -> None:
    scaled, plain = drawn("rotary:scaling=linear,factor=4").panels[1].lines
    assert (scaled.name, plain.name) == ("scaled", "without scaling")
    assert scaled.points[8][1] == pytest.approx(plain.points[2][1], abs=1e-5)


def test_each_embedding_has_its_colour() -> None:
    for text in ("sinusoidal", "rotary", "xpos", "fire"):
        for panel in drawn(text).panels:
            if isinstance(panel, Lines) and len(panel.lines) == 1:
                assert panel.lines[0].look == look_of(text)


def test_a_trained_table_stands_below_the_initial_one() -> None:
    before, after, similarity = trained("learned").panels
    assert before.title.endswith("before training") and after.title.endswith("after training")
    assert after.values[5][7] == pytest.approx(2 * before.values[5][7] + 0.1, abs=1e-6)
    assert before.limits == after.limits
    assert [line.name for line in similarity.lines] == ["before training", "after training"]
    assert similarity.lines[0].look.colour == QUIET
    assert similarity.lines[1].look == look_of("learned")


def test_the_first_and_the_last_layer_of_a_trained_bias() -> None:
    panels = trained("kerple").panels
    assert [panel.title.partition(":")[0] for panel in panels] == [
        *["layer 1 of 2"] * 2,
        *["layer 2 of 2"] * 2,
    ]
    assert panels[0].lines != panels[1].lines and panels[0].y_range == panels[1].y_range


def test_what_has_no_weights_is_drawn_once() -> None:
    assert [panel.name for panel in trained("rotary").panels] == ["turning", "product"]


def test_what_replaces_attention_is_drawn_in_its_effect_after_training() -> None:
    titles = [panel.title for panel in trained("path").panels]
    assert titles[0].startswith("layer 1 of 2: attention") and titles[0].endswith("before training")
    assert len(titles) == 4


def test_a_bidirectional_bias_reaches_both_ways() -> None:
    panel = drawn("alibi", replace(MODEL, causal=False)).panels[0]
    x = [x for x, _ in panel.lines[0].points]
    assert (x[0], x[-1]) == (-63, 63)
