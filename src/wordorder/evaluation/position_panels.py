"""The panels of a figure of positional embeddings; they depend on how an embedding acts.

    acts on the input            the table it adds, and its rows' similarity by distance
    rotates by frequencies       the angle of each pair at each position
    acts on queries and keys     the product of a query with equal keys, by distance
    acts on the scores           the bias of each head, by distance
    replaces attention           what is particular to it (CoPE, Self-Extend, Shaw's values)
    samples positions            positions that training feeds

All but the last reach past the trained length, which is marked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from wordorder.evaluation.position_subject import (
    PAST,
    Subject,
    head_lines,
    line_of,
    lines_by_distance,
    table_fields,
    thinned,
)
from wordorder.model import ModelConfig
from wordorder.panels import QUIET, Field, Level, Line, Lines, Look, Panel, shades
from wordorder.positions import (
    Composed,
    Cope,
    LogTemperature,
    Part,
    Position,
    SelfExtend,
    Shaw,
    ShawValues,
    Spec,
    Sum,
    build,
    parse,
)
from wordorder.positions import picture as measured
from wordorder.positions.picture import initialised

COPIES = 64  # identical tokens
DRAWS = 4  # of positions that training samples
GREY = Look(QUIET, "o", 1)  # for reference lines
MOST_DISTANCES = 256  # a similarity is a mean over all pairs of rows at a distance


@dataclass(frozen=True)
class PositionPanels:
    """Panels, and for each part without panels the reason."""

    panels: list[Panel] = field(default_factory=list)
    not_drawn: dict[str, str] = field(default_factory=dict)


def panels_of_spec(text: str, model: ModelConfig | None = None) -> PositionPanels:
    """Return the panels of a spec, with initial values of seed 0.

    Args:
        model: the sizes; None: those of the default model.
    """
    spec, sizes = parse(text), model or ModelConfig()
    layers = max(sizes.layers, len(spec.layers))
    built = build(spec, replace(sizes, position=text, layers=layers).shape)
    for embedding in built.embeddings:
        initialised(embedding)
    return panels_of(spec, built)


@torch.no_grad()
def panels_of(spec: Spec, built: Composed, initial: Composed | None = None) -> PositionPanels:
    """Return the panels of the embeddings of a spec, with the parameters that they have.

    Args:
        initial: the same embeddings before training, or `built` if these are not known; None:
            `built` was not trained, so its attention to identical tokens is drawn too.
    """
    result = PositionPanels()
    for part in dict.fromkeys(spec.parts):
        subjects = list(_subjects(part, spec, built, initial))
        panels = [panel for subject in subjects for panel in _panels_of_one(subject)]
        if not panels and (initial is not None or part not in spec.layers[0]):
            panels = [p for s in subjects for state in s.states for p in _attention(s, *state)]
        if not panels and not subjects[0].position.active_hooks():
            result.not_drawn[str(part)] = "it adds nothing to a model"
        result.panels.extend(panels)
    if initial is None:
        result.panels.extend(_attention_of_layer(spec, built))
    for part in dict.fromkeys(spec.parts) if not result.panels else ():
        result.not_drawn.setdefault(str(part), "it is not a function of positions alone")
    return result


def _layers(part: Part, spec: Spec, built: Composed) -> list[tuple[int, int]]:
    """Return the layers, from 0, that have a part, each with the index of its instance."""
    pattern = spec.layers
    return [
        (layer, indices[pattern[layer % len(pattern)].index(part)])
        for layer, indices in enumerate(built.indices)
        if part in pattern[layer % len(pattern)]
    ]


def _subjects(
    part: Part, spec: Spec, built: Composed, initial: Composed | None
) -> Iterator[Subject]:
    """Yield the instances of a part: the only one, or those of its first and last layer."""
    layers = _layers(part, spec, built)
    instances = {index: layer for layer, index in reversed(layers)}
    drawn = sorted(instances)
    if initial is None:
        drawn = drawn[:1]  # at initialisation, other layers show nothing new
    for index in dict.fromkeys((drawn[0], drawn[-1])):
        names = [str(part)] if len(set(spec.parts)) > 1 else []
        if len(drawn) > 1:
            names.append(f"layer {instances[index] + 1} of {len(built.indices)}")
        before = None if initial is None else initial.embeddings[index]
        yield Subject(part, built.embeddings[index], before, ", ".join(names))


def _panels_of_one(subject: Subject) -> list[Panel]:
    hooks, position = subject.position.active_hooks(), subject.position
    panels: list[Panel] = []
    if "embed" in hooks:
        panels += _input(subject)
    if (turning := _turning(subject)) is not None:
        panels.append(turning)
    if isinstance(position, LogTemperature):
        panels += [_temperature(subject, state, words) for state, words in subject.states]
    elif {"transform_queries", "transform_keys"} & hooks:
        products = [_product(subject, *state) for state in subject.states]
        panels += [panel for panel in products if not _is_flat(panel)]
    if isinstance(position, Shaw | ShawValues):
        panels += _vectors(subject)
    if {"distance_bias", "score"} & hooks:
        panels += _biases(subject)
    if isinstance(position, Cope):
        panels += _cope(subject)
    if isinstance(position, SelfExtend):
        panels.append(_self_extend(subject, position))
    if "sample_positions" in hooks:
        panels.append(_sampled(subject))
    return panels


def _input(subject: Subject) -> list[Panel]:
    """The table before and after training, and the similarity of its rows by distance."""
    length = subject.length
    tables = [(measured.input_table(state, length), words) for state, words in subject.states]
    panels: list[Panel] = [
        *table_fields(subject, "table", "what is added to word vectors", tables, past=subject.past)
    ]
    distances = thinned(length, MOST_DISTANCES)
    looks = [GREY, subject.look][-len(tables) :]
    lines = [
        line_of(words.strip(), look, distances, measured.similarity_by_distance(table, distances))
        for look, (table, words) in zip(looks, tables, strict=True)
    ]
    title = subject.title("similarity of two positions")
    return [*panels, lines_by_distance("similarity", title, "mean cosine", lines, subject.past)]


def _turning(subject: Subject) -> Field | None:
    """The angle of each pair at each position, marked where its first turn ends."""
    positions = thinned(subject.length)
    angles = measured.angles(subject.position, positions)
    if angles is None:
        return None
    turns = angles / (2 * math.pi)
    steps = turns.diff(dim=1).clamp(min=0).amax(1)  # of a grid's coordinates, some are constant
    first = [
        (float(positions[int((row >= 1).int().argmax())]), float(pair))
        for pair, row in enumerate(turns)
        if bool((row >= 1).any()) and steps[pair] < 1 / 3
    ]
    return Field(
        "turning",
        subject.title("angle of each pair (dots: end of its first turn)"),
        "position",
        "pair of dimensions",
        (turns % 1).tolist(),
        (0.0, float(positions[-1])),
        (0.0, 1.0),
        "turn",
        ((0.0, "0"), (0.5, "half"), (1.0, "full")),
        "twilight",
        tuple(first),
        subject.past,
    )


def _product(subject: Subject, position: Position, words: str) -> Lines:
    values = measured.product_by_distance(position, subject.length)
    title = subject.title(f"product of equal vectors{words}")
    lines = head_lines(values, torch.arange(subject.length), subject)
    unscaled = _unscaled(position)
    if unscaled is not None:
        values = measured.product_by_distance(unscaled, subject.length)[:1]
        lines = [replace(lines[0], name="scaled"), *head_lines(values, None, subject)]
        lines[1] = replace(lines[1], name="without scaling", look=GREY)
    return lines_by_distance("product", title, "relative product", lines, subject.past)


def _is_flat(panel: Lines) -> bool:
    """Return whether every line is constant, as for an embedding that uses only content."""
    return all(len({round(y, 6) for _, y in line.points}) == 1 for line in panel.lines)


def _temperature(subject: Subject, position: Position, words: str) -> Lines:
    """The factor on the queries of each head, by the number of their keys."""
    factors = measured.query_factors(position, subject.length)
    lines = head_lines(factors, torch.arange(1, subject.length + 1), subject)
    title = subject.title(f"factor on the scores of a query{words}")
    panel = lines_by_distance("temperature", title, "factor", lines, subject.past)
    return replace(panel, x_label="keys of the query")


def _unscaled(position: Position) -> Position | None:
    """Return rotary without its scaling; None for one that has none."""
    if getattr(position, "scaling", "none") == "none":
        return None
    names = ("fraction", "proportional", "layout")
    options = {name: getattr(position, name) for name in names}
    base = dict(position.resolved_options())["base"]
    unscaled: type[Any] = type(position)
    return unscaled(position.shape, base=base, **options)


def _biases(subject: Subject) -> list[Panel]:
    """The bias by distance before and after training, on one scale."""
    length = subject.length
    queries = [length - 1]
    if subject.position.absolute and subject.past:  # the position of the query matters too
        queries.insert(0, subject.trained_length - 1)
    panels: list[Lines] = []
    for position, words in subject.states:
        lines: list[Line] = []
        for query in queries:
            distances, bias = measured.bias_by_distance(position, 2 * query + 1, query)
            lines += head_lines(bias, distances, subject)
        if len(queries) > 1:
            half = len(lines) // 2
            lines[half:] = [
                replace(line, name="", look=replace(line.look, dashes=1)) for line in lines[half:]
            ]
            words += f" (query at {queries[0]:,}; dashed: at {queries[1]:,})"
        title = subject.title(f"what is added to scores{words}")
        panels.append(lines_by_distance("bias", title, "added", lines, subject.past))
    values = [y for panel in panels for line in panel.lines for _, y in line.points]
    room = 0.04 * (max(values) - min(values) or 1.0)
    y_range = (min(values) - room, max(values) + room)
    return [replace(panel, y_range=y_range) for panel in panels]


def _vectors(subject: Subject) -> list[Panel]:
    """Shaw's vectors by distance: those added to keys and, for some, to values."""
    panels: list[Panel] = []
    for name, what in (("weight", "keys"), ("value_weight", "values")):
        tables = [
            (getattr(state, name).float().flip(0), words)
            for state, words in subject.states
            if hasattr(state, name)
        ]
        for table, _ in tables[:1]:
            clip = len(table) // 2
            first = 0 if subject.position.shape.causal else -clip  # no distance before is used
            panels += table_fields(
                subject,
                f"vectors-{what}",
                f"vectors added to {what}",
                [(table[first + clip :], words) for table, words in tables],
                x_label=f"distance in tokens ({clip}: this and all farther)",
                first=first,
            )
    return panels


def _cope(subject: Subject) -> list[Panel]:
    states = [(state, words) for state, words in subject.states if isinstance(state, Cope)]
    tables = [(state.embeddings.float(), words) for state, words in states]
    panels: list[Panel] = [
        *table_fields(
            subject,
            "table",
            "vectors of counted positions",
            [(table, words) for table, words in tables if table.any()],  # zero at first
            x_label="counted position",
        )
    ]
    counted = measured.positions_counted(states[-1][0], subject.length)
    lines = head_lines(counted, torch.arange(subject.length), subject)
    title = subject.title("positions counted from random gates")
    return [
        *panels,
        lines_by_distance("counted", title, "position of the key", lines, subject.past),
    ]


def _self_extend(subject: Subject, position: SelfExtend) -> Lines:
    query = subject.length * position.group // 2 - 1
    keys = torch.arange(query, -1, -1)
    distances = query - keys
    lines = [
        line_of("in self-extend", subject.look, distances, position.rotated_distances(query, keys)),
        line_of("in rotary", Look(QUIET, "o", 1), distances, distances),
    ]
    title = subject.title("the distance that rotates a pair of tokens")
    level = Level(subject.trained_length, "trained length")
    past = Level(subject.trained_length, PAST)
    panel = lines_by_distance("distances", title, "distance in rotary", lines, past)
    return replace(panel, level=level)


def _sampled(subject: Subject) -> Lines:
    """Several draws of the positions that training feeds, and those of evaluation."""
    count = subject.trained_length
    x = torch.arange(count)
    looks = shades(subject.look, DRAWS)
    lines = []
    for draw, look in enumerate(looks):
        drawn = measured.training_positions(subject.position, count, seed=draw)
        lines.append(line_of(f"draw {draw + 1}", look, x, torch.tensor(drawn)))
    lines.append(line_of("in evaluation", Look(QUIET, "o", 1), x, x))
    title = subject.title("positions that training feeds")
    panel = lines_by_distance("sampled", title, "position", lines, None)
    return replace(panel, x_label="token", level=Level(float(count), "the trained length"))


def _attention_of_layer(spec: Spec, built: Composed) -> list[Panel]:
    """Attention in the first layer with an embedding that acts."""
    for layer, indices in enumerate(built.indices):
        parts = {
            part: built.embeddings[index]
            for part, index in zip(spec.layers[layer % len(spec.layers)], indices, strict=True)
            if built.embeddings[index].active_hooks() - {"sample_positions"}
        }
        for part, position in parts.items():
            return _attention(Subject(part, position), Sum(position.shape, (*parts.values(),)))
    return []


def _attention(subject: Subject, position: Position, words: str = "") -> list[Panel]:
    """Attention of the last of identical tokens; no panel if it is uniform or has no weights."""
    weights = measured.weights_of_copies(position, COPIES)
    if weights is None or bool((weights - weights[:, :1]).abs().max() < 1e-6):
        return []
    lines = head_lines(100 * weights.flip(-1), torch.arange(weights.shape[1]), subject)
    title = subject.title(f"attention of the last of {weights.shape[1]} identical tokens{words}")
    panel = lines_by_distance("attention", title, "attention, %", lines, None)
    highest = max(y for line in lines for _, y in line.points)
    return [replace(panel, y_range=(0.0, 1.05 * max(highest, 4.0)))]
