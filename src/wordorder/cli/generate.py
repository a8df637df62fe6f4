"""`wordorder generate`: continues a text with a trained model, and streams the result.

Only the text goes to stdout. Remarks (text longer than the trained length, speed, seed) go to
stderr.
"""

from __future__ import annotations

import json
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

from wordorder.cli.opened import open_run
from wordorder.cli.options.generate import GenerateOptions, read_options
from wordorder.cli.output import end_with_reader, write
from wordorder.errors import BadInput
from wordorder.model import LanguageModel, TokenModel
from wordorder.model.compiled_step import CompiledStep, compile_refusal
from wordorder.model.decoding import Sampling, check_window, generate
from wordorder.numerals import counted
from wordorder.positions import foreign
from wordorder.settings import LARGEST
from wordorder.text.prompt import Prompt
from wordorder.text.stop_texts import StopTexts
from wordorder.text.user_text import decode, decode_argument, printable, read_text
from wordorder.training.compute import compiler_found, pick_device
from wordorder.training.run import Run
from wordorder.training.text_generation import decoded, generate_text, remaining_positions
from wordorder.training.threads import use_free_cores

BETWEEN = "\n---\n"  # separates several texts on stdout
# Compiled, a token takes a third of the time; TIMED tokens are generated to estimate the total.
SECONDS_WORTH_COMPILING, FEWEST_WORTH_COMPILING, TIMED = 60, 1000, 16


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    end_with_reader()
    if options.chat:
        from wordorder.cli.chat import chat

        return chat(options, _sampling(options))
    if options.engine == "llama.cpp":
        return _by_llama_cpp(options)
    run = open_run(options.run, trust=options.trust)
    run.check_next_token("generate")
    use_free_cores()
    model = run.load_model(pick_device(options.device))
    window = {"window": options.window, "sinks": options.sinks}
    check_window(model, **window, use_cache=options.cache)
    prompt = Prompt(_prompt(options), run.tokenizer)
    first = _sampling(options)
    cached = options.window and options.window + options.sinks
    sampling = replace(first, max_tokens=_room(run, model, prompt, first.max_tokens, cached))
    if prompt.note:
        _say(prompt.note)
    step = _compiled_step(options, model, prompt.tokens, sampling)
    _write_all(
        options,
        prompt,
        sampling,
        lambda one, stop_texts: generate_text(
            model, prompt, one, stop_texts, use_cache=options.cache, step=step, **window
        ),
        {"run": str(run.folder), "prompt": prompt.text, "sampling": asdict(sampling), **window},
    )
    return 0


def _by_llama_cpp(options: GenerateOptions) -> int:
    from wordorder.cli.llama_cpp import gguf_file

    with gguf_file(options) as file:
        prompt = Prompt(_prompt(options), file.tokenizer)
        sampling, left = _sampling(options), file.room(len(prompt.tokens))
        if left == 0:
            raise BadInput(
                f"the prompt has {counted(len(prompt.tokens), 'token')}, as many as the model has "
                "positions: shorten it",
                code="cli.generate-no-position",
            )
        if left is not None and left < sampling.max_tokens:
            _say(f"the model has positions for {counted(left, 'more token')}")
            sampling = replace(sampling, max_tokens=left)
        if prompt.note:
            _say(prompt.note)
        _write_all(
            options,
            prompt,
            sampling,
            lambda one, stop_texts: decoded(file.generate(prompt, one), prompt, one, stop_texts),
            {"run": options.run, "prompt": prompt.text, "sampling": asdict(sampling)},
        )
    return 0


def _write_all(
    options: GenerateOptions,
    prompt: Prompt,
    sampling: Sampling,
    pieces: Callable[[Sampling, StopTexts], Iterator[str]],
    record: dict[str, Any],
) -> None:
    """Write the requested number of texts, each with another seed, and the record for JSON.

    Args:
        pieces: returns the pieces of one text.
    """
    texts = []
    for number in range(options.count):
        one = replace(sampling, seed=(sampling.seed + number) % LARGEST)
        if number and not options.json:
            print(BETWEEN, flush=True)
        stop_texts = StopTexts(options.stop)
        texts.append(_write(pieces(one, stop_texts), prompt.text, one, stop_texts, options.json))
    if options.json:
        print(json.dumps({**record, "stop": options.stop, "texts": texts}))


def _sampling(options: GenerateOptions) -> Sampling:
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    names = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    return Sampling(**{name: getattr(options, name) for name in names}, seed=seed)


def _compiled_step(
    options: GenerateOptions, model: TokenModel, start: list[int], sampling: Sampling
) -> CompiledStep | None:
    """Return the compiled decoding step if it is requested or worth its time, else None."""
    if options.compile == "no":
        return None
    on_cpu = model.embedding.weight.device.type == "cpu"
    obstacle = str(compile_refusal(model, window=options.window, use_cache=options.cache) or "")
    if not obstacle and on_cpu and not compiler_found():
        obstacle = "it needs a C++ compiler: install g++, or set CXX"
    if options.compile == "yes":
        if obstacle:
            raise BadInput(f"--compile yes: {obstacle}", code="cli.generate-not-compiled")
    elif obstacle or not on_cpu or not _repaid(model, start, sampling, options.count):
        return None
    _say("compiling the decoding step, which takes about 20 s, or less if it was compiled before")
    return CompiledStep(model)


def _repaid(model: TokenModel, start: list[int], sampling: Sampling, count: int) -> bool:
    """Return whether generation takes long enough to repay compiling; times a few tokens."""
    tokens = count * sampling.max_tokens
    if tokens < FEWEST_WORTH_COMPILING or foreign(model.config.position):
        return False  # a user-defined embedding may not be supported by the compiler
    timed = min(TIMED, sampling.max_tokens)  # more may not fit
    started = time.perf_counter()
    list(generate(model, start, replace(sampling, max_tokens=timed)))
    return (time.perf_counter() - started) / timed * tokens >= SECONDS_WORTH_COMPILING


def _prompt(options: GenerateOptions) -> str:
    if options.prompt_file is not None:
        if options.prompt is not None:
            raise BadInput(
                "PROMPT and --prompt-file both set the prompt: give one of them",
                code="cli.generate-two-prompts",
            )
        missing = f"--prompt-file {printable(options.prompt_file)}: no such file; check the path"
        return read_text(options.prompt_file, missing).removesuffix("\n")
    if options.prompt == "-":
        if sys.stdin is None:
            raise BadInput(
                "standard input is closed: give a prompt, or --prompt-file",
                code="cli.generate-no-stdin",
            )
        return decode(sys.stdin.buffer.read(), "standard input").removesuffix("\n")
    return decode_argument(options.prompt or "", "the prompt")


def _room(run: Run, model: TokenModel, prompt: Prompt, max_tokens: int, cached: int) -> int:
    """Return how many tokens can be generated, with a message if that is not `max_tokens`.

    Args:
        max_tokens: the requested number of tokens.
        cached: the largest number of tokens in the cache, which bounds positions; 0: no limit.

    Raises:
        BadInput: the prompt is longer than the embedding has positions for.
    """
    if not isinstance(model, LanguageModel):
        return max_tokens
    longest = model.position.max_position
    endless = longest is None or 0 < cached <= longest
    left = None if endless else remaining_positions(model, prompt)
    if left is not None and left < max_tokens:
        _say(
            f"{model.config.position} has no position past {longest}: "
            f"generating at most {counted(left, 'token')} instead of {max_tokens:,}"
        )
        max_tokens = left
    last = len(prompt.tokens) + max_tokens - 2  # the last generated token is not read
    _say_if_past_trained_length(run, min(last, cached) if cached else last, ends=not endless)
    return max_tokens


def _say_if_past_trained_length(run: Run, last: int, *, ends: bool) -> None:
    """Print a message if the last position is past the trained length."""
    position, length = run.model_config.position, run.model_config.trained_length
    history = f"the model was trained on {length} tokens"
    if extension := run.config.get("extension"):
        before, length = extension["from_length"], extension["to_length"]
        method = extension["method"]
        history = f"the model was extended from {before:,} to {length:,} tokens by {method}"
        if before <= last < length:
            _say(history)
    if last >= length and not ends:
        _say(
            f"{history}; {position} has positions past them, but quality may drop: measure it with "
            f"wordorder eval {shlex.quote(str(run.folder))} --length {2 * length}"
        )


def _write(
    pieces: Iterator[str], prompt: str, sampling: Sampling, stop_texts: StopTexts, quiet: bool
) -> dict[str, Any]:
    """Stream one text to stdout and return its record for JSON.

    Args:
        pieces: a piece of text for each token, and a last one.
    """

    def show(piece: str) -> None:
        if not quiet:
            write(piece)

    show(prompt)
    started, written = time.perf_counter(), []
    for piece in pieces:
        written.append(piece)
        show(piece)
    show("\n")
    tokens = len(written) - 1
    seconds = time.perf_counter() - started
    rate = tokens / seconds
    if not quiet:
        _say(f"{counted(tokens, 'token')}, {rate:,.0f} tokens/s, seed {sampling.seed}")
        if not tokens and not stop_texts.found:
            chance = "another --seed" if sampling.temperature else "a --temperature above 0"
            other = "another prompt" if prompt else "a prompt"
            _say(f"the model ended the text at once: try {other}, or {chance}")
    ended = tokens < sampling.max_tokens and not stop_texts.found
    return {
        "text": "".join(written),
        "tokens": tokens,
        "seed": sampling.seed,
        "ended": ended,
        "reason": "stop" if stop_texts.found else "end-of-text" if ended else "max-tokens",
        "tokens_per_second": round(rate, 1),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
