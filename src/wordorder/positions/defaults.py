"""Default values of options that scale with the trained length, now and in older versions.

A paper's constant suits the length at which the paper trained. Over 128 tokens, rotary with a
base of 10,000 rotates its slowest pair by one degree, and a table of 128 distances has entries
that sequences of 64 tokens never train. Such an option has the default 0: it is the paper's
value in proportion to the trained length, and exactly the paper's value from the paper's
length on. Each class lists these options in `follows`; `resolved_options` returns the values.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Recorded with a model: which defaults its spec relies on. 1, for records without the field:
# defaults did not depend on the trained length.
GENERATION = 2

# Su et al. 2021 train RoFormer at 512 tokens. Models of up to 4,096 tokens use the same base, so
# it does not grow beyond the paper's.
ROTARY_BASE, ROTARY_LENGTH = 10_000.0, 512
# Raffel et al. 2020 train T5 at 512 tokens, with separate buckets for distances up to 128.
REACH, REACH_LENGTH = 128, 512
# YaRN leaves pairs unscaled that rotate 32 times or more within 4,096 tokens.
YARN_TURNS, YARN_LENGTH, FEWEST_TURNS = 32.0, 4096, 1.5


class Follows(NamedTuple):
    """An option that, if 0, is computed from the trained length.

    Args:
        option: its name.
        rule: how it is computed, in words.
        paper: the paper's value; None if the paper uses this rule, or there is no paper.
    """

    option: str
    rule: str
    paper: float | None = None


def shrunk(value: float, papers_length: int, trained_length: int) -> float:
    """Return a paper's value, reduced in proportion below the paper's length."""
    return value * min(1.0, trained_length / papers_length)


def rotary_base(trained_length: int) -> float:
    """Return the base of rotary frequencies: 2,500 for 128 tokens, 10,000 from 512 on."""
    return shrunk(ROTARY_BASE, ROTARY_LENGTH, trained_length)


def reach(trained_length: int) -> int:
    """Return the largest distance with an entry of its own: a quarter of the length, 1 to 128.

    Training then also reaches the entry that all larger distances share, so a longer sequence
    uses no untrained entry.
    """
    return max(1, int(shrunk(REACH, REACH_LENGTH, trained_length)))


def yarn_turns(original_length: int) -> float:
    """Return the number of turns within the original length from which YaRN leaves a pair.

    The published 32 suits 4,096 tokens, where the fastest pair makes 652 turns. Within 256
    tokens it makes 41, and YaRN's ramp from 32 turns to 1 would then cover nearly all pairs.
    Scaled with the square root of the length (8 turns at 256), the ramp covers the same share
    of pairs, because frequencies are spaced logarithmically.
    """
    share = min(1.0, max(0, original_length) / YARN_LENGTH) ** 0.5
    return max(FEWEST_TURNS, YARN_TURNS * share)


# For every embedding that has them.
FOLLOWS_BASE = Follows("base", "10,000 times the trained length over 512", ROTARY_BASE)
REACH_RULE = "a quarter of the trained length, at most 128"

# Defaults of generation 1: the embedding, an option that its spec must have, the default.
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
    """Return the spec in an older record with that version's defaults written out.

    No class is imported, because a record may name a user's class.

    Args:
        spec: such as rotary or learned+rotary:fraction=0.5/none.
        generation: of the defaults when the record was written.
    """
    if generation >= GENERATION:
        return spec
    pieces = re.split(r"([/+](?![^\[]*\]))", spec)  # parts, and the separators between them
    return "".join(_with_old_defaults(piece) for piece in pieces)


def _with_old_defaults(part: str) -> str:
    name, _, text = (piece.strip() for piece in part.partition(":"))
    options = [option for option in re.split(r",(?![^\[]*\])", text) if option]
    names = {option.partition("=")[0].strip() for option in options}
    compact = {option.replace(" ", "") for option in options}
    for embedding, condition, default in BEFORE:
        missing = default.partition("=")[0] not in names
        if name == embedding and missing and (not condition or condition in compact):
            options.append(default)
    return f"{name}:{','.join(options)}" if options else part
