"""Write the tables of measured figures from evidence/: `make docs`.

    python docs/write_tables.py

Text between `<!-- begin NAME -->` and `<!-- end NAME -->` is replaced by the table `NAME` of
`TABLES`; the rest of each page is written by hand. The figures of docs/evidence.md are drawn anew.
A test fails where a page differs.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import ten_million_evidence
import ten_million_summary
import ten_million_table
from ten_million_figures import write_figures

from wordorder.errors import BadInput
from wordorder.experiments.statistics import interval

DOCS = Path(__file__).parent
EVIDENCE = DOCS.parent / "evidence"
BLOCK = re.compile(r"(<!-- begin ([\w-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def main() -> None:
    try:
        evidence = ten_million()  # before any page is written
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(written(text), encoding="utf-8")
    write_figures(evidence, DOCS)


def pages() -> Iterator[Path]:
    """Yield the pages with a table of this file."""
    for page in sorted(DOCS.glob("*.md")):
        names = {name for _, name, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
        if names & TABLES.keys():
            yield page


def written(text: str) -> str:
    """Return a page with its tables as the evidence has them."""

    def replaced(match: re.Match[str]) -> str:
        table = TABLES.get(match[2])
        return match[0] if table is None else f"{match[1]}{table()}\n{match[3]}"

    return BLOCK.sub(replaced, text)


def lines(name: str) -> list[dict[str, Any]]:
    """Return the records of a file of evidence with one JSON object a line."""
    text = (EVIDENCE / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str = "---") -> str:
    """Return a table in Markdown."""
    rule = ["---", *[align] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |".replace("  ", " ") for row in (head, rule, *rows))


# The default model


def defaults(variant: str, size: str, steps: int) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the runs of benchmarks/defaults.py: for each embedding, by seed."""
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for line in lines("defaults.jsonl"):
        if (line["variant"], line["size"], line["steps"]) == (variant, size, steps):
            runs.setdefault(line["position"], {})[line["seed"]] = line
    return runs


def mean(runs: dict[int, dict[str, Any]], what: str) -> float:
    return sum(run[what] for run in runs.values()) / len(runs)


def against_none(runs: dict[str, dict[int, dict[str, Any]]], position: str) -> str:
    """Return the paired difference to no position, with its interval over seeds."""
    if position == "none":
        return ""
    seeds = sorted(runs[position].keys() & runs["none"].keys())
    paired = interval([runs[position][s]["loss"] - runs["none"][s]["loss"] for s in seeds])
    if paired.low is None:
        return f"{paired.mean:+.3f}"
    return f"{paired.mean:+.3f} ({paired.low:+.3f} to {paired.high:+.3f})"


def embeddings_compared() -> str:
    runs = defaults("default", "nano", 400)
    ranked = sorted(runs, key=lambda position: mean(runs[position], "loss"))
    rows = [
        [
            position,
            f"{mean(runs[position], 'loss'):.3f}",
            against_none(runs, position),
            f"{mean(runs[position], 'bits_per_byte'):.3f}",
        ]
        for position in ranked
    ]
    return table(["position", "nats per token", "against none", "bits per byte"], rows)


def words_multiplied() -> str:
    plain, scaled = (defaults(variant, "nano", 400) for variant in ("unscaled", "default"))
    rows = [
        [
            position,
            f"{mean(plain[position], 'loss'):.3f}",
            against_none(plain, position),
            f"{mean(scaled[position], 'loss'):.3f}",
            against_none(scaled, position),
            f"{mean(scaled[position], 'bits_per_byte'):.3f}",
        ]
        for position in ("none", "learned", "sinusoidal", "rotary", "alibi")
    ]
    head = [
        "position",
        "loss, words not multiplied",
        "difference to `none`",
        "loss, words multiplied (default)",
        "difference to `none`",
        "bits per byte, default",
    ]
    return table(head, rows)


LONGER_OR_LARGER = (("nano", 2000), ("tiny", 400), ("tiny", 2000), ("mini", 400))


def longer_or_larger() -> str:
    """The differences to no position with more steps and larger models, where they were run."""
    grids = {
        f"{size}, {steps:,} steps": runs
        for size, steps in LONGER_OR_LARGER
        if len(runs := defaults("default", size, steps)) == 5
    }
    rows = [
        [position, *(against_none(runs, position) for runs in grids.values())]
        for position in ("learned", "sinusoidal", "alibi", "rotary")
    ]
    rows.append(["loss of `none`", *(f"{mean(r['none'], 'loss'):.3f}" for r in grids.values())])
    rows.append(["seeds", *(str(len(r["rotary"])) for r in grids.values())])
    return table(["embedding", *grids], rows)


def sizes_and_dropout() -> str:
    order = ("nano", "tiny", "mini")
    runs = sorted(
        lines("sizes-and-dropout.jsonl"),
        key=lambda r: (order.index(r["size"]), r["steps"], r["variant"]),
    )
    rows = [
        [
            r["size"],
            r["variant"].removeprefix("dropout-"),
            f"{r['steps'] * r['batch_size'] * r['trained_length'] / 1e6:.2f} M",
            f"{r['passes']:.1f}",
            f"{r['loss']:.3f}",
            f"{r['bits_per_byte']:.3f}",
            f"{r['seconds'] / 60:.1f}",
        ]
        for r in runs
    ]
    head = ["model", "dropout", "tokens read", "passes", "loss", "bits per byte", "minutes"]
    return table(head, rows)


def dropout() -> str:
    names = ("tokenizer", "training_tokens", "width", "layers", "passes")
    rows: dict[tuple[Any, ...], dict[float, float]] = {}
    weights = {}
    for run in lines("dropout.jsonl"):
        key = tuple(run[name] for name in names)
        rows.setdefault(key, {})[run["dropout"]] = run["loss"]
        weights[key] = run["parameters"] / run["training_tokens"]
    shares = sorted({share for row in rows.values() for share in row})
    cells = [
        [
            key[0],
            f"{key[1]:,}",
            f"{weights[key]:.1f}",
            f"{key[4]:g}",
            *(f"{row[share]:.3f}" if share in row else "" for share in shares),
        ]
        for key, row in sorted(rows.items())
        if len(row) > 1
    ]
    head = ["tokens", "in the text", "layer weights per token", "passes"]
    return table([*head, *(f"dropout {share:g}" for share in shares)], cells)


# Settings of the runs on characters, where a record has no other.
USUAL = {"batch_size": 8, "dropout": 0, "weight_decay": 0, "decay": 0.4, "momentum": 0.95}


def character_recipe() -> str:
    """Return the runs on characters of Shakespeare, highest loss first."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in lines("character-recipe.jsonl"):
        options = tuple(
            f"{name.replace('_', ' ')} {run[name]:g}"
            for name, usual in USUAL.items()
            if run.get(name, usual) != usual
        )
        if not run.get("tied_embeddings", True):
            options += ("an output layer of its own", "a norm on the embeddings")
        key = (run["width"], run["heads"], run["tokens"], run["dtype"], run["threads"], options)
        groups.setdefault(key, []).append(run)
    rows = []
    for key, runs in sorted(groups.items(), key=lambda item: -loss_of(item[1])):
        width, heads, tokens, dtype, threads, options = key
        seen = [run["training_loss"] for run in runs if run["training_loss"] is not None]
        seconds = f"{fmean(run['seconds'] for run in runs):.0f}" if threads == 2 else ""
        rows.append(
            [
                f"width {width}, {heads} heads",
                f"{tokens / 1e6:.1f} M",
                dtype,
                ", ".join(options),
                with_runs(runs),
                f"{fmean(seen):.3f}" if seen else "",
                seconds,
            ]
        )
    head = ["layers", "tokens read", "dtype", "other settings", "loss", "training loss"]
    return table([*head, "seconds of two threads"], rows)


def loss_of(runs: list[dict[str, Any]]) -> float:
    return fmean(run["loss"] for run in runs)


def with_runs(runs: list[dict[str, Any]]) -> str:
    """Return the mean loss, with its interval if there are three seeds."""
    mean, seeds = f"{loss_of(runs):.4f}", len({run["seed"] for run in runs})
    if seeds > 2:
        found = interval([run["loss"] for run in runs])
        return f"{mean} ({found.low:.4f} to {found.high:.4f}, {seeds} seeds)"
    return f"{mean} ({len(runs)} runs)" if len(runs) > 1 else mean


def quickstart() -> str:
    runs = json.loads((EVIDENCE / "quickstart.json").read_text(encoding="utf-8"))["runs"]
    rows = [
        [
            f"{r['processor']}, {r['machine']}",
            f"`{r['command'].split(', ')[0]}`",
            f"{r['chosen']}, {r['threads']} thread{'s' * (r['threads'] > 1)}",
            f"{r['steps']:,}",
            f"{r['tokens'] / 1e6:.2f} M",
            f"{r['loss']:.3f}",
            f"{r['bits_per_byte']:.3f}",
            f"{r['seconds_in_all']:.0f}",
        ]
        for r in runs
    ]
    head = ["machine", "command", "model", "steps", "tokens", "loss", "bits per byte", "seconds"]
    return table(head, rows)


def busy_loop() -> str:
    evidence = json.loads((EVIDENCE / "quickstart.json").read_text(encoding="utf-8"))
    beside = evidence["beside_one_busy_loop"]
    chosen, fixed = beside["steps_with_threads_chosen"], beside["steps_with_one_thread"]
    rows = [
        ["the command's choice", *map(str, chosen), f"{sum(chosen) / sum(fixed):.2f}"],
        ["`--threads 1`", *map(str, fixed), "1"],
    ]
    return table(["threads", *(f"round {i + 1}" for i in range(len(fixed))), "share"], rows)


# A comparison


def compare_example() -> str:
    evidence = json.loads((EVIDENCE / "compare-example.json").read_text(encoding="utf-8"))
    positions = evidence["positions"]
    rows = [
        [
            f"`{name}`",
            f"{r['loss_nats']:.3f}",
            with_interval(r, "difference"),
            *(longer(r, factor) for factor in (2, 16)),
        ]
        for name, r in sorted(positions.items(), key=lambda item: item[1]["rank"])
    ]
    return table(["embedding", "loss", "against rotary", "at 2x", "at 16x"], rows)


def with_interval(row: dict[str, Any], name: str, change: str | None = None) -> str:
    """Return a difference with its 95% interval, or "baseline" for the baseline itself."""
    mean = row.get(change or name)
    if mean is None:
        return "baseline"
    return f"{mean:+.3f} ({row[f'{name}_low']:+.3f} to {row[f'{name}_high']:+.3f})"


def longer(row: dict[str, Any], factor: int) -> str:
    """Return the change of the same targets' loss at a multiple of the trained length."""
    name = f"same_targets_{factor}x"
    if f"{name}_change" not in row:
        return "cannot"
    return f"{row[f'{name}_word']}: {with_interval(row, name, f'{name}_change')}"


def tuned_rates() -> str:
    tuning = json.loads((EVIDENCE / "tuned-rates.json").read_text(encoding="utf-8"))["tuning"]
    factors = ("0.5", "1", "2", "4")
    rows = [
        [name, *(f"{sum(tried[f]) / len(tried[f]):.3f}" if f in tried else "" for f in factors)]
        for name, tried in tuning["losses"].items()
    ]
    return table(["embedding", *(f"{factor} times" for factor in factors)], rows)


def probe_position() -> str:
    evidence = json.loads((EVIDENCE / "probe-position.json").read_text(encoding="utf-8"))
    layers, chance = evidence["layers"], evidence["chance"]
    rows = [
        [
            f"{layer} (input)" if layer == 0 else str(layer),
            *(f"{100 * of_model[layer]['error'] / chance:.0f}" for of_model in layers.values()),
        ]
        for layer in range(len(layers["none"]))
    ]
    return table(["after layer", *layers], rows)


# Algorithmic tasks


def task_results() -> str:
    evidence = json.loads((EVIDENCE / "tasks-default.json").read_text(encoding="utf-8"))
    trials = ("1x", "1.5x", "2x", "3x")
    rows = []
    for task, positions in evidence["tasks"].items():
        for number, (position, r) in enumerate(positions.items()):
            scores = []
            for trial in trials:
                last, best = (f"{r[c][trial]['score']:.2f}" for c in ("last", "best"))
                learned = r["best"]["learned"] == "yes"
                scores.append(last if last == best or not learned else f"{last} ({best})")
            rows.append(["" if number else task, position, *scores])
    return table(["task", "embedding", *trials], rows)


# Longer context


def extended() -> dict[str, list[dict[str, float]]]:
    """Return the measures of each row of benchmarks/extension.py, one dict for each seed."""
    record = json.loads((EVIDENCE / "extension.json").read_text(encoding="utf-8"))
    rows: dict[str, list[dict[str, float]]] = record["rows"]
    return rows


def extension() -> str:
    """Return the table of losses: each method without training, and fine-tuned."""
    measures = ("whole", "near", "short", "passkey")

    def cells(name: str) -> list[str]:
        seeds = extended().get(name)
        if not seeds:
            return [""] * len(measures)
        means = {m: sum(seed[m] for seed in seeds) / len(seeds) for m in measures}
        return [f"{means[m]:.{0 if m == 'passkey' else 3}f}" for m in measures]

    methods = [n for n in extended() if not n.startswith("control") and not n.endswith(" tuned")]
    rows = [[f"`{name}`", *cells(name), *cells(f"{name}, tuned")] for name in methods]
    rows.append(["control: the same tokens at 256", *cells(""), *cells("control at 256")])
    tuned = [f"tuned: {measures[0]}", *measures[1:]]
    return table(["", *measures, *tuned], rows, align="---:")


def extension_passkey() -> str:
    """Return the table of the keys found, by depth."""
    depths = [name for name in next(iter(extended().values()))[0] if name.startswith("depth ")]
    rows = [
        [name, *(f"{sum(s[d] for s in seeds) / len(seeds):.0f}" for d in depths)]
        for name, seeds in extended().items()
    ]
    return table(["", *(d.removeprefix("depth ") for d in depths)], rows, align="---:")


# Ten million words


@cache
def ten_million() -> ten_million_evidence.Evidence:
    return ten_million_evidence.read()


def ten_million_losses() -> str:
    return table(*ten_million_table.losses(ten_million()))


def ten_million_lengths() -> str:
    return table(*ten_million_table.lengths(ten_million()))


def ten_million_others() -> str:
    return table(*ten_million_table.others(ten_million()))


def ten_million_blimp() -> str:
    return table(*ten_million_table.by_phenomenon(ten_million()))


def ten_million_rates() -> str:
    return table(*ten_million_table.trials(ten_million()))


def ten_million_summary_list() -> str:
    return ten_million_summary.summary(ten_million())


def ten_million_rate_spread() -> str:
    return ten_million_summary.rates_and_embeddings(ten_million())


def ten_million_status() -> str:
    return ten_million_summary.status(ten_million())


TABLES: dict[str, Callable[[], str]] = {
    "embeddings-compared": embeddings_compared,
    "words-multiplied": words_multiplied,
    "longer-or-larger": longer_or_larger,
    "sizes-and-dropout": sizes_and_dropout,
    "dropout": dropout,
    "character-recipe": character_recipe,
    "quickstart": quickstart,
    "busy-loop": busy_loop,
    "compare-example": compare_example,
    "tuned-rates": tuned_rates,
    "probe-position": probe_position,
    "task-results": task_results,
    "extension": extension,
    "extension-passkey": extension_passkey,
    "ten-million-losses": ten_million_losses,
    "ten-million-lengths": ten_million_lengths,
    "ten-million-others": ten_million_others,
    "ten-million-blimp": ten_million_blimp,
    "ten-million-summary": ten_million_summary_list,
    "ten-million-rates": ten_million_rates,
    "ten-million-rate-spread": ten_million_rate_spread,
    "ten-million-status": ten_million_status,
}


if __name__ == "__main__":
    main()
