"""`wordorder generate`: a trained model continues a text, piece by piece as it comes.

The text goes to stdout and nothing else does; what a reader should know of it (that it
grows past the trained length, how fast it came, from which seed) goes to stderr.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from wordorder.cli.options.generate import GenerateOptions, read_options
from wordorder.errors import BadInput
from wordorder.model import LanguageModel, TokenModel
from wordorder.model.compiled_step import CompiledStep, why_not
from wordorder.model.decoding import Sampling, check_window, generate
from wordorder.numerals import counted
from wordorder.positions import foreign
from wordorder.settings import LARGEST
from wordorder.text.prompt import Prompt
from wordorder.text.user_text import decode, decode_argument, printable, read_text
from wordorder.training.compute import compiler_found, pick_device
from wordorder.training.run import Run
from wordorder.training.text_generation import generate_text, remaining_positions

BETWEEN = "\n---\n"  # what parts several texts on stdout
# Compiled, a token takes a third of the time; a few are written to see how long it is.
SECONDS_WORTH_COMPILING, FEWEST_WORTH_COMPILING, TRIED = 60, 1000, 16


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = read_options(arguments)
    if options.count < 1:
        raise BadInput(f"--count is {options.count}: it must be at least 1")
    run = Run.load(options.run, trust=options.trust)
    run.check_next_token("generate")
    model = run.load_model(pick_device(options.device))
    window = {"window": options.window, "sinks": options.sinks}
    check_window(model, **window, use_cache=options.cache)
    prompt = Prompt(_prompt(options), run.tokenizer)
    first = _sampling(options)
    kept = options.window and options.window + options.sinks
    sampling = replace(first, max_tokens=_room(run, model, prompt, first.max_tokens, kept))
    if prompt.note:
        _say(prompt.note)
    step = _compiled_step(options, model, prompt.tokens, sampling)
    texts = []
    for number in range(options.count):
        one = replace(sampling, seed=(sampling.seed + number) % LARGEST)
        if number and not options.json:
            print(BETWEEN, flush=True)
        written = generate_text(model, prompt, one, use_cache=options.cache, step=step, **window)
        texts.append(_write(written, prompt.text, one, options.json))
    if options.json:
        result = {"run": str(run.folder), "prompt": prompt.text, "sampling": asdict(sampling)}
        print(json.dumps({**result, **window, "texts": texts}))
    return 0


def _sampling(options: GenerateOptions) -> Sampling:
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    names = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    return Sampling(**{name: getattr(options, name) for name in names}, seed=seed)


def _compiled_step(
    options: GenerateOptions, model: TokenModel, start: list[int], sampling: Sampling
) -> CompiledStep | None:
    """Return the model's step to be compiled, where that was asked for or is repaid."""
    if options.compile == "no":
        return None
    on_cpu = model.embedding.weight.device.type == "cpu"
    why = why_not(model, window=options.window, use_cache=options.cache)
    if not why and on_cpu and not compiler_found():
        why = "it needs a C++ compiler: install g++, or set CXX"
    if options.compile == "yes":
        if why:
            raise BadInput(f"--compile yes: {why}")
    elif why or not on_cpu or not _repaid(model, start, sampling, options.count):
        return None
    _say("compiling the decoding step: some 20 s, less when it was compiled before")
    return CompiledStep(model)


def _repaid(model: TokenModel, start: list[int], sampling: Sampling, count: int) -> bool:
    """Return whether writing takes long enough, by a few tokens written to see."""
    tokens = count * sampling.max_tokens
    if tokens < FEWEST_WORTH_COMPILING or foreign(model.config.position):
        return False  # nobody knows whether a compiler follows an embedding of one's own
    started = time.perf_counter()
    list(generate(model, start, replace(sampling, max_tokens=TRIED)))
    return (time.perf_counter() - started) / TRIED * tokens >= SECONDS_WORTH_COMPILING


def _prompt(options: GenerateOptions) -> str:
    if options.prompt_file is not None:
        if options.prompt is not None:
            raise BadInput("a prompt and --prompt-file are two prompts: give one")
        missing = f"--prompt-file {printable(options.prompt_file)}: no such file"
        return read_text(options.prompt_file, missing).removesuffix("\n")
    if options.prompt == "-":
        if sys.stdin is None:
            raise BadInput("standard input is closed: give a prompt, or --prompt-file")
        return decode(sys.stdin.buffer.read(), "standard input").removesuffix("\n")
    return decode_argument(options.prompt or "", "the prompt")


def _room(run: Run, model: TokenModel, prompt: Prompt, asked: int, kept: int) -> int:
    """Return how many tokens can be written, and say so where the length matters.

    Args:
        kept: how many tokens the cache keeps at most, behind which the newest one stands; 0: all.

    Raises:
        BadInput: a prompt longer than the embedding has positions for.
    """
    if not isinstance(model, LanguageModel):
        return asked
    longest = model.position.max_position
    endless = longest is None or 0 < kept <= longest
    left = None if endless else remaining_positions(model, prompt)
    if left is not None and left < asked:
        _say(
            f"{model.config.position} has no position past {longest}: "
            f"writing at most {counted(left, 'token')} instead of {asked:,}"
        )
        asked = left
    last = len(prompt.tokens) + asked - 2  # what is written last is not read
    _say_how_far(run, min(last, kept) if kept else last, ends=not endless)
    return asked


def _say_how_far(run: Run, last: int, *, ends: bool) -> None:
    """Say where a position stands to the length that the model was trained at, if past it."""
    position, reached = run.model_config.position, run.model_config.trained_length
    about = f"trained on {reached} tokens"
    if extension := run.config.get("extension"):
        before, reached = extension["from_length"], extension["to_length"]
        about = f"extended from {before:,} to {reached:,} tokens by {extension['method']}"
        if before <= last < reached:
            _say(about)
    if last >= reached and not ends:
        _say(
            f"{about}: past them {position} goes on, "
            f"how well is measured by wordorder eval RUN --length {2 * reached}"
        )


def _write(written: Iterator[str], prompt: str, sampling: Sampling, quiet: bool) -> dict[str, Any]:
    """Stream one text to stdout and return what is to be said of it.

    Args:
        written: a piece for each token, and one more.
    """

    def show(piece: str) -> None:
        if not quiet:
            print(piece, end="", flush=True)

    show(prompt)
    started, pieces = time.perf_counter(), []
    for piece in written:
        pieces.append(piece)
        show(piece)
    show("\n")
    tokens = len(pieces) - 1
    seconds = time.perf_counter() - started
    rate = tokens / seconds
    if not quiet:
        _say(f"{counted(tokens, 'token')}, {rate:,.0f} tokens/s, seed {sampling.seed}")
    return {
        "text": "".join(pieces),
        "tokens": tokens,
        "seed": sampling.seed,
        "ended": tokens < sampling.max_tokens,
        "tokens_per_second": round(rate, 1),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
