"""Lesson: the verdicts on the article's claims, which its steps on the page refer to."""

from __future__ import annotations

import json
from importlib import resources

from fastapi import APIRouter
from pydantic import BaseModel

from wordorder.studio.fields import command

router = APIRouter()


class VerdictEntry(BaseModel):
    """A claim of the article, and what was measured; written by docs/write_claims.py.

    Args:
        name: as in `wordorder claims --only NAME`.
        ours, theirs: the figures measured here, and the source's.
    """

    name: str
    claim: str
    verdict: str
    ours: str
    theirs: str
    command: str


@router.get("/verdicts")
def verdicts() -> list[VerdictEntry]:
    """Return the verdicts on the article's claims, in its order."""
    text = resources.files("wordorder.studio").joinpath("verdicts.json").read_text("utf-8")
    return [
        VerdictEntry(**entry, command=command("claims", "--only", entry["name"]))
        for entry in json.loads(text)
    ]
