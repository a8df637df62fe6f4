"""Everything that can be asked of one model about order, in one go.

Each part is a module of its own; here they get the same text, and what a part cannot do for a
model is kept as a sentence instead of a result. A part asks for nothing but the model, a text and
its tokenizer, so it does not matter who made the model.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wordorder.errors import BadInput
from wordorder.evaluation.attention_mass import AttentionMass, attention_mass
from wordorder.evaluation.order import ALL_PROBES, OrderLosses, order_losses, order_reach
from wordorder.evaluation.position_probe import PositionReading, position_probe
from wordorder.evaluation.preferences import Pair, Preference, differences, sentence_pairs
from wordorder.evaluation.removal import removal_losses
from wordorder.model import TokenModel
from wordorder.numerals import counted
from wordorder.positions import PositionError
from wordorder.text.store import TokenStore
from wordorder.text.tokenizer import Tokenizer

# Below it a context of three quarters has nothing to put out of order.
SHORTEST = 16

Tell = Callable[[float], object]


@dataclass(frozen=True)
class Findings:
    """What a model knows of order; a part that was not asked for, or cannot be, is None.

    Args:
        trained_length: tokens in a window.
        reach: what order is worth beyond each distance before one token.
        order: tokens moved in the context, and all positions moved past the trained ones.
        moved: positions moved to others that training has fed, in windows of half the length.
        removed: the embedding taken out.
        attention: its mass by distance.
        position: positions read from hidden states.
        sentences: all built-in ones together, then each.
        pairs: one for each file.
        cannot: why a part has no result.
    """

    trained_length: int
    reach: OrderLosses | None = None
    order: OrderLosses | None = None
    moved: OrderLosses | None = None
    removed: OrderLosses | None = None
    attention: AttentionMass | None = None
    position: PositionReading | None = None
    sentences: tuple[Preference, ...] = ()
    pairs: tuple[Preference, ...] = ()
    cannot: dict[str, str] = field(default_factory=dict)


class _Asked(NamedTuple):
    """What every part is given."""

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
) -> Findings:
    """Ask a model what it knows of order.

    Args:
        model: a causal one, transformer or GRU.
        store: the tokens, best of text that it was not trained on.
        tokenizer: the model's.
        only: parts; all where none is named.
        pairs: minimal pairs, each list with its name; asked whatever parts are.
        seed: of permutations.
        progress: called with the share that is done, 0 to 1, and the part that is under way.

    Raises:
        BadInput: an unknown part, a bidirectional model, one trained on too few tokens, a text
            shorter than one window, or a pair that the model cannot read (which).
    """
    check_parts(only)
    asked = _Asked(model, store, tokenizer, model.config.trained_length, seed)
    _check(asked)
    parts = [name for name in PARTS if name in only or not only]
    total = sum(PARTS[name].share for name in parts) + PAIRS_SHARE * len(pairs)
    done, found, cannot, preferred = 0.0, {}, {}, []

    def telling(name: str, share: float) -> Tell:
        return lambda part, done=done: progress((done + part * share) / total, name)

    for name in parts:
        share, ask = PARTS[name]
        try:
            found |= ask(asked, telling(name, share))
        except (BadInput, PositionError) as error:
            cannot[name] = str(error)
        done += share
    for name, own in pairs:
        apart = differences(model, tokenizer, own, progress=telling(name, PAIRS_SHARE))
        preferred.append(Preference.of(name, own, apart))
        done += PAIRS_SHARE
    progress(1.0, "")
    return Findings(asked.length, **found, pairs=tuple(preferred), cannot=cannot)


def check_parts(names: Sequence[str]) -> None:
    """Refuse what is no part of a probe.

    Raises:
        BadInput: an unknown name, with what was probably meant.
    """
    for name in names:
        if name not in PARTS:
            near = difflib.get_close_matches(name, PARTS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(PARTS)}"
            raise BadInput(f"no part {name!r} of a probe: {hint}")


def _check(asked: _Asked) -> None:
    model, store, _, length, _ = asked
    if not model.config.causal:
        raise BadInput(
            "a model that fills in hidden tokens has no loss of a next one: probe one that is "
            "trained with --objective next-token"
        )
    if length < SHORTEST:
        raise BadInput(
            f"the model is trained on {length} tokens at a time, and a probe needs at least "
            f"{SHORTEST}, to have an order to change: train with --trained-length {SHORTEST} "
            "or more"
        )
    if len(store) < length:
        raise BadInput(
            f"the text is {counted(len(store), 'token')}, shorter than one window of {length:,}: "
            "give more text with --data"
        )


def _order(asked: _Asked, tell: Tell) -> dict[str, Any]:
    """Tokens moved, and positions, these in windows that leave trained ones to move to."""
    model, store, tokenizer, length, seed = asked
    spelt = tokenizer.bytes_per_token
    reach = order_reach(
        model,
        store,
        trained_length=length,
        bytes_per_token=spelt,
        seed=seed,
        progress=lambda share: tell(0.7 * share),
    )
    whole = order_losses(
        model, store, trained_length=length, probes=ALL_PROBES, bytes_per_token=spelt, seed=seed
    )
    tell(0.9)
    half, gap = length // 2, length // 4
    moved = order_losses(
        model, store, trained_length=half, probes={}, shift=half, gap=gap, bytes_per_token=spelt
    )
    return {"reach": reach, "order": whole, "moved": moved}


def _removed(asked: _Asked, tell: Tell) -> dict[str, Any]:
    found = removal_losses(
        asked.model,
        asked.store,
        trained_length=asked.length,
        bytes_per_token=asked.tokenizer.bytes_per_token,
        progress=tell,
    )
    if why := found.probes[0].cannot:  # then from no layer either
        raise BadInput(why)
    return {"removed": found}


def _attention(asked: _Asked, tell: Tell) -> dict[str, Any]:
    found = attention_mass(asked.model, asked.store, trained_length=asked.length, progress=tell)
    return {"attention": found}


def _position(asked: _Asked, tell: Tell) -> dict[str, Any]:
    found = position_probe(asked.model, asked.store, trained_length=asked.length, progress=tell)
    return {"position": found}


def _sentences(asked: _Asked, tell: Tell) -> dict[str, Any]:
    pairs = sentence_pairs(seed=asked.seed)
    apart = differences(asked.model, asked.tokenizer, pairs, progress=tell)
    found = [Preference.of("all of them", pairs, apart)]
    for good in dict.fromkeys(pair.good for pair in pairs):
        own = [number for number, pair in enumerate(pairs) if pair.good == good]
        found.append(Preference.of(good, [pairs[i] for i in own], apart[own]))
    return {"sentences": tuple(found)}


class Part(NamedTuple):
    """A part of a probe: about how much of the time it takes, and what answers it."""

    share: float
    ask: Callable[[_Asked, Tell], dict[str, Any]]


PARTS = {
    "order": Part(0.65, _order),
    "removed": Part(0.15, _removed),
    "attention": Part(0.07, _attention),
    "position": Part(0.1, _position),
    "sentences": Part(0.03, _sentences),
}
PAIRS_SHARE = 0.2  # of each file
