"""Formats an explanation as a page of 80 columns, the two orders side by side.

The measured numbers decide which sentences are printed, never an embedding's name, so that a
user's own embedding is explained like any other.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from wordorder.control_characters import escaped
from wordorder.words.explanation import Explanation
from wordorder.words.sentences import Apart

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 80
LABEL, SIDE = 16, 32  # columns for the labels, and for each order
NUMBERS = TOKENS = 4  # how many are printed of a vector, and of a text

VISIBLE = str.maketrans(" \n\t", "␣⏎⇥")
DOORS = {
    "query-key": "on queries and keys",
    "score": "on scores",
    "row": "on whole rows of scores",
}
NO_SPACES = (
    "The text has no spaces, so the second order reverses its tokens instead of its words; tokens "
    "that form one character stay together."
)


def page(explained: Explanation, model: str) -> list[str]:
    """Return the lines of the page.

    Args:
        model: a description of the model, printed first.
    """
    sections = [section(explained) for section in (_texts, _input, _middle, _output)]
    sections.append(_paragraph(f"=> {verdict(explained)}"))
    lines = [line for section in (_paragraph(model), *sections) for line in (*section, "")]
    return [line.rstrip() for line in lines[:-1]]


def written(token: str) -> str:
    """Return a token with visible white space and without control characters."""
    visible = token.translate(VISIBLE)
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in visible)


def _texts(explained: Explanation) -> list[str]:
    readings = explained.readings
    return [
        _row("text", (escaped(reading.text) for reading in readings)),
        _row("tokens", (_joined(reading.tokens) for reading in readings)),
        _row("ids", (" ".join(map(str, reading.ids)) for reading in readings)),
        *_paragraph(
            "A token is a word or part of one (␣: a space before it), an id its number. As in "
            f"training, {written(explained.opening)} at position 0 begins both texts."
        ),
        *(_paragraph(NO_SPACES) if explained.reversed == "tokens" else []),
    ]


def _input(explained: Explanation) -> list[str]:
    width = explained.readings[0].words.shape[1]
    added = any(entrance.at_input for entrance in explained.entrances)
    what = "WORD VECTOR + POSITION VECTOR" if added else "WORD VECTOR ONLY"
    lines = _paragraph(
        f"1  INPUT = {what}. The word vector of an id is a learned row of {width} numbers. Its "
        f"first {NUMBERS}:"
    )
    vectors = {"  word": "words"}
    if added:
        vectors["  + position"] = "added"
    if added or explained.input_norm:
        vectors["  normalised" if explained.input_norm else "  = input"] = "inputs"
    lines += _vectors(explained, "position {}", vectors)
    if not added:
        lines += _paragraph("A word has the same input at every position.", "   ")
    return lines


def _middle(explained: Explanation) -> list[str]:
    """How order enters after the input: in attention, or in the steps of a recurrent model."""
    if not explained.position:
        return _steps(explained)
    acting = [entrance for entrance in explained.entrances if entrance.layers]
    lines: list[str] = []
    for entrance in acting:
        door = DOORS.get(entrance.door, "on attention")
        lines += _paragraph(
            f"2  ATTENTION: {entrance.name} acts {door} in {_layers(entrance.layers)}. "
            f"{entrance.summary}"
        )
        for line in entrance.formula.splitlines():
            lines += textwrap.wrap(line, WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 9)
    if not acting and any(entrance.at_input for entrance in explained.entrances):
        lines += _paragraph(
            "2  ATTENTION: no positional embedding acts here. All position information is in the "
            "inputs above."
        )
    elif not acting:
        lines += _paragraph(
            f"2  ATTENTION: no positional embedding ({explained.position}). {_mask(explained)}"
        )
    for entrance in explained.entrances:
        if entrance.feeds:
            lines += _paragraph(
                f"{entrance.name}: {entrance.summary} In this trace they are 0, 1, 2, …", "   "
            )
        if entrance.order_leak:
            lines += _paragraph(
                f"Order also enters without positions: {entrance.order_leak}.", "   "
            )
    asked = any(reading.attention is not None for reading in explained.readings)
    return lines + _attention(explained) if acting or asked else lines


def _mask(explained: Explanation) -> str:
    """What order remains without positions."""
    if not explained.causal:
        return "Every token attends to every other, and nothing marks where a token stands."
    first, second = explained.readings
    mask = (
        "Only the causal mask carries order: each token attends to itself and the tokens before it."
    )
    for word in sorted(explained.words, key=lambda word: max(word.places)):
        a, b = word.places
        if a and b and sorted(first.ids[:a]) != sorted(second.ids[:b]):
            return (
                f"{mask} Before {written(word.token)} stands {_joined(first.tokens[:a])} on the "
                f"left and {_joined(second.tokens[:b])} on the right."
            )
    return mask


def _steps(explained: Explanation) -> list[str]:
    lines = _paragraph(
        "2  A GRU READS IN ORDER and needs no positional embedding: it computes each state from "
        f"the current token and the previous state. First {NUMBERS} numbers of the first layer's "
        "output:"
    )
    return lines + _vectors(explained, "state after", {"": "steps"})


def _attention(explained: Explanation) -> list[str]:
    """Attention of the last token to the last few, itself included."""
    readings = explained.readings
    rows = [reading.attention for reading in readings if reading.attention is not None]
    lines = _paragraph(
        f"Layer {rows[0].layer + 1}, head {rows[0].head + 1}: attention of the last token to each "
        "token, with the positional embedding, and without it (plain).",
        "   ",
    )
    if any((row.query != row.placed_query[: len(row.query)]).any() for row in rows):
        lines.append(
            _row("query of", (f"{written(reading.tokens[-1])[:7]:>7}" for reading in readings))
        )
        lines.append(_row("  plain", (_vector(row.query) for row in rows)))
        lines.append(_row("  with position", (_vector(row.placed_query) for row in rows)))
    names = ([explained.opening, *reading.tokens][-TOKENS:] for reading in readings)
    keys = (" ".join(f"{written(token)[:7]:>7}" for token in tokens) for tokens in names)
    lines.append(_row("attends to", keys))
    scored = [(r.scores_without, r.scores) for r in rows if r.scores is not None]
    numbers: dict[str, list[Tensor]] = {
        "  distance": [row.distances for row in rows],
        "  plain score": [without for without, _ in scored],
        "  score": [score for _, score in scored],
        "  change": [score - without for without, score in scored],
        "  plain weight": [row.weights_without for row in rows],
        "  weight": [row.weights for row in rows],
    }
    for name, sides in numbers.items():
        if sides:
            lines.append(_row(name, (_vector(side[-TOKENS:]) for side in sides)))
    return lines


def _output(explained: Explanation) -> list[str]:
    where = "for a mask token after the text" if explained.fills_in else "for the next token"
    lines = _paragraph(f"3  OUTPUT. The most likely predictions {where}:")
    for number in range(len(explained.readings[0].likeliest)):
        tops = (reading.likeliest[number] for reading in explained.readings)
        lines.append(_row("", (f"{written(token)[:18]:<18}{share:>8.2%}" for token, share in tops)))
    lines += _paragraph(
        f"The two predicted distributions overlap by {explained.shared:.1%}.", "   "
    )
    if explained.words:
        lines += _paragraph(
            "Relative distance of each token's final vectors between the two orders:",
            "   ",
        )
        words = [f"{written(w.token)} {_share(w.apart)}" for w in explained.words[:6]]
        lines += _paragraph("   ".join(words), "     ")
    parts = [f"layer {i} {_share(apart)}" for i, apart in enumerate(explained.after_apart)]
    after = written(explained.after)
    lines += _paragraph(f"The same for {after!r} appended to both orders, after each layer:", "   ")
    return lines + _paragraph("   ".join(parts).replace("layer 0", "input", 1), "     ")


def verdict(explained: Explanation) -> str:
    """Return what the numbers show: whether the model distinguishes the two orders."""
    after = written(explained.after)
    apart = [not apart.same for apart in explained.after_apart]
    words_apart = not all(word.apart.same for word in explained.words)
    acts = any(e.layers or e.at_input or e.order_leak for e in explained.entrances)
    if not explained.same_tokens:
        sentence = "The two texts hold different tokens, so more than their order differs."
    elif not any(apart) and not words_apart:
        sentence = (
            "This model cannot distinguish the two orders: each token has the same output vector "
            "in both. It sees a bag of words."
        )
    elif not any(apart):
        sentence = (
            f"{after!r} at the end cannot distinguish the two orders: it attends to the same words "
            "in both. The vectors of the words differ, because under the causal mask each attends "
            "only to the words before it."
        )
    elif apart.index(True) > 1 and not acts and explained.position:
        sentence = (
            f"Layer 1 cannot distinguish the two orders: {after!r} attends to the same words in "
            f"both. From layer {apart.index(True)} on it can, without any positional embedding: "
            "under the causal mask each word has attended to the words before it, and those "
            "differ between the two orders."
        )
    else:
        sentence = (
            f"This model distinguishes the two orders from layer {apart.index(True)} on: {after!r} "
            "follows the same words in both, but its vector differs."
        )
    return sentence


def _paragraph(text: str, indent: str = "") -> list[str]:
    later = indent or " " * 3
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=later)


def _row(label: str, sides: Iterable[str]) -> str:
    left, right = (
        side if cell_len(side) < SIDE else f"{set_cell_size(side, SIDE - 2)}…" for side in sides
    )
    return f"{label:<{LABEL}}{set_cell_size(left, SIDE)}{right}"


def _vectors(explained: Explanation, label: str, fields: dict[str, str]) -> list[str]:
    """Rows for the first tokens of both orders, each token above its vectors.

    Args:
        label: of a token's row; {} becomes its position.
        fields: label to attribute of `TextTrace`, one row each.
    """
    lines = []
    for place in range(min(TOKENS, max(len(reading.ids) for reading in explained.readings))):
        sides = [r if place < len(r.ids) else None for r in explained.readings]
        tokens = (written(r.tokens[place]) if r else "" for r in sides)
        lines.append(_row(label.format(place + 1), tokens))
        for name, field in fields.items():
            numbers = (_vector(getattr(r, field)[place]) if r else "" for r in sides)
            lines.append(_row(name, numbers))
    return lines


def _joined(tokens: Iterable[str]) -> str:
    return " ".join(map(written, tokens))


def _vector(numbers: Sequence[float] | Tensor) -> str:
    return " ".join(_number(float(number)) for number in numbers[:NUMBERS])


def _number(value: float) -> str:
    """Format a number in seven columns."""
    value = round(value, 3)  # 1 + x - x is not always 1 in float32
    if value == int(value) and abs(value) < 1000:
        return f"{value:>7.0f}" if value else "      0"
    return f"{value:>z7.3f}" if abs(value) < 100 else f"{value:>7.1f}"


def _share(apart: Apart) -> str:
    return "0" if apart.same else f"{apart.relative:.2g}"


def _layers(layers: Sequence[int]) -> str:
    if len(layers) == 1:
        return f"layer {layers[0] + 1}"
    if list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0] + 1} to {layers[-1] + 1}"
    return f"layers {', '.join(str(layer + 1) for layer in layers)}"
