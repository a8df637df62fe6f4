"""What several ranks cost: DDP on one rank relative to no ranks, DDP and FSDP2 on two.

    python benchmarks/ranks.py [--preset mini] [--rounds 5]
    python benchmarks/ranks.py --draw

Each figure is the median over rounds, which take turns; every rank has one thread. `--draw` times
the drawing of a batch of 512 rows of 1,024 tokens: all of it, and a rank's rows.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

WAYS = {
    "no ranks": (1, False),
    "1 rank, DDP": (1, False),
    "2 ranks, DDP": (2, False),
    "2 ranks, FSDP2": (2, True),
}
STEPS = 12


def main() -> None:
    options = _options()
    if options.draw:
        _time_drawing(options.rounds)
        return
    if options.worker:
        print(json.dumps(_measure(options)), flush=True)
        return
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            seconds[way].append(_start(way, options))
    base = statistics.median(seconds["no ranks"])
    print(
        f"--preset {options.preset}, batches of 8 rows, one thread a rank, {options.rounds} rounds"
    )
    for way, values in seconds.items():
        median = statistics.median(values)
        print(f"{way:<16}{1e3 * median:7.0f} ms a step   {median / base:.2f}")


def _start(way: str, options: argparse.Namespace) -> float:
    """Return the seconds of a step, measured by the leader of a new group of processes."""
    count, _ = WAYS[way]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, __file__, "--worker", way, "--preset", options.preset]
    processes = []
    for rank in range(count):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if way != "no ranks":
            environment |= {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_PORT": port}
            environment["MASTER_ADDR"] = "127.0.0.1"
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE))
    outputs = [process.communicate()[0] for process in processes]
    return float(json.loads(outputs[0].splitlines()[-1]))


def _measure(options: argparse.Namespace) -> float:
    """Return the median seconds of a step; a rank that follows returns 0."""
    import torch

    import wordorder as wo
    from wordorder.model.config import PRESETS
    from wordorder.training import ranks as ranking
    from wordorder.training.compute import Compute
    from wordorder.training.display import Display
    from wordorder.training.follower import follow
    from wordorder.training.start import train

    torch.set_num_threads(1)
    ends: list[float] = []

    class Timed(Display):
        def step(self, record: dict, seconds_left: float) -> None:
            ends.append(time.perf_counter())

    count, shard = WAYS[options.worker]
    joined = ranking.joined()
    if options.worker == "1 rank, DDP":
        joined = _one_rank(ranking)
    with joined as ranks, tempfile.TemporaryDirectory() as folder:
        if not ranks.leads:
            follow(ranks)
            return 0.0
        config = wo.TrainConfig(
            wo.ModelConfig(**PRESETS[options.preset]),
            out=str(Path(folder) / "run"),
            steps=STEPS,
            shard=shard,
            evaluate_every=STEPS,
            development_fraction=0.0,
        )
        compute = Compute("cpu", 1, kernel="fused", ranks=count)
        train(config, compute=compute, ranks=ranks, show=Timed())
    return statistics.median(b - a for a, b in pairwise(ends[1:]))


def _one_rank(ranking):
    """Return a group of one rank, which sums its gradients with itself."""
    import contextlib

    import torch.distributed as dist

    @contextlib.contextmanager
    def group():
        dist.init_process_group("gloo", rank=0, world_size=1)
        yield ranking.Ranks(0, 1, 1, connected=True)
        dist.destroy_process_group()

    return group()


def _time_drawing(rounds: int) -> None:
    """Print the milliseconds of one core to draw a batch, by kind and share of the rows."""
    import numpy as np
    import torch

    from wordorder.batch import RowShare
    from wordorder.text.batches import Batches
    from wordorder.text.store import TokenStore

    torch.set_num_threads(1)
    random, size, vocabulary = np.random.default_rng(0), 20_000_000, 50_257
    tokens = random.integers(vocabulary, size=size).astype(np.uint16)
    starts = np.unique(np.append(0, random.integers(size, size=size // 800)))
    tokens[starts - 1] = vocabulary - 1
    store = TokenStore(tokens, starts, 4 * size, vocabulary - 1, vocabulary)
    masked = {"objective": "masked-token", "mask_id": 1}
    kinds = {"text": {}, "packed": {"isolate_documents": True}, "masked": masked}
    for name, options in kinds.items():
        batches = Batches(store, context_length=1024, batch_size=512, seed=1, **options)
        seconds: dict[int, list[float]] = {1: [], 8: [], 64: []}
        for index in range(5 * rounds):
            for count, each in seconds.items():
                start = time.thread_time()
                if count == 1:
                    batches.at(index)
                else:
                    batches.share(index, RowShare(3, count))
                each.append(1e3 * (time.thread_time() - start))
        medians = {count: statistics.median(each) for count, each in seconds.items()}
        print(name, *(f"  1/{count} {median:.2f} ms" for count, median in medians.items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draw", action="store_true", help="time the drawing of batches alone")
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
