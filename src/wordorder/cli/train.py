"""`wordorder train`: trains a language model on text, or resumes a run.

The run folder goes to stdout at the end. The plan and the progress go to stderr: a live line in a
terminal, otherwise a line every ten seconds.
"""

from __future__ import annotations

import json
import math
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from wordorder.allocator import keep_large_blocks
from wordorder.cli.arguments import typed_names
from wordorder.cli.launch import (
    interrupted_run,
    is_worker,
    launch,
    launch_record,
    quiet_losses,
)
from wordorder.cli.options.train import TrainOptions, read_options
from wordorder.cli.printed import screen
from wordorder.control_characters import escaped
from wordorder.errors import BadInput
from wordorder.interop.holders import exports
from wordorder.numerals import counted, perplexity_in_words
from wordorder.positions import foreign
from wordorder.table import Table
from wordorder.text.user_text import decode_argument
from wordorder.training.config import TEXTS, folder_of
from wordorder.training.display import Display
from wordorder.training.follower import follow
from wordorder.training.metrics import read
from wordorder.training.plan import Plan, readable_seconds
from wordorder.training.ranks import Ranks, joined, world_size
from wordorder.training.report import shown_sample
from wordorder.training.run import Run
from wordorder.training.start import resume, train

SECONDS_BETWEEN_LINES = 10.0  # without a terminal
ALLOWED_WITH_RESUME = (
    *("--resume", "--inexact", "--trust", "--json"),
    *(f"--{name.replace('_', '-')}" for name in TEXTS),  # where the texts are now
    *("--ranks", "--max-restarts"),
)


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    keep_large_blocks()
    options = read_options(arguments)
    if options.find_learning_rate:
        if is_worker():
            raise BadInput(
                "--find-learning-rate trains short runs of one process: start it without torchrun",
                code="cli.search-of-ranks",
            )
        from wordorder.cli.find_learning_rate import find  # imports what other runs do not need

        return find(options, arguments)
    if options.max_restarts and options.ranks == 1 and not is_worker():
        raise BadInput(
            "--max-restarts starts ranks again, and without --ranks there is one process: add "
            "--ranks 2 or more, or leave it out",
            code="cli.train-restarts-alone",
        )
    if is_worker() and options.ranks not in (1, world_size()):
        raise BadInput(
            f"--ranks {options.ranks}, but torchrun started {world_size()} processes: leave out "
            "--ranks",
            code="cli.train-ranks-differ",
        )
    if options.ranks > 1 and not is_worker():
        folder = Path(options.resume) if options.resume else folder_of(options.train)
        return launch(arguments, options.ranks, options.max_restarts, folder)
    with joined() as ranks, quiet_losses(ranks):
        if not ranks.leads:
            follow(ranks)
            return 0
        run = _trained(options, arguments, Terminal(), ranks)
    _print_result(run, options.json)
    if not options.json:
        Terminal().say(next_commands(run))
    return 0


def _trained(options: TrainOptions, arguments: list[str], show: Terminal, ranks: Ranks) -> Run:
    """Train or resume as typed, and return the run."""
    if options.resume is not None:
        _only_resume(arguments)
        typed = typed_names(arguments)
        return resume(
            options.resume,
            inexact=options.inexact,
            trust=options.trust,
            show=show,
            ranks=ranks,
            texts={name: getattr(options.train, name) for name in TEXTS if name in typed},
        )
    command = shlex.join(["wordorder", "train", *arguments])
    config = options.train.plain()
    prompt = decode_argument(config.sample_prompt, "--sample-prompt")
    config = replace(config, sample_prompt=prompt)
    about = launch_record()
    if (folder := interrupted_run(config, command)) is not None:
        return resume(folder, trust=True, show=show, ranks=ranks)
    return train(config, show=show, command=command, trust=options.trust, about=about, ranks=ranks)


def next_commands(run: Run) -> str:
    """Return commands to continue with after training."""
    folder = shlex.quote(str(run.folder))
    if foreign(run.model_config.position):
        folder += " --trust"
    if run.fills_in:  # a bidirectional model does not generate text
        return f"next: wordorder eval {folder}, or wordorder explain {folder}"
    if run.chat is not None:
        return f"next: wordorder generate {folder} --chat, or wordorder eval {folder}"
    return f'next: wordorder generate {folder} "The", or wordorder eval {folder}'


def _only_resume(arguments: list[str]) -> None:
    for word in arguments:
        name = word.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in ALLOWED_WITH_RESUME:
            raise BadInput(
                f"--resume uses the configuration of the run: leave out {name}, or start a new "
                "run from its weights with --init",
                code="cli.train-resume-option",
            )


def _print_result(run: Run, as_json: bool) -> None:
    records = read(run.folder / "metrics.jsonl")
    steps = [r for r in records if "loss" in r]
    final = next(r for r in reversed(records) if "validation_loss" in r)
    if as_json:
        last = {k: v for k, v in steps[-1].items() if k in ("step", "tokens", "loss")}
        print(json.dumps({"run": str(run.folder), **final, **last}))
    else:
        print(run.folder)


class Terminal(Display):
    """Shows a run on stderr: its plan, then a live line in a terminal, or plain lines."""

    def __init__(self) -> None:
        self.console = screen(stderr=True)
        self.live = self.console.is_terminal
        self.started = self.shown = time.perf_counter()
        self.progress: Progress | None = None
        self.steps, self.open = 0, False
        self.vocabulary_size = 0

    def say(self, line: str) -> None:
        self.console.print(line, style="dim", markup=False, soft_wrap=True)

    def plan(self, plan: Plan, done: int) -> None:
        self.steps, self.open = plan.steps, plan.open_ended
        self.vocabulary_size = plan.config.model.vocabulary_size
        both = frozenset({0, 1})
        rows = [*plan.rows(), ("exports", exports(plan.config.model, plan.data["tokenizer"]))]
        table = Table(["", ""], rows, left=both, column_styles={0: "bold"})
        self.console.print(table.terminal())
        for line in plan.warnings():
            self.console.print(line, style="yellow", markup=False, soft_wrap=True)
        if done:
            self.say(f"resuming after step {done:,}")
        if self.live:
            self.progress = Progress(
                BarColumn(bar_width=20), TextColumn("{task.description}"), console=self.console
            )
            self.progress.start()
            self.task = self.progress.add_task("", total=plan.steps, completed=done)

    def decided(self, decision: dict[str, Any]) -> None:
        if "threads" in decision:
            number = decision["threads"]
            word = "thread" if number == 1 else "threads"
            self.say(f"step {decision['step']:,}: using {number} {word} from now on, as measured")
            return
        if "ranks" in decision:
            ranks = counted(decision["ranks"], "rank")
            self.say(
                f"step {decision['step']:,}: training on {ranks} from now on, with the same "
                "batches; sums in another order change the last bits"
            )
            return
        if self.open:
            self.say(
                f"step {decision['step']:,}: the learning rate falls from now on, until the end "
                f"at step {decision['steps']:,}"
            )
        self.steps, self.open = decision["steps"], False
        if self.progress is not None:
            self.progress.update(self.task, total=self.steps)

    def step(self, record: dict[str, Any], seconds_left: float) -> None:
        now = time.perf_counter()
        line = self._line(record, seconds_left)
        if self.progress is not None:
            self.progress.update(self.task, completed=record["step"], description=line)
        elif record["step"] in (1, self.steps) or now - self.shown > SECONDS_BETWEEN_LINES:
            self.shown = now
            self.say(line)

    def _line(self, record: dict[str, Any], seconds_left: float) -> str:
        about = "about " if self.open else ""
        bits = record["bits_per_byte"]
        return (
            f"step {record['step']:,}/{about}{self.steps:,}  loss {record['loss']:.3f}  "
            f"{f'{bits:.3f} bits/byte  ' if bits else ''}"
            f"{record['tokens_per_second']:,.0f} tokens/s  {readable_seconds(seconds_left)} left"
        )

    def validated(self, record: dict[str, Any]) -> None:
        bits = record["validation_bits_per_byte"]
        per_byte = f"  {bits:.3f} bits/byte" if bits else ""
        text = record["text"] if "final" not in record else f"whole {record['text']} text:"
        line = f"step {record['step']:,}  {text} loss {record['validation_loss']:.3f}{per_byte}"
        average = record.get("average_loss")
        of_average = f"  (averaged weights: loss {average:.3f})" if average is not None else ""
        self.console.print(f"{line}  {self._perplexity(record)}{of_average}", style="bold")
        for name, part in record.get("parts", {}).items() if "final" in record else ():
            bits = part["validation_bits_per_byte"]
            per_byte = f"  {bits:.3f} bits/byte" if bits else ""
            line = f"  {name} ({part['weight']:.1%})  loss {part['validation_loss']:.3f}{per_byte}"
            self.console.print(line, markup=False, soft_wrap=True)

    def _perplexity(self, record: dict[str, Any]) -> str:
        loss = record["validation_loss"]
        perplexity = perplexity_in_words(loss)
        if self.vocabulary_size and loss > math.log(self.vocabulary_size):
            return f"{perplexity}, worse than a uniform guess"
        return perplexity

    def sample(self, record: dict[str, Any]) -> None:
        self.console.print(
            Text(f"  sample: {escaped(' '.join(shown_sample(record).split()))}", style="italic")
        )

    def close(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
