"""The report of a run: loss.png, samples.txt, and README.md, the model card.

All three are generated from `config.json` and `metrics.jsonl` only, so they always match the run.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from wordorder import drawing
from wordorder.atomic import write_text
from wordorder.control_characters import escaped
from wordorder.evaluation.intervals import Estimate, half_width
from wordorder.numerals import counted, perplexity_in_words
from wordorder.panels import Level, Line, Lines, Look, look_of
from wordorder.table import Table
from wordorder.training.metrics import read
from wordorder.training.plan import readable_seconds
from wordorder.training.signature import is_ours, signed

Records = list[dict[str, Any]]
HELD_OUT, AVERAGED = "#555555", "#009E73"  # colours of losses on held-out text


def write(folder: Path) -> str:
    """Write the plot, the samples and the model card of a run folder.

    Returns:
        A message if a model card that a user wrote or edited was not replaced, else "".

    Raises:
        OSError: a file cannot be written.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    records = read(folder / "metrics.jsonl")
    steps = [r for r in records if "loss" in r]
    if not steps:
        return ""
    samples = [r for r in records if "sample" in r]
    if samples:
        write_text(folder / "samples.txt", _samples(samples))
    draw_losses(folder / "loss.png", config, records)
    card = folder / "README.md"
    if card.exists() and not is_ours(card):
        return f"{card} was not written by wordorder, or was edited since: it is not replaced"
    write_text(card, signed(model_card(folder.name, config, records)))
    return ""


def draw_losses(path: Path, config: dict[str, Any], records: Records) -> None:
    """Draw training and validation loss by step, in nats per token and bits per byte."""
    steps = [r for r in records if "loss" in r]
    x, losses = [r["step"] for r in steps], [r["loss"] for r in steps]
    model = config["model"]
    look = look_of(model["position"] if model["kind"] == "transformer" else "gru")
    points = tuple(zip(x, losses, strict=True))
    mean = tuple(zip(x, _running_mean(losses), strict=True))
    name = "training, running mean (faint: each step)"
    lines = [Line(name, look, mean, seeds=(points,), seeds_joined=True, marked=False)]
    for label, losses_of_text in held_out_losses(records).items():
        # Points of one text are joined; a loss measured once, at the end, is a single point.
        look = Look(HELD_OUT, "o" if len(losses_of_text) > 1 else "*")
        points = tuple((r["step"], r["validation_loss"]) for r in losses_of_text)
        lines.append(Line(label, look, points))
    averaged = tuple((r["step"], r["average_loss"]) for r in records if "average_loss" in r)
    if averaged:
        lines.append(Line("averaged weights, on the same texts", Look(AVERAGED, "D"), averaged))
    ratio = steps[-1]["bits_per_byte"] and steps[-1]["bits_per_byte"] / steps[-1]["loss"]
    panel = Lines(
        name=path.stem,
        title=_title(config),
        x_label="step",
        y_label="loss (nats per token)",
        lines=tuple(lines),
        level=Level(math.log(model["vocabulary_size"]), "guessing"),
        second=("bits per byte of the training text", ratio) if ratio else None,
    )
    drawing.save_panels(path, [[panel]])


def held_out_losses(records: Records) -> dict[str, Records]:
    """Return the records of held-out losses, grouped by the description of their text.

    During training only the beginning of a text is evaluated, at the end all of it. These losses
    are over different tokens, so a line through both would show a jump that is not in the model.
    """
    losses: dict[str, Records] = {}
    for record in records:
        if "validation_loss" in record:
            losses.setdefault(text_in_words(record), []).append(record)
    return losses


def text_in_words(record: dict[str, Any]) -> str:
    """Return the text of a held-out loss: "validation text, 8,192 tokens, at the end"."""
    when = "at the end" if record.get("final") else "while training"
    text, tokens = record.get("text", "validation"), record["validation_tokens"]
    return f"{text} text, {counted(tokens, 'token')}, {when}"


def _title(config: dict[str, Any]) -> str:
    model = config["model"]
    reader = model["position"] if model["kind"] == "transformer" else "GRU"
    parameters = config["plan"]["parameters"]["total"]
    return f"{reader}, {parameters / 1e6:.2f} M parameters, on {config['data']['name']}"


def _running_mean(values: list[float], weight: float = 0.95) -> list[float]:
    """Return the exponential running mean, with bias correction at its start."""
    mean, means = 0.0, []
    for number, value in enumerate(values, start=1):
        mean = weight * mean + (1 - weight) * value
        means.append(mean / (1 - weight**number))
    return means


def _samples(samples: Records) -> str:
    return "".join(f"--- {_weights_of(r)}\n{escaped(shown_sample(r))}\n\n" for r in samples)


def shown_sample(record: dict[str, Any]) -> str:
    """Return the text of a sample, or a note if it is empty or only whitespace."""
    text: str = record["sample"]
    if not text:
        return "(the model ended the text at once)"
    return text.strip() or "(the model wrote whitespace alone)"


def _weights_of(sample: dict[str, Any]) -> str:
    """Return which weights wrote a sample: those after a step, the saved ones at the end."""
    step = f"after step {sample['step']}"
    if "final" not in sample:
        return step
    return f"{step}, of the saved {'averaged ' * sample.get('best_averaged', False)}weights"


def _feed_forward(model: dict[str, Any]) -> str:
    """Return the feed-forward of a recorded model, and its attention if that is latent."""
    kind = f"feed-forward {model['feed_forward']} of width {model['feed_forward_width']}"
    if model.get("experts"):
        kind = (
            f"{model['experts']} experts {model['feed_forward']} of width {model['expert_width']}, "
            f"{model['active_experts']} of them active"
        )
    latent = model.get("attention") == "latent"
    return f"latent attention of {model['latent_dim']}, {kind}" if latent else kind


def model_card(name: str, config: dict[str, Any], records: Records) -> str:
    """Return the model card: architecture, data, losses, and the command to reproduce the run."""
    model, data, plan = config["model"], config["data"], config["plan"]
    steps = [r for r in records if "loss" in r]
    done, counts = steps[-1]["step"], plan["parameters"]
    over = done == config["steps"] or any("final" in r for r in records)
    state = "" if over else f" Stopped at step {done} of {config['steps']}."
    sizes = f"{counted(model['layers'], 'layer')}, width {model['width']}"
    if model["kind"] == "transformer":
        reads = (
            f"a transformer with the positional embedding `{model['position']}`, which adds "
            f"{counts['position']:,} of its {counts['total']:,} parameters ({sizes}, "
            f"{counted(model['heads'], 'head')}, {_feed_forward(model)})"
        )
    else:
        reads = f"a GRU with {counts['total']:,} parameters ({sizes})"
    first = config["training"].get("init")
    origin = f"fine-tuned from `{first}`" if first else "trained from scratch"
    facts = {
        "data": f"{' '.join(data['name'].split())}: {counted(data['documents'], 'document')}, "
        f"{data['bytes']:,} bytes; "
        f"{data['training_tokens']:,} tokens to train on, {data['validation_tokens']:,} held out",
        "tokenizer": f"{data['tokenizer']}, {model['vocabulary_size']:,} tokens",
        "trained on": f"{steps[-1]['tokens']:,} tokens in {counted(done, 'step')}, "
        f"{plan['epochs'] * done / plan['steps']:.1f} epochs",
        "training loss, last tenth": f"{_last_tenth(steps):.4f} nats per token",
        **{f"loss on {text}": _loss_line(r[-1]) for text, r in held_out_losses(records).items()},
        "time": f"{readable_seconds(steps[-1]['seconds'])} on {_compute(config['machine'])}",
        "seed": str(config["training"]["seed"]),
    }
    lines = [
        f"# {name}",
        "",
        f"A small language model: {reads}, {origin} on sequences of "
        f"{model['trained_length']} tokens by wordorder {config['wordorder']}.{state}",
        "",
        "![loss](loss.png)",
        "",
        Table(["", ""], list(facts.items()), left=frozenset({0, 1})).markdown(),
        *_how(config),
    ]
    samples = [r for r in records if "sample" in r]
    if samples:
        quoted = [f"> {line}" for line in escaped(shown_sample(samples[-1])).splitlines()]
        lines += ["", f"A sample {_weights_of(samples[-1])}:", "", *quoted]
    return "\n".join(lines) + "\n"


def _loss_line(record: dict[str, Any]) -> str:
    error = Estimate(
        record["validation_loss"],
        record["validation_standard_error"],
        record.get("validation_degrees_of_freedom"),  # missing in old records
    )
    half = half_width(error)
    between = f" ± {half:.4f} (95%, over documents)" if half else ""
    bits = record["validation_bits_per_byte"]
    per_byte = f", {bits:.4f} bits per byte" if bits else ""
    perplexity = perplexity_in_words(record["validation_loss"])
    averaged = ", with averaged weights" if record.get("best_averaged") else ""
    return (
        f"{record['validation_loss']:.4f}{between} nats per token, {perplexity}"
        f"{per_byte}, after step {record['step']}{averaged}"
    )


def _last_tenth(steps: Records) -> float:
    last = steps[-max(1, len(steps) // 10) :]
    return sum(r["loss"] for r in last) / len(last)


def _compute(compute: dict[str, Any]) -> str:
    compiled = "compiled" if compute["compile"] else "eager"
    return (
        f"{compute['device']}, {counted(compute['threads'], 'thread')}, {compute['dtype']}, "
        f"{compute['kernel']} attention, {compiled}, torch {compute['torch']}"
    )


def _how(config: dict[str, Any]) -> list[str]:
    if not config["command"]:
        return ["Trained from Python; `config.json` has every setting."]
    return ["Trained by", "", "```", config["command"], "```"]
