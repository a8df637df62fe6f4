"""Constants that follow from the trained length, and what they were before they did.

A constant of a paper fits the length that the paper trained at. Over 128 tokens a base of
10,000 turns its slowest pair by one degree, and a table of 128 distances has entries that no
text of 64 tokens trains. Such an option has the default 0: below the paper's length it shrinks
in proportion, and from there on it is the paper's own. Each class says in `follows` how, and
what the paper has; `resolved_options` gives the number.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# What a record of a model says of the defaults that its spec relies on; 1, which says nothing,
# is from before any of them followed from the trained length.
GENERATION = 2

# Su et al. 2021 train RoFormer at 512 tokens. Models of up to 4,096 keep their base, so it does
# not grow by itself.
ROTARY_BASE, ROTARY_LENGTH = 10_000.0, 512
# Raffel et al. 2020 train T5 at 512 tokens, and tell distances apart up to 128.
REACH, REACH_LENGTH = 128, 512
# YaRN's authors let pairs be that turn 32 times or more within 4,096 tokens.
YARN_TURNS, YARN_LENGTH, FEWEST_TURNS = 32.0, 4096, 1.5


class Follows(NamedTuple):
    """An option that follows from the trained length where it is 0.

    Args:
        option: its name.
        rule: how, in words.
        paper: the paper's own value; None: the paper has this rule, or there is no paper.
    """

    option: str
    rule: str
    paper: float | None = None


def shrunk(value: float, papers_length: int, trained_length: int) -> float:
    """Return a paper's value, in proportion where the trained length is below the paper's."""
    return value * min(1.0, trained_length / papers_length)


def rotary_base(trained_length: int) -> float:
    """Return the base of rotary frequencies: 2,500 for 128 tokens, 10,000 from 512 on."""
    return shrunk(ROTARY_BASE, ROTARY_LENGTH, trained_length)


def reach(trained_length: int) -> int:
    """Return how far distances are told apart: a quarter of the length, 1 to 128.

    Training then sees whatever stands for the distances beyond, and a longer text meets nothing
    untrained.
    """
    return max(1, int(shrunk(REACH, REACH_LENGTH, trained_length)))


def yarn_turns(original_length: int) -> float:
    """Return how often a pair must turn within the original length for YaRN to leave it alone.

    The published 32 fits 4,096 tokens. The fastest of all pairs turns 652 times there and 41
    times within 256, of which the ramp from 32 turns to 1 would take nearly all: with the root
    of the length, 8 at 256, it takes the same share of their logarithm.
    """
    share = min(1.0, max(0, original_length) / YARN_LENGTH) ** 0.5
    return max(FEWEST_TURNS, YARN_TURNS * share)


# For every embedding that has them.
FOLLOWS_BASE = Follows("base", "10,000 times the trained length over 512", ROTARY_BASE)
REACH_RULE = "a quarter of the trained length, at most 128"

# Defaults of generation 1: the embedding, what its options must hold, the default.
BEFORE: tuple[tuple[str, str, str], ...] = (
    ("rotary", "", "base=10000"),
    ("rotary", "scaling=yarn", "beta_fast=32"),
    ("self-extend", "", "base=10000"),
    ("xpos", "", "base=10000"),
    ("xpos", "", "scale_base=512"),
    ("axial", "", "base=10000"),
    ("pope", "", "base=10000"),
    ("t5", "", "max_distance=128"),
    ("relative", "", "clip=128"),
    ("deberta", "", "span=128"),
    ("dape", "", "bias=alibi"),
    ("sandwich", "", "scales=even"),
)


def recorded(spec: str, generation: int) -> str:
    """Return a spec as this version reads it, from a record of an older one.

    Defaults that were others then are written out. Nothing is imported: a record may name
    somebody's own class.

    Args:
        spec: such as rotary or learned+rotary:fraction=0.5/none.
        generation: of the defaults when the record was written.
    """
    if generation >= GENERATION:
        return spec
    pieces = re.split(r"([/+](?![^\[]*\]))", spec)  # parts, and what stands between them
    return "".join(_spelled(piece) for piece in pieces)


def _spelled(part: str) -> str:
    name, _, options = (piece.strip() for piece in part.partition(":"))
    given = [option for option in re.split(r",(?![^\[]*\])", options) if option]
    names = {option.partition("=")[0].strip() for option in given}
    plain = {option.replace(" ", "") for option in given}
    for embedding, condition, default in BEFORE:
        missing = default.partition("=")[0] not in names
        if name == embedding and missing and (not condition or condition in plain):
            given.append(default)
    return f"{name}:{','.join(given)}" if given else part
