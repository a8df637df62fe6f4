"""An explanation as a page of 80 columns, the two orders side by side.

The numbers alone decide which sentences are printed, never an embedding's name: an embedding of
your own is explained like any other.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size

from wordorder.words.explanation import Explanation
from wordorder.words.sentences import Apart

WIDTH = 80
LABEL, SIDE = 16, 32  # columns for the labels, and for each order
NUMBERS = TOKENS = 4  # shown of a vector, and of a text

VISIBLE = str.maketrans(" \n\t", "␣⏎⇥")
DOORS = {
    "query-key": "on the queries and keys of attention",
    "score": "on the scores of attention",
    "row": "on whole rows of attention",
}
NO_SPACES = (
    "The text has no spaces that would tell its words: the second order has its tokens (those of "
    "one character together), and not its words, from the last to the first."
)


def page(explained: Explanation, model: str) -> list[str]:
    """Return the lines of the page.

    Args:
        model: a line about the model, the first of the page.
    """
    sections = [part(explained) for part in (_texts, _input, _place, _outcome, _verdict)]
    lines = [line for section in (_paragraph(model), *sections) for line in (*section, "")]
    return [line.rstrip() for line in lines[:-1]]


def written(token: str) -> str:
    """Return a token with visible white space, and nothing that moves a cursor."""
    visible = token.translate(VISIBLE)
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in visible)


def _texts(explained: Explanation) -> list[str]:
    readings = explained.readings
    return [
        _row("text", (reading.text for reading in readings)),
        _row("tokens", (_joined(reading.tokens) for reading in readings)),
        _row("ids", (" ".join(map(str, reading.ids)) for reading in readings)),
        *_paragraph(
            "A token is a word or a piece of one, ␣ the blank before it; an id its number. "
            f"{written(explained.opening)} opens both, at position 0, as it does every document."
        ),
        *(_paragraph(NO_SPACES) if explained.reversed == "tokens" else []),
    ]


def _input(explained: Explanation) -> list[str]:
    width = explained.readings[0].words.shape[1]
    added = any(entrance.at_input for entrance in explained.entrances)
    what = "WORD VECTOR + POSITION VECTOR" if added else "WORD VECTOR, and nothing else"
    lines = _paragraph(
        f"1  INPUT = {what}. Each id has a row of {width} numbers, learned in training: its word "
        f"vector. The first {NUMBERS} of them:"
    )
    vectors = {"  word": "words"}
    if added:
        vectors["  + position"] = "added"
    if added or explained.input_norm:
        vectors["  normalised" if explained.input_norm else "  = input"] = "inputs"
    lines += _vectors(explained, "position {}", vectors)
    if not added:
        lines += _paragraph("The same word has the same input wherever it stands.", "   ")
    return lines


def _place(explained: Explanation) -> list[str]:
    """Where order comes in after the input: attention, or the steps of a recurrent model."""
    if not explained.position:
        return _steps(explained)
    acting = [entrance for entrance in explained.entrances if entrance.layers]
    lines: list[str] = []
    for entrance in acting:
        door = DOORS.get(entrance.door, "on attention")
        lines += _paragraph(
            f"2  {entrance.name.upper()} ACTS {door}, in {_layers(entrance.layers)}. "
            f"{entrance.summary}"
        )
        for line in entrance.formula.splitlines():
            lines += textwrap.wrap(line, WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 9)
    if not acting and any(entrance.at_input for entrance in explained.entrances):
        lines += _paragraph(
            "2  ATTENTION compares these inputs. Positions come in nowhere else: all it knows of "
            "them is in the sums above."
        )
    elif not acting:
        lines += _paragraph(
            f"2  POSITIONS COME IN NOWHERE ({explained.position}). {_mask(explained)}"
        )
    for entrance in explained.entrances:
        if entrance.feeds:
            lines += _paragraph(
                f"{entrance.name}: {entrance.summary} Here they are 0, 1, 2, …", "   "
            )
        if entrance.order_leak:
            lines += _paragraph(f"Beside positions: {entrance.order_leak}.", "   ")
    return lines + _attention(explained) if acting else lines


def _mask(explained: Explanation) -> str:
    """What order is left without positions."""
    if not explained.causal:
        return "Every word sees every other, and nothing says where any of them stands."
    first, second = explained.readings
    mask = "The causal mask is all there is: each word sees only those before it."
    for word in sorted(explained.words, key=lambda word: max(word.places)):
        a, b = word.places
        if a and b and sorted(first.ids[:a]) != sorted(second.ids[:b]):
            return (
                f"{mask} Before {written(word.token)} it is {_joined(first.tokens[:a])} on the "
                f"left and {_joined(second.tokens[:b])} on the right."
            )
    return mask


def _steps(explained: Explanation) -> list[str]:
    lines = _paragraph(
        "2  A GRU READS IN ORDER and needs no positions: after each word it holds a state, made "
        f"of the word and of the state before. The first {NUMBERS} numbers of its first layer's:"
    )
    return lines + _vectors(explained, "state after", {"": "steps"})


def _attention(explained: Explanation) -> list[str]:
    """How the last token looks at the last few, itself included."""
    readings = explained.readings
    rows = [reading.attention for reading in readings if reading.attention is not None]
    lines = _paragraph(
        f"Layer {rows[0].layer + 1}, first head: how the last word looks at each word, and how it "
        "would if positions did not act there (plain).",
        "   ",
    )
    if any((row.query != row.placed_query[: len(row.query)]).any() for row in rows):
        lines.append(
            _row("query of", (f"{written(reading.tokens[-1])[:7]:>7}" for reading in readings))
        )
        lines.append(_row("  plain", (_vector(row.query) for row in rows)))
        lines.append(_row("  with position", (_vector(row.placed_query) for row in rows)))
    names = ([explained.opening, *reading.tokens][-TOKENS:] for reading in readings)
    looks = ([f"{written(token)[:7]:>7}" for token in each] for each in names)
    lines.append(_row("looks at", (" ".join(each) for each in looks)))
    scored = rows[0].scores is not None
    numbers = {
        "  distance": [row.distances for row in rows],
        "  plain score": [row.scores_without for row in rows if scored],
        "  score": [row.scores for row in rows if scored],
        "  change": [row.scores - row.scores_without for row in rows if scored],
        "  plain weight": [row.weights_without for row in rows],
        "  weight": [row.weights for row in rows],
    }
    for name, sides in numbers.items():
        if sides:
            lines.append(_row(name, (_vector(each[-TOKENS:]) for each in sides)))
    return lines


def _outcome(explained: Explanation) -> list[str]:
    asked = "word after them, hidden" if explained.fills_in else "next word"
    lines = _paragraph(f"3  WHAT COMES OUT. The likeliest {asked}, and its probability:")
    for number in range(len(explained.readings[0].likeliest)):
        tops = (reading.likeliest[number] for reading in explained.readings)
        lines.append(_row("", (f"{written(token)[:18]:<18}{share:>8.2%}" for token, share in tops)))
    lines += _paragraph(
        f"Of their probability the two have {explained.shared:.1%} in common.", "   "
    )
    if explained.words:
        lines += _paragraph(
            "How far apart each word's final vectors are in the two orders, as a share of their "
            "length:",
            "   ",
        )
        words = [f"{written(w.token)} {_share(w.apart)}" for w in explained.words[:6]]
        lines += _paragraph("   ".join(words), "     ")
    parts = [f"layer {i} {_share(apart)}" for i, apart in enumerate(explained.after_apart)]
    after = written(explained.after)
    lines += _paragraph(f"And of the same {after!r} after both orders, layer after layer:", "   ")
    return lines + _paragraph("   ".join(parts).replace("layer 0", "input", 1), "     ")


def _verdict(explained: Explanation) -> list[str]:
    after = written(explained.after)
    apart = [not apart.same for apart in explained.after_apart]
    words_apart = not all(word.apart.same for word in explained.words)
    acts = any(e.layers or e.at_input or e.order_leak for e in explained.entrances)
    if not explained.same_tokens:
        verdict = "The two texts hold different tokens, so that more than their order differs."
    elif not any(apart) and not words_apart:
        verdict = (
            "To this model the two orders are the same: each word comes out as the same vector "
            "wherever it stands. It reads a bag of words."
        )
    elif not any(apart):
        verdict = (
            f"{after!r} cannot tell the two orders apart: to it both hold the same words, added "
            "up in any order. The words themselves differ, because the causal mask lets each see "
            "only those before it."
        )
    elif apart.index(True) > 1 and not acts and explained.position:
        verdict = (
            f"Layer 1 cannot tell the two orders apart: to {after!r} both hold the same words, "
            f"added up in any order. From layer {apart.index(True)} on they differ although "
            "nothing says where a word stands: the words it reads there have themselves read "
            "those before them, by the causal mask, and these are others."
        )
    else:
        verdict = (
            f"This model tells the two orders apart, from layer {apart.index(True)} on: {after!r} "
            "follows the same words, and comes out otherwise."
        )
    return _paragraph(f"=> {verdict}")


def _paragraph(text: str, indent: str = "") -> list[str]:
    later = indent or " " * 3
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=later)


def _row(label: str, sides: Iterable[str]) -> str:
    left, right = (
        side if cell_len(side) < SIDE else f"{set_cell_size(side, SIDE - 2)}…" for side in sides
    )
    return f"{label:<{LABEL}}{set_cell_size(left, SIDE)}{right}"


def _vectors(explained: Explanation, label: str, fields: dict[str, str]) -> list[str]:
    """The first tokens of both orders, each above its vectors.

    Args:
        label: of a token; {} is its position.
        fields: of a reading, by their labels.
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


def _vector(numbers: Sequence[float]) -> str:
    return " ".join(_number(float(number)) for number in numbers[:NUMBERS])


def _number(value: float) -> str:
    """A number in seven columns."""
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
