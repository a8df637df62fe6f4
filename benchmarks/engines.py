"""Decoding speed of wordorder, transformers and llama.cpp on the same weights.

    python benchmarks/engines.py [--run RUN] [--threads N] [--json]

All decode the same float32 weights (random ones of `--preset mini`, or a run's) with a cache:
greedily, batch 1, the same prompt. The tokens must be equal, otherwise nothing is timed; files of
f16 and q8_0, whose weights are rounded, are timed in addition. The programs take turns, so that a
slow moment affects all. Loading and compiling are not included. Ratios are to wordorder in eager
mode.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from decode import PROMPT_TOKENS, in_turn, ours_writes, random_model, they_write, timed

from wordorder.interop.gguf.algorithm import algorithm_of
from wordorder.interop.gguf.file import DTYPES, write_gguf
from wordorder.interop.gguf.llama_cpp import LlamaCpp
from wordorder.interop.holders import architecture_of_llama_cpp
from wordorder.interop.huggingface.convert import converted
from wordorder.model import PRESETS, LanguageModel, ModelConfig
from wordorder.model.decoding import CompiledStep
from wordorder.text.backends import ENDS_OF_TEXT, add_special, byte_backend
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.compute import compiler_found
from wordorder.training.run import Run

MINI = ModelConfig(**PRESETS["mini"], vocabulary_size=4096)
EXACT = ("wordorder", "wordorder --compile", "transformers", "llama.cpp f32")


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    model = Run.load(options.run).model if options.run else random_model(MINI)
    prompt = torch.randint(0, 256, (PROMPT_TOKENS,)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        contenders = engines(model, prompt, options.tokens, Path(folder), options.threads)
        first = {name: timed(write)[0] for name, write in contenders.items()}
        if any(first[name] != first["wordorder"] for name in EXACT if name in first):
            raise SystemExit("they wrote different tokens: their speeds cannot be compared")
        times = in_turn(contenders, options.rounds)
    rates = {name: options.tokens / statistics.median(taken) for name, taken in times.items()}
    result = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "threads": options.threads,
        "tokens": options.tokens,
        "tokens_per_second": rates,
        "ratios": {name: rate / rates["wordorder"] for name, rate in rates.items()},
    }
    print(json.dumps(result)) if options.json else show(result)


def engines(
    model: LanguageModel, prompt: list[int], tokens: int, folder: Path, threads: int
) -> dict[str, Callable[[], list[int]]]:
    """Return what writes tokens, by name."""
    contenders = {"wordorder": partial(ours_writes, model, prompt, tokens)}
    if compiler_found():
        step = CompiledStep(model)
        contenders["wordorder --compile"] = partial(ours_writes, model, prompt, tokens, step)
    contenders["transformers"] = partial(they_write, converted(model), prompt, tokens)
    backend = byte_backend()
    add_special(backend, ENDS_OF_TEXT)
    tokenizer = Tokenizer(backend)
    name = architecture_of_llama_cpp(model.config).class_name
    for dtype in DTYPES:
        path = folder / f"{dtype}.gguf"
        algorithm = algorithm_of(tokenizer, folder / "vocabulary.gguf")
        write_gguf(
            path, model, tokenizer, name, algorithm=algorithm, dtype=dtype, title="benchmark"
        )
        file = LlamaCpp(path, context=len(prompt) + tokens, threads=threads)
        contenders[f"llama.cpp {dtype}"] = partial(llama_cpp_writes, file, prompt, tokens)
    return contenders


def llama_cpp_writes(file: LlamaCpp, prompt: list[int], tokens: int) -> list[int]:
    """Return what llama.cpp writes, greedily."""
    file.clear()
    new, written, position = list(prompt), [], 0
    while len(written) < tokens:
        positions = range(position, position + len(new))
        logits = file.read(new, positions=positions, last_only=True)
        position += len(new)
        new = [int(logits[0].argmax())]
        written += new
    return written


def show(result: dict[str, Any]) -> None:
    """Print the table for people."""
    print(
        f"{result['parameters'] / 1e6:.1f} M parameters, batch 1, {result['tokens']} tokens, "
        f"{result['threads']} threads"
    )
    for name, rate in result["tokens_per_second"].items():
        print(f"{name:<20}{rate:>7,.0f} tokens/s{result['ratios'][name]:>7.2f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", help="a run folder; by default random weights")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
