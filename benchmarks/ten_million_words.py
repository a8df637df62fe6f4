"""Which positional embedding gives what, to a small model that reads ten million words once.

    python benchmarks/ten_million_words.py --data FOLDER [--out evidence/ten-million-words]
        [--runs runs/ten-million-words] [--positions none learned sinusoidal rotary alibi]
        [--size small|larger] [--seeds 5] [--device cpu|cuda] [--processes 2] [--plan]

FOLDER holds classics.txt.gz (245 books, separated by form feeds), classics.tsv (number, words,
author and title of each), blimp/*.jsonl.gz and wikitext2-test.txt. `protocol.json` in --out says
what is compared and how it will be judged; it was written before the first run. `rates.jsonl` has
one line for each short run that chose a learning rate, `runs.jsonl` one for each run of the table,
and `larger.jsonl` one for each run of --size larger, which takes the rates of wordorder as they
are. What has its line there is not done again, so the work can be spread over days and machines;
an interrupted run continues from its checkpoint in --runs. `--plan` measures a step and prints the
hours, and trains nothing.

A step of these models is too small for a GPU: there, 12 to 16 processes share it.

The text is split by author, by a hash of the name: no author is in two parts. Test books are read
by the runs of the table alone, each once; development books choose the learning rates.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from ten_million_measures import GRU, LENGTH, of_table

import wordorder as wo
from wordorder.allocator import keep_large_blocks
from wordorder.evaluation.loss import evaluate
from wordorder.experiments.tuning import FACTORS, SEEDS, best, further
from wordorder.text.load import load_corpus
from wordorder.text.tokenizer import make_tokenizer
from wordorder.training.compute import Compute, fingerprinted
from wordorder.training.metrics import read
from wordorder.training.training_data import TrainingData, read_training_data

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "alibi")
WORDS = 10_000_000
HELD_OUT_BOOKS = 40  # at least, in each of the two held-out parts
HELD_OUT_WORDS = 20_000  # of each held-out book, from its beginning
BATCH_SIZE = 8
TOKENS_PER_STEP = BATCH_SIZE * LENGTH
SMALL, LARGER = "small", "larger"
SIZES: dict[str, dict[str, Any]] = {
    SMALL: {"width": 128, "layers": 4, "heads": 4},
    LARGER: {"width": 320, "layers": 8, "heads": 5},  # 11 million parameters
}
# Compiled, 100 steps have the losses of eager ones within .0014, in three quarters of the time.
COMPUTE = Compute("cpu", 1, "bfloat16", "plain", compile=True, muon_dtype="bfloat16")
# On a GPU, FlexAttention adds a bias that depends on the distance alone; others are fused.
KERNELS_ON_GPU: dict[str, Any] = {"alibi": "flex", "t5": "flex", "kerple": "flex", GRU: "plain"}
RATE_SHARE = 0.25  # of the tokens, in runs that choose a learning rate
NEVER = 1 << 40
SHOWN = ("position", "seed", "rate", "development_loss", "bits_per_byte", "training_seconds",
         "measuring_seconds")  # fmt: skip
Cell = dict[str, Any]


def main() -> None:
    options = _options()
    text = options.runs / "text"
    if not (text / "tokenizer.json").exists():
        write_text(options.data, text)
    if options.plan:
        print_plan(text, options)
        return
    for line in run_all(text, options):
        print(json.dumps({name: line[name] for name in SHOWN if name in line}), flush=True)


# The text


def split_by_author(table: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the books of each part: whole authors in the order of a hash of their name.

    Args:
        table: `number`, `words`, `author` and `title` of each book.
    """
    authors = sorted({book["author"] for book in table}, key=_hash)
    parts: dict[str, list[dict[str, Any]]] = {"validation": [], "development": [], "training": []}
    for author in authors:
        part = next((p for p in parts if len(parts[p]) < HELD_OUT_BOOKS), "training")
        parts[part] += [book for book in table if book["author"] == author]
    words = 0
    training = []
    for book in sorted(parts["training"], key=lambda book: _hash(book["title"])):
        if words + book["words"] <= WORDS:
            training.append(book)
            words += book["words"]
    return {**parts, "training": training}


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def write_text(data: Path, text: Path) -> None:
    """Write each part as a folder with one file a book, and a tokenizer fitted on training text."""
    with gzip.open(data / "classics.txt.gz", "rt", encoding="utf-8") as file:
        books = file.read().split("\f")
    rows = (data / "classics.tsv").read_text(encoding="utf-8").splitlines()[1:]
    table = [
        {"number": int(number), "words": int(words), "author": author, "title": title}
        for number, words, author, title in (row.split("\t") for row in rows)
    ]
    for part, chosen in split_by_author(table).items():
        (text / part).mkdir(parents=True, exist_ok=True)
        for book in chosen:
            words = re.split(r"(\s+)", books[book["number"]].strip())
            most = None if part == "training" else 2 * HELD_OUT_WORDS
            path = text / part / f"{book['number']:03}.txt"
            path.write_text("".join(words[:most]), encoding="utf-8")
        print(f"{part}: {len(chosen)} books by {len({book['author'] for book in chosen})} authors")
    training = load_corpus(str(text / "training"))
    make_tokenizer("bpe", training, 4096).save(text / "tokenizer.json")


# The runs


def cells_left(position: str, options: argparse.Namespace) -> list[Cell]:
    """Return the runs of a position that have no line yet and can start now.

    First the trials that choose a factor of both learning rates: 1/2, 1 and 2, and further where
    the best is at an edge, with two seeds that the table does not use. When they are all there,
    the runs of the table, with the factor of the lowest mean loss.
    """
    cell = {"position": position, "size": options.size}
    rate = 1.0
    if options.size == SMALL:
        losses: dict[float, list[float]] = {}
        for line in lines_of(options.out / "rates.jsonl"):
            if line["position"] == position:
                losses.setdefault(line["rate"], []).append(line["development_loss"])
        for factors in ({*FACTORS, *losses}, further(losses, set(losses))):
            trials = [
                {**cell, "seed": seed, "rate": factor, "share": RATE_SHARE}
                for factor in sorted(factors)
                for seed in SEEDS
            ]
            if left := _without_line(trials, options):
                return left
        rate = best(losses)
    runs = [{**cell, "seed": n, "rate": rate, "share": 1.0} for n in range(options.seeds)]
    return _without_line(runs, options)


def _without_line(cells: Sequence[Cell], options: argparse.Namespace) -> list[Cell]:
    lines = lines_of(file_of(cells[0], options)) if cells else []
    done = set(map(_key, lines))
    return [cell for cell in cells if _key(cell) not in done]


def file_of(cell: Cell, options: argparse.Namespace) -> Path:
    """Return the file that gets the line of a cell."""
    if cell["size"] == LARGER:
        return options.out / "larger.jsonl"
    return options.out / ("runs.jsonl" if cell["share"] == 1 else "rates.jsonl")


def run_all(text: Path, options: argparse.Namespace) -> Iterator[Cell]:
    """Run everything that has no line yet, append its line, and yield it.

    A position's runs begin when its trials are done, whatever the others do.
    """
    tokens = len(training_data(text, "development").training)
    jobs: dict[Future[Cell], Cell] = {}
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:

        def submit(position: str) -> None:
            for cell in cells_left(position, options):
                steps = options.most_steps or int(cell["share"] * tokens) // TOKENS_PER_STEP
                jobs[pool.submit(run, cell, steps, text, options)] = cell

        for position in options.positions:
            submit(position)
        while jobs:
            for job in wait(jobs, return_when=FIRST_COMPLETED).done:
                cell = jobs.pop(job)
                line = {**cell, **job.result()}
                path = file_of(cell, options)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rounded(line)) + "\n")
                shutil.rmtree(folder_of(cell, options))  # no sooner: a line may be lost on the way
                yield line
                if all(other["position"] != cell["position"] for other in jobs.values()):
                    submit(cell["position"])


def folder_of(cell: Cell, options: argparse.Namespace) -> Path:
    """Return the folder of a run, from which a stopped one goes on."""
    return Path(options.runs / "-".join(str(value) for value in cell.values()))


def config_of(cell: Cell, text: Path, folder: Path) -> wo.TrainConfig:
    """Return the configuration of one run."""
    reader = {"kind": GRU} if cell["position"] == GRU else {"position": cell["position"]}
    rates = {
        name: cell["rate"] * getattr(wo.TrainConfig, name)
        for name in ("learning_rate", "matrix_learning_rate")
    }
    held_out = "validation" if cell["share"] == 1 else "development"  # trials read no test book
    shape = SIZES[cell["size"]]
    return wo.TrainConfig(
        model=wo.ModelConfig(**shape, **reader, trained_length=LENGTH, dropout=0.0),
        data=(str(text / "training"),),
        validation_data=(str(text / held_out),),
        development_data=(str(text / "development"),),
        tokenizer=str(text / "tokenizer.json"),
        batch_size=BATCH_SIZE,
        seed=cell["seed"],
        out=str(folder),
        keep="last",
        evaluate_every=NEVER,
        overwrite=True,
        **rates,
    )


def compute_of(position: str, device: str) -> Compute:
    """Return how a run computes: on one thread, in bfloat16, compiled."""
    if device == "cpu":
        return COMPUTE
    kernel = KERNELS_ON_GPU.get(position, "fused")
    return replace(COMPUTE, device=device, kernel=kernel, compile=position != GRU)


@lru_cache
def training_data(text: Path, held_out: str) -> TrainingData:
    """Return the tokens, with the test books or the development books as the held-out part."""
    share = 1.0 if held_out == "validation" else RATE_SHARE
    cell = {"position": "none", "size": SMALL, "seed": 0, "rate": 1.0, "share": share}
    return read_training_data(config_of(cell, text, text))


def run(cell: Cell, steps: int, text: Path, options: argparse.Namespace) -> Cell:
    """Train one cell, or go on with it, and measure it."""
    keep_large_blocks()
    torch.set_num_threads(1)
    torch.compiler.reset()  # PyTorch compiles a function for only a few models in one process
    folder = folder_of(cell, options)
    start = time.perf_counter()
    if any(folder.glob("training/step-*")):
        trained = wo.resume(str(folder))
    else:
        config = replace(config_of(cell, text, folder), steps=steps)
        trained = wo.train(config, compute=compute_of(cell["position"], options.device))
    seconds = time.perf_counter() - start
    model = trained.load_model(options.device)
    if cell["share"] == 1:
        test = training_data(text, "validation").validation
        measured = of_table(model, trained, test, options.data)
    else:
        books = training_data(text, "development").validation
        loss = evaluate(model, books, context_length=LENGTH)
        measured = {"development_loss": loss.loss_nats}
    return {
        **measured,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "tokens": trained.config["training"]["steps"] * TOKENS_PER_STEP,
        "training_seconds": round(seconds),
        "measuring_seconds": round(time.perf_counter() - start - seconds),
        "machine": asdict(fingerprinted(Compute.from_dict(trained.config["machine"]))),
        "processes": options.processes,
        "wordorder": wo.__version__,
        "commit": options.commit,
    }


# Planning


def print_plan(text: Path, options: argparse.Namespace) -> None:
    """Measure a few steps, and print how long everything takes that has no line yet."""
    cell = {"position": "rotary", "size": options.size, "seed": 0, "rate": 1.0, "share": 1.0}
    config = config_of(cell, text, options.runs / "plan")
    tokens = len(training_data(text, "development").training)
    wo.train(replace(config, steps=60), compute=compute_of("rotary", options.device))
    rates = [r["tokens_per_second"] for r in read(options.runs / "plan" / "metrics.jsonl")
             if "tokens_per_second" in r]  # fmt: skip
    shutil.rmtree(options.runs / "plan")
    hours = tokens / rates[-1] / 3600
    runs = len(options.positions) * options.seeds - len(lines_of(file_of(cell, options)))
    trials = len(FACTORS) * len(SEEDS) * len(options.positions)
    trials = max(0, trials - len(lines_of(options.out / "rates.jsonl")))
    total = hours * (runs + RATE_SHARE * trials * (options.size == SMALL)) / options.processes
    print(f"{tokens:,} tokens, {rates[-1]:,.0f} tokens/s on one thread: {60 * hours:.0f} min a run")
    print(f"left: {runs} runs, and {trials} trials of a quarter each: {total:.1f} hours")


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of results; none if it does not exist."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rounded(value: Any) -> Any:
    """Return a value of JSON with six digits after the point."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value


def commit() -> str:
    """Return the commit that is measured; empty outside a repository."""
    shown = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip()


def _key(cell: Cell) -> tuple[Any, ...]:
    return cell["position"], cell["seed"], cell["rate"], cell["share"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("evidence/ten-million-words"))
    parser.add_argument("--runs", type=Path, default=Path("runs/ten-million-words"))
    parser.add_argument("--positions", nargs="+", default=POSITIONS)
    parser.add_argument("--size", choices=SIZES, default=SMALL)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--most-steps", type=int, default=0, help="to try it out; 0: the whole text"
    )
    parser.add_argument("--plan", action="store_true")
    return parser.parse_args(namespace=argparse.Namespace(commit=commit()))


if __name__ == "__main__":
    main()
