"""Trains several runs in the ranks that `test_ranks` starts: reads them as JSON lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from wordorder.model import ModelConfig
from wordorder.training import (
    follower,
    optimizers,
    preparation,
    report,
    shared_matrices,
    training,
)
from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig
from wordorder.training.follower import follow
from wordorder.training.optimizers import orthogonalise
from wordorder.training.ranks import Ranks, joined
from wordorder.training.start import resume, train


def config_of(case: dict) -> TrainConfig:
    return TrainConfig(ModelConfig(**case["model"]), **case["training"])


def compute_for(ranks: Ranks) -> Compute:
    return Compute("cpu", 1, ranks=ranks.count, kernel="fused")


def count_orthogonalised() -> list[int]:
    """Let this process count the matrices that it orthogonalises; return the list of numbers."""
    counts: list[int] = []

    def counted(matrices: torch.Tensor, *given: Any) -> torch.Tensor:
        counts.append(len(matrices))
        return orthogonalise(matrices, *given)

    optimizers.orthogonalise = shared_matrices.orthogonalise = counted
    return counts


def train_case(case: dict, ranks: Ranks) -> None:
    """Train a case as the leader or follow; `alone` has each rank orthogonalise all matrices."""
    shared_out = follower.SharedMatrices
    if case.get("alone"):
        follower.SharedMatrices = Unshared
    if not ranks.leads:
        follow(ranks)
    elif "resume" in case:
        resume(case["resume"], inexact=True, ranks=ranks)
    else:
        train(config_of(case), compute=compute_for(ranks), ranks=ranks)
    if ranks.leads:
        ranks.end()
    follower.SharedMatrices = shared_out


class Unshared:
    """In place of `SharedMatrices`: what Muon does in a single process."""

    def __init__(self, groups: dict, dtype: torch.dtype, *_: Any) -> None:
        muon = optimizers.Muon((), dtype=dtype)
        self.orthogonalised = muon.orthogonalised


if __name__ == "__main__":
    torch.set_num_threads(1)
    counts = count_orthogonalised()
    report.draw_losses = lambda path, *_: path.touch()  # as conftest.py has it
    training.SAMPLE_TOKENS = 8
    preparation.WARM_UP_STEPS = 1
    with joined() as ranks:
        for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            counts.clear()
            train_case(case, ranks)
            if "count_in" in case:
                path = Path(case["count_in"]) / f"orthogonalised-{ranks.rank}"
                path.write_text(str(sum(counts)), encoding="utf-8")
