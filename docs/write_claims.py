"""Write the tables of docs/claims.md and the studio's verdicts from evidence/: `make docs`.

    python docs/write_claims.py

Text between `<!-- begin NAME -->` and `<!-- end NAME -->` is replaced; the rest of the page is
written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wordorder.claims.catalogue import CLAIMS
from wordorder.claims.table import number

DOCS = Path(__file__).parent
PAGE = DOCS / "claims.md"
VERDICTS = DOCS.parent / "src" / "wordorder" / "studio" / "verdicts.json"
EVIDENCE = DOCS.parent / "evidence" / "claims-article.json"
# A folder of `wordorder claims --only NAMES`, without the models: its results are not done again.
LITERATURE = EVIDENCE.parent / "claims-literature" / "claims.json"

# Each of the article's claims in few words, and what was measured; {0}, {1}, ... are the means of
# its criteria's quantities, in order.
SHORT = {
    "bag-of-words": (
        "Without positions, a bidirectional transformer reads a bag of words",
        "difference of the two orders {0:.0e} without, {1:.2f} with positions",
    ),
    "recurrent-order": (
        "A recurrent model tells orders apart without positions",
        "difference of the two orders {0:.2f}",
    ),
    "sinusoids-unique": (
        "Sinusoids give every position its own vector",
        "the nearest two differ by {0:.2f} of their length",
    ),
    "king-and-queen": (
        "king - man + woman lands at queen",
        "needs word vectors: `--words FILES`",
    ),
    "input-is-a-sum": (
        "Input = word + position, and both are needed",
        "without positions {1:+.2f} nats, without words {2:+.2f}",
    ),
    "none-learns-slower": (
        "Without positions a model learns more slowly",
        "{0:+.2f} nats to rotary after 1.1 times the tokens",
    ),
    "sinusoidal-generalises": (
        "Sinusoids generalise to longer sequences",
        "{0:+.2f} nats at twice the length",
    ),
    "learned-ends": (
        "Learned positions struggle past their trained length",
        "no vector past it; with the table stretched, {1:+.2f} nats at twice the length",
    ),
    "rotary-suits-long": (
        "Rotary suits long contexts",
        "{1:+.2f} nats at twice the length",
    ),
    "rotary-cross-lingual": (
        "Rotary aligns languages better than sinusoids",
        "{0:+.1f} points, and neither model learned the task",
    ),
    "parallel-is-fast": (
        "A transformer trains faster than a recurrent model",
        "{0:.2f}, {1:.2f}, {2:.2f} times a GRU's tokens/s at 64, 256, 1,024 tokens; "
        "two cores cannot tell",
    ),
}


def main() -> None:
    """Write the page and the verdicts anew."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    VERDICTS.write_text(verdicts(), encoding="utf-8")


def written(page: str) -> str:
    """Return the page with every marked part written from the evidence."""
    claims = json.loads(EVIDENCE.read_text(encoding="utf-8"))["claims"]
    parts = {"article": article_table(claims), "literature": literature_table()}
    parts |= {name: details(claim) for name, claim in claims.items()}
    for name, text in parts.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if begin not in page or end not in page:
            raise SystemExit(f"docs/claims.md has no part {begin} ... {end}")
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}"
    return page


def article_table(claims: Mapping[str, Any]) -> str:
    """Return a row for each of the article's claims: claim, verdict, ours, theirs."""
    rows = ["| claim | verdict | ours | theirs |", "| --- | --- | --- | --- |"]
    for name, claim in claims.items():
        sentence, verdict, ours = _short(name, claim)
        rows.append(f"| [{sentence}](#{name}) | **{verdict}** | {ours} | {claim['theirs']} |")
    return "\n".join(rows)


def verdicts() -> str:
    """Return the article's claims as JSON for the studio's lesson: claim, verdict, ours, theirs."""
    claims = json.loads(EVIDENCE.read_text(encoding="utf-8"))["claims"]
    records = []
    for name, claim in claims.items():
        sentence, verdict, ours = _short(name, claim)
        records.append({"name": name, "claim": sentence, "verdict": verdict, "ours": ours})
        records[-1]["theirs"] = claim["theirs"]
    return json.dumps(records, indent=1, ensure_ascii=False).replace("`", "") + "\n"


def _short(name: str, claim: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return a claim in few words, its verdict, and what was measured."""
    sentence, figures = SHORT[name]
    means = [
        claim["quantities"].get(criterion["quantity"], {}).get("mean")
        for criterion in claim["criteria"]
    ]
    return sentence, claim["verdict"].removesuffix(" at this size"), figures.format(*means)


def literature_table() -> str:
    """Return a row for each claim of the literature; one that was not rerun has no verdict."""
    measured: dict[str, Any] = {}
    if LITERATURE.exists():
        measured = json.loads(LITERATURE.read_text(encoding="utf-8")).get("claims", {})
    rows = ["| claim | verdict | ours | theirs |", "| --- | --- | --- | --- |"]
    claims = [claim for claim in CLAIMS.values() if claim.of == "literature"]
    for claim in sorted(claims, key=lambda claim: claim.name not in measured):
        verdict, ours = "not rerun", ""
        if claim.name in measured:
            verdict = f"**{measured[claim.name]['verdict'].removesuffix(' at this size')}**"
            ours = _figures(measured[claim.name])
        sentence = f"{claim.statement} (`{claim.name}`)"
        rows.append(f"| {sentence} | {verdict} | {ours} | {claim.source}: {claim.theirs} |")
    return "\n".join(rows)


def _figures(claim: Mapping[str, Any]) -> str:
    """Return the figures of a claim's criteria, and why it is not decided."""
    figures = [
        f"{criterion['criterion']}: {interval(claim['quantities'].get(criterion['quantity']))}"
        for criterion in claim["criteria"]
    ]
    return "; ".join([*figures, *claim["reasons"]])


def details(claim: Mapping[str, Any]) -> str:
    """Return one claim's statement, method and figures, as lists in Markdown."""
    lines = [f"*{claim['statement']}*", "", f"How: {claim['protocol']}", ""]
    lines += ["| measured | ours | threshold | |", "| --- | --- | --- | --- |"]
    for criterion in claim["criteria"]:
        bound = criterion["criterion"].removeprefix(criterion["quantity"]).strip()
        figure = interval(claim["quantities"].get(criterion["quantity"]))
        lines.append(f"| {criterion['quantity']} | {figure} | {bound} | {criterion['verdict']} |")
    for gate in claim["gates"]:
        figure = interval(claim["quantities"].get(gate["quantity"]))
        lines.append(f"| gate: {gate['quantity']} | {figure} | at least {gate['least']:g} | |")
    for reason in claim["reasons"]:
        lines += ["", re.sub(r"^(\w)", lambda m: m[1].upper(), reason) + "."]
    if claim["said"]:
        lines += ["", *(f"- {line}" for line in claim["said"])]
    return "\n".join(lines)


def interval(quantity: Mapping[str, Any] | None) -> str:
    """Return a mean with its interval."""
    if quantity is None:
        return "nothing measured"
    mean, low, high = (quantity[key] for key in ("mean", "low", "high"))
    if low is None or low == high:
        return number(mean)
    return f"{number(mean)} [{number(low)}, {number(high)}]"


if __name__ == "__main__":
    main()
