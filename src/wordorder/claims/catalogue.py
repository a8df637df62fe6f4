"""All claims, the article's first, in the order in which they are told."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from wordorder.claims import (
    by_construction,
    counting,
    fine_tuned,
    flip_flop,
    languages,
    learning,
    lengths,
    longer,
    randomized,
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
    randomized,
    flip_flop,
)
_ALL = tuple(claim for module in MODULES for claim in module.CLAIMS)
CLAIMS: dict[str, Claim] = {
    claim.name: claim for claim in sorted(_ALL, key=lambda claim: claim.of != "article")
}
GROUPS = ("article", "literature")


def find(names: Sequence[str]) -> list[Claim]:
    """Return claims by name, or by whose they are: article or literature; all where none is named.

    Raises:
        BadInput: an unknown name, with what was probably meant and the list.
    """
    for name in names:
        if name not in CLAIMS and name not in GROUPS:
            near = difflib.get_close_matches(name, CLAIMS, n=1)
            hint = f"did you mean {near[0]}? They are" if near else "they are"
            raise BadInput(
                f"no claim {name!r}: {hint} {', '.join(CLAIMS)}, or {' or '.join(GROUPS)} for all "
                "of the article's or the literature's"
            )
    return [c for c in CLAIMS.values() if not names or c.name in names or c.of in names]
