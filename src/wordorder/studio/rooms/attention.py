"""Attention: which tokens look at which, and how far back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from fastapi import APIRouter
from pydantic import BaseModel
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.attention_mass import attention_mass
from wordorder.model import AttentionRecord, Recorder
from wordorder.studio.fields import (
    Head,
    Layer,
    Matrix,
    RunName,
    Text,
    attention_in_python,
    command,
    sequence_of,
)
from wordorder.studio.opened import OpenRuns, Runs
from wordorder.words.activations import attention_head
from wordorder.words.explanation import spelling

router = APIRouter()

SMALL = 24  # rows and columns of a map in the overview


class AttentionQuestion(BaseModel):
    """A text, and the head whose attention is shown whole; layer and head from 0."""

    run: RunName
    text: Text
    layer: Layer = 0
    head: Head = 0


class AttentionAnswer(BaseModel):
    """All heads in small, and one whole; rows are queries, columns are keys.

    Args:
        small: the maps of each layer's heads.
    """

    tokens: list[str]
    layers: int
    heads: int
    small: list[list[Matrix]]
    chosen: Matrix
    command: str


class MassAnswer(BaseModel):
    """The share of attention at each distance, of every head; see `attention_mass`."""

    text: str
    context_length: int
    windows: int
    buckets: list[tuple[int, int]]
    even: list[float]
    heads: list[dict[str, Any]]
    cannot: list[str]
    command: str


class MassQuestion(BaseModel):
    """A run whose attention is measured on its validation text."""

    run: RunName


@router.post("/maps")
def maps(asked: AttentionQuestion, runs: Runs) -> AttentionAnswer:
    """Return the attention of every head to a text."""
    run = runs.run(asked.run)
    with runs.computing, torch.no_grad():
        model = runs.transformer(asked.run)
        sequence = sequence_of(run.tokenizer, asked.text)
        chosen = attention_head(model, sequence, asked.layer, asked.head).weights
        overview = _SmallMaps()
        model.hidden(torch.tensor([sequence]), recorder=overview)
    return AttentionAnswer(
        tokens=[spelling(run.tokenizer, token) for token in sequence],
        layers=model.config.layers,
        heads=model.config.heads,
        small=overview.maps,
        chosen=Matrix.of(chosen),
        command=attention_in_python(run, asked.text, asked.layer, asked.head),
    )


class _SmallMaps(Recorder):
    """Keeps a small map of every head; whole ones of all layers would fill the memory."""

    def __init__(self) -> None:
        self.maps: list[list[Matrix]] = []

    def attention(self, record: AttentionRecord) -> None:
        weights: Tensor = record.weights()[0][0]
        self.maps.append([Matrix.of(head, SMALL) for head in weights])


@router.post("/mass")
def mass(asked: MassQuestion, runs: Runs) -> MassAnswer:
    """Measure how far each head looks, on the run's validation text; kept once measured."""
    with runs.measuring:
        return runs.once(asked.run, "attention mass", _measured)


def _measured(runs: OpenRuns, name: str) -> MassAnswer:
    run, model = runs.run(name), runs.transformer(name)
    if not model.config.causal:
        raise BadInput(
            f"{name} is bidirectional, and distances are measured backwards: open a causal run",
            code="studio.bidirectional",
        )
    text, store = runs.text(name)
    measured = attention_mass(model, store, trained_length=model.config.trained_length)
    return MassAnswer(
        **asdict(measured), text=text, command=command("probe", run.folder, "--only", "attention")
    )
