"""The claim that reading all tokens at once is what makes a transformer fast.

A recurrent model takes a step for every token of a text and cannot take two at once; a
transformer reads them side by side, at a price per token that grows with the length. Both
are timed here as they train, on one machine, in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from wordorder.claims.claim import Claim, Criterion, Plan, Reading, Results, Work
from wordorder.experiments.side_by_side import Tell
from wordorder.model import make_model
from wordorder.model.config import PRESETS, ModelConfig
from wordorder.training.machine import Machine, losses_of, use
from wordorder.training.optimizers import Optimizer

LENGTHS = (64, 256, 1024)
TOKENS = 4096  # in a step, at every length
ROUNDS = 5
RATE = 1e-3


def time_both(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return the training tokens/s of a transformer and a GRU, every round, in turn."""
    machine = Machine(**job["machine"])
    vocabulary = 4096
    steps = {}
    for kind in ("transformer", "gru"):
        config = ModelConfig(
            **{**PRESETS["nano"], "trained_length": job["length"]},
            vocabulary_size=vocabulary,
            kind=kind,
            dropout=0.0,
        )
        computed = machine if kind == "transformer" else replace(machine, dtype="float32")
        steps[kind] = _step(config, computed)
    rates: dict[str, list[float]] = {kind: [] for kind in steps}
    for number in range(1 + ROUNDS):
        for kind, step in steps.items():
            start = time.perf_counter()
            step()
            if number:
                rates[kind].append(TOKENS / (time.perf_counter() - start))
        tell((1 + number) / (1 + ROUNDS), f"length {job['length']}")
    return rates


def _step(config: ModelConfig, machine: Machine) -> Any:
    """Return one training step as a function."""
    model = make_model(config)
    model.initialise(0)
    use(model, machine)
    losses = losses_of(model, machine)
    generator = torch.Generator().manual_seed(0)
    shape = (TOKENS // config.trained_length, config.trained_length + 1)
    text = torch.randint(0, config.vocabulary_size, shape, generator=generator)
    optimizer = Optimizer(
        model, muon_dtype=torch.float32, use_muon=True, weight_decay=0.0
    )

    def step() -> None:
        optimizer.zero_gradients()
        losses(text[:, :-1], text[:, 1:]).mean().backward()
        optimizer.step(matrix_rate=RATE, rate=RATE)

    return step


def _works(plan: Plan) -> list[Work]:
    return [
        Work(f"speed/length-{length}", time_both, {"length": length}, 30.0, alone=True)
        for length in LENGTHS
    ]


def _read(plan: Plan, results: Results) -> Reading:
    quantities, said = {}, []
    for work in _works(plan):
        if work.name not in results:
            continue
        length, rates = work.job["length"], results[work.name]
        pairs = zip(rates["transformer"], rates["gru"], strict=True)
        quantities[f"GRU's tokens/s, times, at {length}"] = [
            ours / theirs for ours, theirs in pairs
        ]
        medians = {kind: statistics.median(values) for kind, values in rates.items()}
        said.append(
            f"{length} tokens: transformer {medians['transformer']:,.0f} tokens/s, "
            f"GRU {medians['gru']:,.0f}"
        )
    return Reading(quantities, tuple(said))


CLAIMS = (
    Claim(
        "parallel-is-fast",
        "article",
        "Reading all tokens at once, in parallel, makes a transformer train faster than a "
        "recurrent model.",
        "the article, 'Transformers have no sense of order'",
        "no figures",
        "A transformer and a GRU of 4 layers and width 128, training steps of 4,096 tokens in "
        "turn on all cores of this machine; intervals over rounds.",
        tuple(Criterion(f"GRU's tokens/s, times, at {length}", least=1.0) for length in LENGTHS),
        _works,
        _read,
        unit="times",
    ),
)
