"""What each way to extend the context gains, without training and after a few minutes of it.

    python benchmarks/extension.py --data books/*.txt.gz --out runs/extension

A rotary model is trained at 256 tokens and extended to 2,048 by every method that applies, once
without training and once fine-tuned at 2,048 on as many tokens as one core processes in
`--minutes`. The control is fine-tuned on the same tokens at 256, at the same learning rates, with
the embedding unchanged. All are evaluated on the same held-out tokens, the last 128 of windows of
2,048:

    whole    loss with all 2,048 tokens as context
    near     loss with the last 256 tokens alone; whole below near: the model uses its context
    short    loss in separate windows of 256: what short texts lost
    passkey  percent of digits retrieved, among ten, at 2,048; averaged over depths, then by depth

Every row is a run of `wordorder train` and `wordorder extend`. Runs are folders in --out; a command
that was stopped continues with those that are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

from wordorder.evaluation.retrieval import DEPTHS, retrieval
from wordorder.experiments.statistics import interval
from wordorder.extension.fine_tune import LATER, RATE
from wordorder.extension.methods import fitting
from wordorder.model.config import PRESETS
from wordorder.positions import parse
from wordorder.training.config import TrainConfig
from wordorder.training.run import Run
from wordorder.training.training_data import read_training_data

OLD, NEW = 256, 2048
MEASURES = ("whole", "near", "difference", "short", "passkey")
TIMED_STEPS = (4, 24)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["python-docs"])
    parser.add_argument("--out", required=True)
    parser.add_argument("--preset", default="nano", choices=tuple(PRESETS))
    parser.add_argument("--steps", type=int, default=3000, help="of the parent")
    parser.add_argument("--minutes", type=float, default=5.0, help="of one core, to fine-tune")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", nargs="+", default=fitting(parse("rotary")))
    parser.add_argument("--dtype", default="auto", help="of all runs; auto: each measures")
    parser.add_argument("--at-once", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = {name: [] for name, _, _ in cells(options.methods)}
    for seed in range(options.seeds):
        for name, found in one_seed(options, seed).items():
            rows[name].append(found)
    if options.json:
        print(json.dumps({"seeds": options.seeds, "rows": rows}))
    else:
        print(readable(rows))
    return 0


def cells(methods: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield every row's name, its method, and whether it is fine-tuned."""
    yield "control at 256", "unchanged", False
    for method in methods:
        yield method, method, False
        yield f"{method}, tuned", method, True


def one_seed(options: argparse.Namespace, seed: int) -> dict[str, dict[str, float | None]]:
    """Train a parent and what comes from it; return what each row measured."""
    folder = Path(options.out) / f"seed{seed}"
    parent, control = folder / "parent", folder / "control"
    common = ["--data", *options.data, "--threads", "1", "--compile", "no"]
    dtype = ["--dtype", options.dtype]
    if not done(parent):
        sizes = ["--preset", options.preset, "--trained-length", str(OLD), "--steps"]
        start = ["--seed", str(seed), "--out", str(parent)]
        wordorder("train", *sizes, str(options.steps), *common, *dtype, *start)
    tokens = tokens_in(options, folder, parent)
    rates = Run.load(parent).config["training"]
    rate = {n: str(rates[n] * RATE) for n in ("learning_rate", "matrix_learning_rate")}

    def make(cell: tuple[str, str, bool]) -> None:
        name, method, tuned = cell
        out = folder / name.replace(", ", "-").replace(" ", "-")
        source = parent
        if name.startswith("control"):
            source = control
            if not done(control):
                slower = ["--learning-rate", rate["learning_rate"], "--matrix-learning-rate"]
                slower += [rate["matrix_learning_rate"], "--tokens", str(tokens)]
                start = ["--init", str(parent), "--seed", str(LATER + seed), "--out", str(control)]
                wordorder("train", *start, *slower, *common, *dtype)
        if not (out / "extension.json").exists():
            tune = ["--tokens", str(tokens)] if tuned else []
            asked = ["--to", str(NEW), "--method", method, "--pack", "--out", str(out), *tune]
            found = ["--retrieval", "none", "--overwrite"]
            wordorder("extend", str(source), *asked, *found)

    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(make, cells(options.methods)))
    return {
        name: figures(folder / name.replace(", ", "-").replace(" ", "-"))
        for name, _, _ in cells(options.methods)
    }


def done(folder: Path) -> bool:
    """Return whether a training run is there, to its end."""
    if not (folder / "config.json").exists():
        return False
    if '"final": true' in (folder / "metrics.jsonl").read_text():
        return True
    shutil.rmtree(folder)
    return False


def tokens_in(options: argparse.Namespace, folder: Path, parent: Path) -> int:
    """Return how many tokens one core fine-tunes on at the new length in some minutes.

    From processor time, which others at work on the machine do not lengthen much.
    """
    path = folder.parent / "tokens.json"
    if not path.exists():
        took = []
        for steps in TIMED_STEPS:
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            out = ["--out", str(folder / "trial"), "--overwrite", "--retrieval", "none"]
            asked = ["--to", str(NEW), "--method", "interpolate", "--pack", "--steps", str(steps)]
            wordorder("extend", str(parent), *asked, *out)
            took.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
        step = (took[1] - took[0]) / (TIMED_STEPS[1] - TIMED_STEPS[0])
        trial = Run.load(folder / "trial")
        config = TrainConfig.from_dict(trial.config["training"], trial.model_config)
        path.write_text(json.dumps({"tokens_per_second": config.tokens_per_step / step}))
    rate = json.loads(path.read_text())["tokens_per_second"]
    return round(rate * 60 * options.minutes)


def wordorder(*arguments: str) -> None:
    """Run one command with one thread, as a user would; what it says goes to stderr."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "wordorder", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    name = arguments[arguments.index("--out") + 1]
    print(f"{name}  {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def figures(folder: Path) -> dict[str, float | None]:
    """Return what one row shows of a run, and what it finds at each depth."""
    after = json.loads((folder / "extension.json").read_text())["after"]
    lengths = after["context"]["lengths"]
    near, whole = lengths[0]["loss_nats"], lengths[-1]["loss_nats"]
    run = Run.load(folder)
    config = TrainConfig.from_dict(run.config["training"], run.model_config)
    store = read_training_data(config, run.tokenizer).validation
    found = retrieval(run.model, store, run.tokenizer, "passkey", [NEW], DEPTHS)
    keys = [None if each.chosen is None else 100 * each.chosen for each in found]
    known = [share for share in keys if share is not None]
    return {
        "whole": whole,
        "near": near,
        "difference": whole - near,
        "short": after["short"]["loss_nats"],
        "passkey": fmean(known) if known else None,
        **{f"depth {depth:g}": share for depth, share in zip(DEPTHS, keys, strict=True)},
    }


def readable(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Return two tables in Markdown; with several seeds the means and their 95% intervals."""
    tables = []
    for measures in (MEASURES, [f"depth {depth:g}" for depth in DEPTHS]):
        lines = ["| | " + " | ".join(measures) + " |", "| --- |" + " ---: |" * len(measures)]
        for name, found in rows.items():
            written = [cell([each[m] for each in found], m) for m in measures]
            lines.append(f"| {name} | " + " | ".join(written) + " |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def cell(values: list[float | None], measure: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    places = 3 if measure in MEASURES[:-1] else 0
    sign = "+" if measure == "difference" else ""
    found = interval(known)
    text = f"{found.mean:{sign}.{places}f}"
    return text if found.low is None else f"{text} ± {found.high - found.mean:.{places}f}"


if __name__ == "__main__":
    raise SystemExit(main())
