"""How long each part of `wordorder probe` takes.

    python benchmarks/probe.py --preset tiny

The parts run one after another on a model with random weights, since their time does not depend on
what a model has learned, with the held-out part of the built-in text. The aim is 120 seconds for
`--preset tiny` on two to four cores. `--pairs` adds the minimal pairs of a file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import torch

from wordorder.evaluation.preferences import read_pairs
from wordorder.evaluation.probe import PARTS, probe
from wordorder.model import TokenModel, make_model
from wordorder.model.config import PRESETS, ModelConfig
from wordorder.text.load import load_corpus
from wordorder.text.split import split_corpus
from wordorder.text.store import open_store
from wordorder.text.tokenizer import make_tokenizer

AIM = 120.0  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="tiny", choices=PRESETS)
    parser.add_argument("--position", default="rotary")
    parser.add_argument("--data", default="python-docs")
    parser.add_argument("--pairs", help="a .jsonl file, plain or .gz")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    corpus = load_corpus(options.data)
    split = split_corpus(corpus)
    training, validation = split.training, split.validation
    tokenizer = make_tokenizer("bpe", training)
    store = open_store(validation, tokenizer)
    model = random_model(
        ModelConfig(
            **PRESETS[options.preset],
            position=options.position,
            vocabulary_size=tokenizer.vocabulary_size,
        )
    )
    seconds = {part: timed(model, store, tokenizer, only=[part]) for part in PARTS}
    result: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "preset": options.preset,
        "position": options.position,
        "seconds": seconds,
        "all": sum(seconds.values()),
    }
    if options.pairs:
        pairs = [(options.pairs, read_pairs(options.pairs))]
        with_pairs = timed(model, store, tokenizer, only=["sentences"], pairs=pairs)
        result["pairs"] = with_pairs - seconds["sentences"]
    print(json.dumps(result) if options.json else readable(result))
    return 0


def random_model(config: ModelConfig) -> TokenModel:
    """Return a model with no zero weight, so that nothing can be left out."""
    model = make_model(config)
    model.initialise(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def timed(*given: Any, **options: Any) -> float:
    """Return the seconds of a probe."""
    start = time.perf_counter()
    probe(*given, **options)
    return time.perf_counter() - start


def readable(result: dict[str, Any]) -> str:
    lines = [
        f"torch {result['torch']}, {result['threads']} threads, {result['preset']} with "
        f"{result['position']}",
        *(f"{part:<10}{seconds:8.1f} s" for part, seconds in result["seconds"].items()),
        f"{'all':<10}{result['all']:8.1f} s   (aim for tiny: {AIM:.0f})",
    ]
    if "pairs" in result:
        lines.append(f"{'a file of pairs':<10}{result['pairs']:8.1f} s")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
