"""Trains several runs in the ranks that `test_ranks` starts: reads them as JSON lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from wordorder.model import ModelConfig
from wordorder.training import report
from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig
from wordorder.training.follower import follow
from wordorder.training.ranks import Ranks, joined
from wordorder.training.start import resume, train


def config_of(case: dict) -> TrainConfig:
    return TrainConfig(ModelConfig(**case["model"]), **case["training"])


def compute_for(ranks: Ranks) -> Compute:
    return Compute("cpu", 1, ranks=ranks.count, kernel="fused")


if __name__ == "__main__":
    torch.set_num_threads(1)
    report.draw_losses = lambda path, *_: path.touch()  # as conftest.py has it
    with joined() as ranks:
        for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            if not ranks.leads:
                follow(ranks)
            elif "resume" in case:
                resume(case["resume"], inexact=True, ranks=ranks)
                ranks.end()
            else:
                train(config_of(case), compute=compute_for(ranks), ranks=ranks)
                ranks.end()
