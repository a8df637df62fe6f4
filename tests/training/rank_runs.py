"""Runs of several ranks, and what they train on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch.distributed as dist

from wordorder.text.sharded.prepare import StoreConfig, prepare
from wordorder.training.metrics import read

WORKER = Path(__file__).with_name("rank_worker.py")
SMALL = {"width": 32, "layers": 2, "heads": 2, "trained_length": 32, "dropout": 0.1}
SHORT = {"steps": 20, "batch_size": 8, "tokenizer": "bytes"}


def write_texts(folder: Path) -> Path:
    """Write texts, conversations and a store; return the path of text.txt."""
    path = folder / "text.txt"
    lines = [f"{n} bees see {7 * n % 31} seas\n\n" for n in range(400)]
    path.write_text("".join(lines), encoding="utf-8")
    chats = ({"prompt": f"{n} bees", "answer": f"see {7 * n % 31} seas"} for n in range(400))
    rows = "".join(f"{json.dumps(row)}\n" for row in chats)
    path.with_name("chats.jsonl").write_text(rows, encoding="utf-8")
    path.with_name("other.txt").write_text("".join(lines[::-1]).upper(), encoding="utf-8")
    prepare(path.with_name("store"), StoreConfig((str(path),), tokenizer="bytes"))
    return path


def case(text: Path, out: Path, model: dict, training: dict) -> dict:
    data = [str(text.with_name(name)) for name in training.get("data", [text.name])]
    given = {**SHORT, "out": str(out), **training, "data": data}
    return {"model": {**SMALL, **model}, "training": given}


def start(cases: list[dict], count: int, folder: Path) -> None:
    """Train cases one after another in a group of ranks."""
    folder.mkdir(exist_ok=True)
    lines = folder / "cases.jsonl"
    lines.write_text("".join(f"{json.dumps(each)}\n" for each in cases), encoding="utf-8")
    # As torchrun does: the store is this process's, so that no other can take its port.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        **{"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)},
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "LOCAL_WORLD_SIZE": "2",  # so four ranks are on two machines
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(lines)],
            env={**os.environ, **common, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read(folder / "metrics.jsonl") if "loss" in record]
