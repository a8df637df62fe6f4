"""The claim that parallel processing of tokens makes a transformer train faster.

A recurrent model processes the tokens of a text one after another; a transformer processes them in
parallel, at a cost per token that grows with the length. Training steps of both are timed on one
machine, in turn, in the same dtype; results in other dtypes are reported too. Rounds in one process
are correlated, so only processes count as replicates: intervals are over processes.

The claim is about parallel hardware. If one step of the recurrent model already uses all of it,
sequential processing wastes nothing, and nothing is tested. The gate measures this: with more rows
in a step, hardware with unused capacity processes more tokens per second.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from wordorder.batch import Batch
from wordorder.claims.claim import (
    HOLDS,
    Claim,
    ClaimPlan,
    Criterion,
    Gate,
    Measurements,
    Results,
    Work,
)
from wordorder.experiments.jobs import Tell
from wordorder.model import make_model
from wordorder.model.config import PRESETS, Kind, ModelConfig
from wordorder.training.compute import DTYPES, Compute, compiled, synchronise, use
from wordorder.training.optimizers import Optimizer

LENGTHS = (64, 256, 1024)
TOKENS = 4096  # per step, at every length
ROUNDS = 5
RATE = 1e-3
KINDS: tuple[Kind, ...] = ("transformer", "gru")
EQUAL = "float32"  # the dtype in which both are compared
MORE_ROWS, ROOM = 4, 1.5  # factor of rows; factor of tokens/s that shows unused capacity
HOPELESS = 4.0  # a dtype this much slower than float32 is timed only once


def time_both(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return the training tokens/s of a transformer and a GRU in every dtype, medians of rounds.

    `more-rows` is the GRU's rate with `MORE_ROWS` times the rows in a step.

    Args:
        job: `length`, and `machine`.
    """
    length = job["length"]
    settings: dict[str, Any] = job["machine"]
    machines = {dtype: Compute(**{**settings, "dtype": dtype}) for dtype in DTYPES}
    steps = {
        f"{kind} {dtype}": _step(kind, length, machine)
        for kind in KINDS
        for dtype, machine in machines.items()
    }
    steps["more-rows"] = _step("gru", length, machines[EQUAL], rows=MORE_ROWS * TOKENS // length)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    first = {name: _seconds(step) for name, step in steps.items()}
    other = {f"{k} {d}": f"{k} {EQUAL}" for k in KINDS for d in DTYPES if d != EQUAL}
    repeated = [n for n in steps if n not in other or first[n] < HOPELESS * first[other[n]]]
    for number in range(ROUNDS):
        for name in repeated:
            seconds[name].append(_seconds(steps[name]))
        tell((1 + number) / ROUNDS, f"length {length}")
    tokens = {name: TOKENS * (MORE_ROWS if name == "more-rows" else 1) for name in repeated}
    return {name: tokens[name] / statistics.median(seconds[name]) for name in repeated}


def _seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _step(kind: Kind, length: int, machine: Compute, rows: int = 0) -> Callable[[], None]:
    """Return one training step of a model as a function."""
    config = ModelConfig(
        **{**PRESETS["nano"], "trained_length": length},
        vocabulary_size=4096,
        kind=kind,
        dropout=0.0,
    )
    model = make_model(config)
    model.initialise(0)
    model.to(machine.device)
    use(model, machine)
    forward = compiled(model, machine)
    generator = torch.Generator().manual_seed(0)
    shape = (rows or TOKENS // length, length + 1)
    text = torch.randint(0, config.vocabulary_size, shape, generator=generator)
    text = text.to(machine.device)
    optimizer = Optimizer(model, muon_dtype=torch.float32, use_muon=True, weight_decay=0.0)

    def step() -> None:
        optimizer.zero_gradients()
        forward(Batch(text[:, :-1], text[:, 1:])).mean().backward()
        optimizer.step(matrix_rate=RATE, rate=RATE)
        synchronise(machine.device)

    return step


def _work(length: int, replicate: int) -> Work:
    name = f"speed/length-{length}-process{replicate}"
    return Work(name, time_both, {"length": length, "process": replicate}, 15.0, alone=True)


def _works(plan: ClaimPlan) -> list[Work]:
    return [_work(length, number) for number in range(plan.seeds) for length in LENGTHS]


def _read(plan: ClaimPlan, results: Results) -> Measurements:
    quantities: dict[str, dict[int, float]] = {}
    notes = []
    for length in LENGTHS:
        names = {n: _work(length, n).name for n in range(plan.seeds)}
        parts = {n: results[name] for n, name in names.items() if name in results}
        transformer, gru = (f"{kind} {EQUAL}" for kind in KINDS)
        quantities[_ratio(length)] = {n: p[transformer] / p[gru] for n, p in parts.items()}
        quantities[_room(length)] = {n: p["more-rows"] / p[gru] for n, p in parts.items()}
        if parts:
            notes.append(f"{length} tokens: {', '.join(_told(list(parts.values())))}")
    return Measurements(quantities, tuple(notes))


def _told(parts: list[Mapping[str, float]]) -> list[str]:
    """Return the tokens/s of both models in each dtype as text, medians over processes."""
    names = [f"{kind} {dtype}" for kind in KINDS for dtype in DTYPES]
    rates = {n: [part[n] for part in parts if n in part] for n in names}
    return [f"{n} {statistics.median(each):,.0f} tokens/s" for n, each in rates.items() if each]


def _ratio(length: int) -> str:
    return f"GRU's tokens/s, times, at {length}"


def _room(length: int) -> str:
    return f"GRU's gain by {MORE_ROWS} times the rows at {length}"


CLAIMS = (
    Claim(
        "parallel-is-fast",
        "article",
        "Reading all tokens at once, in parallel, makes a transformer train faster than a "
        "recurrent model.",
        "the article, 'Transformers have no sense of order'",
        "no figures",
        "A transformer and a GRU of 4 layers and width 128, training steps of 4,096 tokens in "
        "turn, both in float32, on all cores of this machine; intervals over processes.",
        tuple(Criterion(_ratio(length), least=1.0, neutral=1.0) for length in LENGTHS),
        _works,
        _read,
        unit="times",
        gates=tuple(
            Gate(
                Criterion(_room(length), least=ROOM),
                "hardware with more parallelism than one step of a recurrent model uses, such as "
                "a GPU",
                of=(_ratio(length),),
                spares=(HOLDS,),
            )
            for length in LENGTHS
        ),
        causes={
            _ratio(length): "on few cores time is proportional to arithmetic, and a transformer "
            "needs more of it per token than a GRU of the same width"
            for length in LENGTHS
        },
    ),
)
