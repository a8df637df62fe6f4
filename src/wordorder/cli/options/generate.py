"""The options of `wordorder generate`. Imports no torch, so that --help answers at once.

Defaults that are constants of modules with torch are written out; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from annotated_types import Interval

from wordorder.cli.arguments import parse
from wordorder.settings import Device, NotNegative, Penalty, Positive, Rate, Seed, Share


@dataclass(frozen=True)
class GenerateOptions:
    """Let a trained model continue a text.

    Args:
        run: the run folder that `wordorder train` wrote.
        prompt: what to go on from, whitespace at its end as part of the next word; `-` reads
            standard input; without any the model begins a document of its own.
        prompt_file: read the prompt from this file.
        max_tokens: most tokens to write; the end of the document ends it sooner.
        count: how many texts to write, each from a seed of its own.
        temperature: 0 always takes the likeliest token, 1 draws as the model would have it.
        top_k: draw from this many likeliest tokens only; 0: all.
        top_p: draw from the likeliest tokens that together reach this probability; 1: all.
        min_p: leave out tokens less likely than this share of the likeliest one; 0: none.
        repetition_penalty: above 1 makes tokens that are in the text already less likely.
        seed: of the draws, the same seed writes the same text; by default a new one each time.
        cache: keep keys and values; without it every token reads the whole text again.
        window: keep this many of the last tokens only, for a text of any length in the same
            memory; 0: all.
        sinks: keep this many of the first tokens besides, on which attention rests; 4 is usual.
        device: auto, cpu, cuda or mps.
        compile: write by compiled code, which takes some 20 s to make, less the next time; auto: on
            a CPU, where the texts asked for take a minute or more without.
        trust: run the code of an embedding of one's own that the run names.
        json: print one JSON object, when all is written.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    prompt: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PROMPT]")] = None
    prompt_file: str | None = None
    max_tokens: Positive = 200
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
    device: Device = "auto"
    compile: Literal["auto", "yes", "no"] = "auto"
    trust: tyro.conf.FlagCreatePairsOff[bool] = False
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def read_options(arguments: list[str]) -> GenerateOptions:
    """Return the options that were typed; --help prints them and leaves."""
    return parse(GenerateOptions, arguments, command="wordorder generate")
