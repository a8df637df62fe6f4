"""The options of `wordorder generate`. Imports no torch, so that --help is fast.

Defaults that are constants in modules with torch are repeated here; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import tyro
from annotated_types import Interval

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.errors import BadInput
from wordorder.settings import Device, NotNegative, PathName, Penalty, Positive, Rate, Seed, Share
from wordorder.text.user_text import decode_argument


@dataclass(frozen=True)
class GenerateOptions:
    """Continue a text with a trained model.

    Args:
        run: the run folder that `wordorder train` wrote.
        prompt: the text to continue; whitespace at its end becomes part of the next word. `-`
            reads standard input; without a prompt the model starts a new document.
        prompt_file: read the prompt from this file.
        chat: answer line after line of standard input, as a model trained on conversations; /reset
            begins a new conversation, /quit or Ctrl-D ends, Ctrl-C stops an answer.
        system: with --chat, the system prompt, before the first turn of every conversation.
        max_tokens: largest number of tokens to generate; generation also stops at the end of the
            document.
        stop: end before this text, which is not written; give the option again for each of several
            texts. The prompt does not count.
        count: number of texts, each with a different seed.
        temperature: 0 always takes the most likely token, 1 samples from the model's distribution.
        top_k: sample from this many of the most likely tokens; 0: all.
        top_p: sample from the most likely tokens that together have this probability; 1: all.
        min_p: exclude tokens less likely than this share of the most likely one; 0: none.
        repetition_penalty: values above 1 make tokens that occurred before less likely.
        seed: the same seed generates the same text; by default a new one each time.
        cache: cache keys and values; otherwise every token reads the whole text again.
        window: keep only this many of the last tokens, to generate any length with constant
            memory; 0: all.
        sinks: with --window, also keep this many of the first tokens (attention sinks); 4 is
            common.
        engine: wordorder, or llama.cpp: RUN may then also be the folder or the .gguf file of
            `wordorder export --to gguf`. Sampling is the same.
        device: auto, cpu, cuda or mps.
        compile: use compiled code, which takes about 20 s to compile, less when repeated; auto: on
            a CPU, if generation takes a minute or more without it.
        trust: run the code of a user-defined embedding in the run.
        json: print one JSON object at the end; with --chat one for each line, on a line of its own.
    """

    run: Annotated[PathName, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    prompt: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PROMPT]")] = None
    prompt_file: PathName | None = None
    chat: tyro.conf.FlagCreatePairsOff[bool] = False
    system: str | None = None
    max_tokens: Positive = 200
    stop: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="TEXT")] = ()
    count: Positive = 1
    temperature: Rate = 0.8
    top_k: NotNegative = 0
    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    min_p: Share = 0.05
    repetition_penalty: Penalty = 1.0
    seed: Seed | None = None
    cache: bool = True
    window: NotNegative = 0
    sinks: NotNegative = 0
    engine: Literal["wordorder", "llama.cpp"] = "wordorder"
    device: Device = "auto"
    compile: Literal["auto", "yes", "no"] = "auto"
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> GenerateOptions:
    """Parse the arguments; --help prints the help and exits."""
    options = parse(GenerateOptions, arguments, command="wordorder generate")
    if options.chat:
        if options.prompt is not None:
            raise BadInput(
                "--chat reads what you type line by line: leave out PROMPT",
                code="cli.generate-chat-prompt",
            )
        no_effect = BadInput(
            "{} is not possible with --chat: leave out one of the two",
            code="cli.generate-chat-option",
        )
        names = "prompt_file count window sinks engine compile"
        refuse_typed(typed_names(arguments), (True, names, no_effect))
    elif options.system is not None:
        raise BadInput(
            "--system begins a conversation: add --chat, or leave it out",
            code="cli.generate-system",
        )
    if "" in options.stop:
        raise BadInput(
            "--stop is empty: give a text that is to end the generated one, or leave it out",
            code="cli.generate-empty-stop",
        )
    stop = tuple(decode_argument(text, "--stop") for text in options.stop)
    system = options.system and decode_argument(options.system, "--system")
    return replace(options, stop=stop, system=system)
