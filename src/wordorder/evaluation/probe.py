"""Runs every probe of order on one model.

Each part is a separate module. All parts measure the same text; a part that does not apply to the
model reports a reason instead of a result. A part needs only a model, a text and its tokenizer, so
models from elsewhere can be probed too.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wordorder.errors import BadInput
from wordorder.evaluation.ablation import ablation_losses
from wordorder.evaluation.attention_mass import AttentionMass, attention_mass
from wordorder.evaluation.order import ALL_PROBES, OrderLosses, order_losses, order_reach
from wordorder.evaluation.position_probe import PositionProbe, position_probe
from wordorder.evaluation.preferences import Pair, Preference, differences, sentence_pairs
from wordorder.evaluation.windows import check_causal
from wordorder.model import TokenModel
from wordorder.numerals import counted
from wordorder.positions import PositionError
from wordorder.text.store import TokenStore
from wordorder.text.tokenizer import Tokenizer

# Tokens; shorter windows leave no context to reorder.
SHORTEST = 16

Progress = Callable[[float], object]


@dataclass(frozen=True)
class ProbeResults:
    """Results of the probes; a part that was not requested or does not apply is None.

    Args:
        trained_length: tokens in a window.
        reach: the cost of shuffling beyond each distance before one token.
        order: the context reordered, and all positions shifted beyond the trained ones.
        moved: positions shifted within the trained ones, in windows of half the length.
        removed: the embedding removed.
        attention: attention by distance.
        position: positions predicted from hidden states.
        sentences: all built-in sentences together, then each.
        pairs: one for each file of minimal pairs.
        cannot: the reason, for each part that does not apply.
    """

    trained_length: int
    reach: OrderLosses | None = None
    order: OrderLosses | None = None
    moved: OrderLosses | None = None
    removed: OrderLosses | None = None
    attention: AttentionMass | None = None
    position: PositionProbe | None = None
    sentences: tuple[Preference, ...] = ()
    pairs: tuple[Preference, ...] = ()
    cannot: dict[str, str] = field(default_factory=dict)


class _Setup(NamedTuple):
    """The arguments of every part."""

    model: TokenModel
    store: TokenStore
    tokenizer: Tokenizer
    length: int
    seed: int


def probe(
    model: TokenModel,
    store: TokenStore,
    tokenizer: Tokenizer,
    *,
    only: Sequence[str] = (),
    pairs: Sequence[tuple[str, Sequence[Pair]]] = (),
    seed: int = 0,
    progress: Callable[[float, str], object] = lambda share, part: None,
) -> ProbeResults:
    """Measure how a model uses order.

    Args:
        model: a causal transformer or GRU; a bidirectional one for the part `position` alone.
        store: the tokens, preferably of text that the model was not trained on.
        tokenizer: the model's.
        only: names of parts; empty: all.
        pairs: lists of minimal pairs with a name each; measured in addition to the parts.
        seed: of the permutations.
        progress: called with the fraction done, 0 to 1, and the name of the part in progress.

    Raises:
        BadInput: a part is unknown, the model is bidirectional or trained on too few tokens, the
            text is shorter than one window, or a pair is too long for the model.
    """
    check_parts(only)
    setup = _Setup(model, store, tokenizer, model.config.trained_length, seed)
    if set(only) != {"position"} or pairs:
        check_causal(model)
    _check(setup)
    parts = [name for name in PARTS if name in only or not only]
    total = sum(PARTS[name].share for name in parts) + PAIRS_SHARE * len(pairs)
    done, results, cannot = 0.0, dict[str, Any](), dict[str, str]()
    preferences: list[Preference] = []

    def progress_of(name: str, share: float) -> Progress:
        before = done
        return lambda part: progress((before + part * share) / total, name)

    # First, since a pair that the model cannot read ends the probe.
    for name, some in pairs:
        gaps = differences(model, tokenizer, some, progress=progress_of(name, PAIRS_SHARE))
        preferences.append(Preference.of(name, some, gaps))
        done += PAIRS_SHARE
    for name in parts:
        share, measure = PARTS[name]
        try:
            results |= measure(setup, progress_of(name, share))
        except (BadInput, PositionError) as error:
            cannot[name] = str(error)
        done += share
    progress(1.0, "")
    return ProbeResults(setup.length, **results, pairs=tuple(preferences), cannot=cannot)


def check_parts(names: Sequence[str]) -> None:
    """Check that every name is a part of the probe.

    Raises:
        BadInput: a name is unknown; the message suggests a similar one.
    """
    for name in names:
        if name not in PARTS:
            near = difflib.get_close_matches(name, PARTS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(PARTS)}"
            raise BadInput(
                f"unknown part {name!r} of the probe: {hint}", code="evaluation.unknown-part"
            )


def _check(setup: _Setup) -> None:
    _, store, _, length, _ = setup
    if length < SHORTEST:
        raise BadInput(
            f"the model has a trained length of {length}, and a probe needs at least {SHORTEST}: "
            f"train with --trained-length {SHORTEST} or more",
            code="evaluation.trained-length-too-short",
        )
    if len(store) < length:
        raise BadInput(
            f"the text is {counted(len(store), 'token')}, shorter than one window of {length:,}: "
            "give more text with --data",
            code="evaluation.text-shorter-than-trained-length",
        )


def _order(setup: _Setup, progress: Progress) -> dict[str, Any]:
    """Reorder tokens, and shift positions: the latter in shorter windows, within trained ones."""
    model, store, tokenizer, length, seed = setup
    sizes = tokenizer.bytes_per_token
    reach = order_reach(
        model,
        store,
        trained_length=length,
        bytes_per_token=sizes,
        seed=seed,
        progress=lambda share: progress(0.7 * share),
    )
    whole = order_losses(
        model, store, trained_length=length, probes=ALL_PROBES, bytes_per_token=sizes, seed=seed
    )
    progress(0.9)
    half, gap = length // 2, length // 4
    moved = order_losses(
        model, store, trained_length=half, probes={}, shift=half, gap=gap, bytes_per_token=sizes
    )
    return {"reach": reach, "order": whole, "moved": moved}


def _removed(setup: _Setup, progress: Progress) -> dict[str, Any]:
    losses = ablation_losses(
        setup.model,
        setup.store,
        trained_length=setup.length,
        bytes_per_token=setup.tokenizer.bytes_per_token,
        progress=progress,
    )
    if why := losses.probes[0].cannot:  # then it cannot be removed from a single layer either
        raise BadInput(why, code="evaluation.cannot-remove")
    return {"removed": losses}


def _attention(setup: _Setup, progress: Progress) -> dict[str, Any]:
    model, store, _, length, _ = setup
    return {"attention": attention_mass(model, store, trained_length=length, progress=progress)}


def _position(setup: _Setup, progress: Progress) -> dict[str, Any]:
    model, store, _, length, _ = setup
    return {"position": position_probe(model, store, trained_length=length, progress=progress)}


def _sentences(setup: _Setup, progress: Progress) -> dict[str, Any]:
    pairs = sentence_pairs(seed=setup.seed)
    gaps = differences(setup.model, setup.tokenizer, pairs, progress=progress)
    preferences = [Preference.of("all sentences", pairs, gaps)]
    for good in dict.fromkeys(pair.good for pair in pairs):
        rows = [number for number, pair in enumerate(pairs) if pair.good == good]
        preferences.append(Preference.of(good, [pairs[i] for i in rows], gaps[rows]))
    return {"sentences": tuple(preferences)}


class ProbePart(NamedTuple):
    """A part of the probe: its approximate fraction of the time, and its function."""

    share: float
    measure: Callable[[_Setup, Progress], dict[str, Any]]


PARTS = {
    "order": ProbePart(0.65, _order),
    "removed": ProbePart(0.15, _removed),
    "attention": ProbePart(0.07, _attention),
    "position": ProbePart(0.1, _position),
    "sentences": ProbePart(0.03, _sentences),
}
PAIRS_SHARE = 0.2  # of each file of minimal pairs
