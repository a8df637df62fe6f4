"""Decoding speed, relative to transformers and to reading all weights once per token.

    python benchmarks/decode.py [--device cuda --dtype bfloat16 --static] [--json]

Both libraries decode the same random weights of the default architecture (transformers' Qwen3
holds it exactly) in the same dtype with a cache: greedily, batch 1, the same prompt. The tokens
must be equal, otherwise nothing is timed; in bfloat16, where near ties may break differently, the
table only reports whether they are. The programs take turns, so that a slow moment affects all.
The limit is the time of a sum over as many bytes as the weights have, measured in between: no
token can be decoded in less time than it takes to read every weight once. Where there is a C++
compiler, wordorder also decodes with a compiled step, and with --static transformers does, with a
cache of constant size; compilation is reported, not included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from wordorder.interop.huggingface.convert import converted
from wordorder.model import LanguageModel, ModelConfig
from wordorder.model.decoding import CompiledStep, Sampling, generate
from wordorder.training.compute import DTYPES, compiler_found

PROMPT_TOKENS = 16
OURS = ("wordorder", "compiled")


def main() -> None:
    options = _options()
    model = make_model(options)
    theirs = converted(model).to(options.device, DTYPES[options.dtype])
    model = model.to(options.device, DTYPES[options.dtype])
    model.compute_dtype = DTYPES[options.dtype]
    prompt = torch.randint(0, options.vocabulary, (PROMPT_TOKENS,)).tolist()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    step = CompiledStep(model) if compiler_found() else None
    contenders: dict[str, Callable[[], Any]] = {
        "wordorder": lambda: ours_writes(model, prompt, options.tokens),
        "compiled": lambda: ours_writes(model, prompt, options.tokens, step),
        "transformers": lambda: they_write(theirs, prompt, options.tokens),
        "transformers static": lambda: they_write(theirs, prompt, options.tokens, static=True),
        "limit": lambda: [weights.sum() for _ in range(options.tokens)],
    }
    if step is None:
        del contenders["compiled"]
    if not options.static:
        del contenders["transformers static"]
    first, once = {}, {}
    for name, write in contenders.items():
        first[name], once[name] = timed(write)
    same = all(first[name] == first["transformers"] for name in first if name != "limit")
    if not same and options.dtype == "float32":
        raise SystemExit("they wrote different tokens: their speeds cannot be compared")
    times = in_turn(contenders, options.rounds)
    rates = {name: options.tokens / statistics.median(taken) for name, taken in times.items()}
    result = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": options.dtype,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "tokens": options.tokens,
        "same_tokens": same,
        "tokens_per_second": rates,
        "over_transformers": {n: rates[n] / rates["transformers"] for n in OURS if n in rates},
        "over_static": {
            n: rates[n] / rates["transformers static"]
            for n in OURS
            if n in rates and options.static
        },
        "of_limit": {n: rates[n] / rates["limit"] for n in OURS if n in rates},
        "compile_seconds": once["compiled"] - min(times["compiled"]) if step else None,
    }
    print(json.dumps(result)) if options.json else show(result)


def make_model(options: argparse.Namespace) -> LanguageModel:
    """Return a model with non-zero random weights."""
    config = ModelConfig(
        width=options.width,
        layers=options.layers,
        heads=options.width // 64,
        vocabulary_size=options.vocabulary,
        trained_length=PROMPT_TOKENS + options.tokens,
    )
    return random_model(config)


def random_model(config: ModelConfig) -> LanguageModel:
    """Return a model whose matrices are random, none of them zero."""
    torch.manual_seed(0)
    model = LanguageModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    return model


def timed(write: Callable[[], Any]) -> tuple[Any, float]:
    """Return what it writes and the seconds it took."""
    start = time.perf_counter()
    written = write()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return written, time.perf_counter() - start


def in_turn(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each took in every round."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, write in contenders.items():
            times[name].append(timed(write)[1])
    return times


def ours_writes(
    model: LanguageModel, prompt: list[int], tokens: int, step: CompiledStep | None = None
) -> list[int]:
    """Return what `generate` writes, greedily."""
    return list(generate(model, prompt, Sampling(temperature=0, max_tokens=tokens), step=step))


@torch.inference_mode()
def they_write(model: Any, prompt: list[int], tokens: int, *, static: bool = False) -> list[int]:
    """Return what transformers' `generate` writes, greedily.

    Args:
        static: with a cache of constant size, for which transformers compiles the step.
    """
    given = torch.tensor([prompt], device=model.device)
    options = {"cache_implementation": "static", "compile_config": compiling()} if static else {}
    written = model.generate(
        given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
        **options,
    )
    return written[0, len(prompt) :].tolist()


def compiling() -> Any:
    """Return transformers' default of compiling, on a CPU too, where it would not compile."""
    from transformers import CompileConfig

    config = CompileConfig(mode="reduce-overhead" if torch.cuda.is_available() else "default")
    config._compile_all_devices = True
    return config


def show(result: dict[str, Any]) -> None:
    """Print the table for people."""
    print(
        f"{result['parameters'] / 1e6:.1f} M parameters, {result['dtype']}, batch 1, "
        f"{result['tokens']} tokens, {result['threads']} threads, torch {result['torch']}"
    )
    for name, rate in result["tokens_per_second"].items():
        print(f"{name:<20}{rate:>8.0f} tokens/s")
    for name, ratio in result["over_transformers"].items():
        print(f"{name}: {ratio:.2f} x transformers, {result['of_limit'][name]:.2f} of the limit")
    if result["compile_seconds"]:
        print(f"compiling took {result['compile_seconds']:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--static", action="store_true", help="transformers with a static cache")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
