"""All claims, the article's first, in the order in which they are printed."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from wordorder.claims import (
    by_construction,
    counting,
    coupling,
    fine_tuned,
    flip_flop,
    languages,
    learning,
    lengths,
    longer,
    randomized,
    rates,
    speed,
    word_space,
)
from wordorder.claims.claim import Claim
from wordorder.errors import BadInput

MODULES = (
    by_construction,
    word_space,
    learning,
    lengths,
    longer,
    fine_tuned,
    languages,
    speed,
    counting,
    coupling,
    randomized,
    flip_flop,
    rates,
)
_ALL = tuple(claim for module in MODULES for claim in module.CLAIMS)
CLAIMS: dict[str, Claim] = {
    claim.name: claim for claim in sorted(_ALL, key=lambda claim: claim.of != "article")
}
GROUPS = ("article", "literature")


def find(names: Sequence[str]) -> list[Claim]:
    """Return claims by name or by origin (article or literature); all if no name is given.

    Raises:
        BadInput: a name is unknown; the message suggests a similar one and lists all.
    """
    for name in names:
        if name not in CLAIMS and name not in GROUPS:
            near = difflib.get_close_matches(name, CLAIMS, n=1)
            hint = f"did you mean {near[0]}? Choose" if near else "choose"
            raise BadInput(
                f"unknown claim {name!r}: {hint} from {', '.join(CLAIMS)}, or a group: "
                f"{' or '.join(GROUPS)}",
                code="claims.unknown-claim",
            )
    return [c for c in CLAIMS.values() if not names or c.name in names or c.of in names]
