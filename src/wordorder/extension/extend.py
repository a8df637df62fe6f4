"""From a trained run to one that reaches further: a new run folder that remembers its parent.

    tries    what the methods that fit do to the parent, nothing trained; the best, or the one that
             was asked for, spells the new run's embedding
    writes   the new run: the parent's weights, or what a fine-tune at the new length makes of them
    measures how far the parent and the new run reach, on the same tokens

Whatever is found is in `extension.json`, with the methods first: a run that was stopped while it
was fine-tuned goes on, and is measured when it is done.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Protocol

from annotated_types import Gt

from wordorder.atomic import cannot_write, write_text
from wordorder.errors import BadInput, Failed
from wordorder.evaluation.retrieval import check_kinds
from wordorder.extension import record
from wordorder.extension.carried import carried
from wordorder.extension.fine_tune import RATE, fine_tune
from wordorder.extension.methods import Stretch, check_fits, fitting, original_length
from wordorder.extension.reach import MEASURED, Reach, Text, check_long_enough, reach
from wordorder.extension.trial import (
    Streamed,
    Tried,
    text_to_choose_on,
    try_methods,
    try_streaming,
)
from wordorder.folders import replacing_contents
from wordorder.locks import held
from wordorder.model import LanguageModel
from wordorder.positions import parse
from wordorder.settings import Device, Duration, NotNegative, Positive, Rate, Seed, check
from wordorder.training.checkpoints import save_weights
from wordorder.training.compute import pick_device
from wordorder.training.config import TrainConfig, folder_of, whole_paths
from wordorder.training.display import Display
from wordorder.training.run import RUN, Run
from wordorder.training.start import free_folder, resume_in_held_folder, train_in_held_folder
from wordorder.training.training_data import TrainingData, read_training_data, split_warning


@dataclass(frozen=True)
class Extension:
    """What is asked for.

    Args:
        run: the parent's folder.
        to: the new length, as `4x` or `8192`.
        method: of `METHODS`, or `auto`.
        steps, tokens, time: how long to fine-tune at the new length, one of them; none: not at all.
        out: the new run's folder; None: the parent's with the new length.
        overwrite: replace what it holds.
        data: the text; empty: the parent's.
        field: column of tables and datasets that holds the text.
        pack: windows may begin in one document and end in another.
        base: of `base`; 0: the smallest that serves the new length.
        neighbours: of `self-extend`; 0: half of the original length.
        rate: share of the parent's learning rates that a fine-tune has.
        batch_size: sequences at once; 0: as many as make the parent's tokens a step.
        seed: of the fine-tune's batches; None: one that no parent's begin with.
        retrieval: kinds of retrieval to measure.
        device: auto, cpu, cuda or mps.

    Raises:
        BadInput: a number out of its range.
    """

    run: str
    to: str
    method: str = "auto"
    steps: Positive | None = None
    tokens: Positive | None = None
    time: Duration | None = None
    out: str | None = None
    overwrite: bool = False
    data: tuple[str, ...] = ()
    field: str | None = None
    pack: bool = False
    base: Rate = 0.0
    neighbours: NotNegative = 0
    rate: Annotated[float, Gt(0)] = RATE
    batch_size: NotNegative = 0
    seed: Seed | None = None
    retrieval: tuple[str, ...] = MEASURED
    device: Device = "auto"

    def __post_init__(self) -> None:
        check(self)

    @property
    def tunes(self) -> bool:
        """Whether anything is to be trained."""
        return any(each is not None for each in (self.steps, self.tokens, self.time))


@dataclass(frozen=True)
class Extended:
    """What came of it.

    Args:
        run: the new one.
        parent: where it came from.
        method: which was taken.
        before: how far the parent reaches.
        after: how far the new run does.
    """

    run: Run
    parent: Run
    method: str
    before: Reach
    after: Reach


class Show(Protocol):
    """What is told while it works."""

    training: Display

    def say(self, line: str) -> None: ...
    def progress(self, share: float, what: str) -> None: ...
    def tried(
        self, tried: list[Tried], streamed: list[Streamed], old: int, new: int, chosen_on: str
    ) -> None: ...


def target_length(to: str, trained: int) -> int:
    """Return the tokens that `4x` or `8192` spell.

    Raises:
        BadInput: no such spelling, or a length not above the trained one.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x|(\d+)", to.strip())
    if match is None:
        raise BadInput(f"--to {to} is no length: write 4x, or a number of tokens as 8192")
    length = round(float(match[1]) * trained) if match[1] else int(match[2])
    if length <= trained:
        raise BadInput(
            f"--to {to} is {length:,} tokens, not above the {trained:,} the run was trained on: "
            f"ask for more, as --to {2 * trained}"
        )
    return length


def extend(
    ask: Extension, show: Show, *, trust: bool = False, command: str | None = None
) -> Extended:
    """Make a run that reaches further from one that is trained.

    Args:
        trust: run the code of an embedding of one's own that the run names.
        command: how it was asked for, for the model card.

    Raises:
        BadInput: a length, method, text or folder that does not do.
        KeyboardInterrupt: after Ctrl-C; a fine-tune is saved and can be resumed.
    """
    parent = Run.load(ask.run, trust=trust)
    new = target_length(ask.to, parent.model_config.trained_length)
    config = _configured(ask, parent, new)
    with held(folder_of(config)):
        return _extend(ask, parent, config, show, command)


def _extend(
    ask: Extension, parent: Run, config: TrainConfig, show: Show, command: str | None
) -> Extended:
    """Do what `extend` does, in a folder whose lock is held."""
    model = _transformer(parent, ask.device)
    old = parent.model_config.trained_length
    new = target_length(ask.to, old)
    check_kinds(ask.retrieval)
    if ask.method != "auto":
        check_fits(ask.method, parse(parent.model_config.position))
    free_folder(config)
    material, text = _read(config, parent, ask.pack, old, new)
    if warning := split_warning(parent.config["data"], material.facts):
        show.say(warning)
    stretch = Stretch(
        original_length(model.config), new, model.config.head_dim, ask.base, ask.neighbours
    )
    choosing, chosen_on = text_to_choose_on(material, text, new)
    tried = _tried(ask, model, stretch, choosing, material, show)
    every = ask.method == "auto"
    streamed = try_streaming(model, choosing, new, progress=show.progress) if every else []
    show.tried(tried, streamed, old, new, chosen_on)
    method, spec = tried[0].method, tried[0].spec
    about = {
        "command": command,
        "extension": record.about(
            parent,
            method,
            old,
            new,
            pack=ask.pack,
            retrieval=list(ask.retrieval),
            chosen_on=chosen_on,
            tried=[asdict(each) for each in tried],
            streamed=[asdict(each) for each in streamed],
        ),
    }
    child = carried(model, spec, new)
    config = replace(config, model=child.config)
    if ask.tunes:
        weights = {name: tensor.cpu() for name, tensor in child.state_dict().items()}
        show.say(f"fine-tuning with {method} at {new:,} tokens")
        run = train_in_held_folder(
            config, show=show.training, trust=True, weights=weights, about=about
        )
    else:
        run = _write_untrained(config, parent, child, {**about, "data": material.facts})
    return _measured(run, parent, text, ask.device, show)


def go_on(
    folder: str,
    show: Show,
    *,
    parent: str | None = None,
    inexact: bool = False,
    device: str = "auto",
    trust: bool = False,
) -> Extended:
    """Go on with an extension that was stopped: to the bit where it was fine-tuned, then measure.

    Args:
        folder: of the new run.
        parent: where its parent is, if it has moved.
        inexact: go on also where this machine, or the text, is not what it was.

    Raises:
        BadInput: a folder that is none, or a parent that is not found.
        Refused: where it would end with other weights, and `inexact` is not set.
    """
    run = Run.load(folder, trust=trust)
    found = record.extension_of(run)
    source = record.find_parent(run, parent, trust=trust)
    with held(run.folder, remedy="see to its permissions"):
        if (run.folder / "training").is_dir():
            run = resume_in_held_folder(
                run.folder, inexact=inexact, trust=trust, show=show.training
            )
        config = TrainConfig.from_dict(run.config["training"], run.model_config)
        _, text = _read(config, source, found["pack"], found["from_length"], found["to_length"])
        return _measured(run, source, text, device, show)


def _transformer(run: Run, device: str) -> LanguageModel:
    model = run.load_model(pick_device(device))
    if not isinstance(model, LanguageModel) or not model.config.causal:
        raise BadInput(
            f"{run.folder} is a GRU, or fills in hidden tokens: only a transformer that predicts "
            "the next token has a context to extend"
        )
    return model


def _configured(ask: Extension, parent: Run, new: int) -> TrainConfig:
    """Return the new run's training: the parent's, at the new length and at lower rates."""
    config = TrainConfig.from_dict(parent.config["training"], parent.model_config)
    config = fine_tune(config, new, rate=ask.rate, rows=ask.batch_size)
    return replace(
        config,
        data=whole_paths(ask.data) or config.data,
        field=ask.field or config.field,
        init=str(parent.folder.resolve()),
        out=ask.out or f"{parent.folder}-{new}",
        overwrite=ask.overwrite,
        steps=ask.steps,
        tokens=ask.tokens,
        time=ask.time,
        seed=config.seed if ask.seed is None else ask.seed,
        device=ask.device,
    )


def _read(
    config: TrainConfig, parent: Run, pack: bool, old: int, new: int
) -> tuple[TrainingData, Text]:
    """Return the text, and its held-out part to measure on.

    Raises:
        BadInput: no document as long as the new length.
    """
    short = replace(config, model=replace(config.model, trained_length=old, position="none"))
    material = read_training_data(short, parent.tokenizer)
    text = Text(material.validation, parent.tokenizer, pack)
    check_long_enough(text, old, new, material.facts["name"])
    return material, text


def _tried(
    ask: Extension,
    model: LanguageModel,
    stretch: Stretch,
    text: Text,
    material: TrainingData,
    show: Show,
) -> list[Tried]:
    """Return what was tried, the method to take first.

    Raises:
        Failed: no method has a loss at the new length.
    """
    every = fitting(parse(model.config.position))
    tried = try_methods(
        model,
        every if ask.method == "auto" else [ask.method],
        stretch,
        text,
        material.training,
        progress=show.progress,
    )
    if tried[0].loss is None:
        raise Failed(f"{tried[0].method} cannot reach {stretch.length:,} tokens: {tried[0].cannot}")
    return tried


def _write_untrained(
    config: TrainConfig, parent: Run, child: LanguageModel, about: dict[str, Any]
) -> Run:
    """Write a run that is its parent but for the embedding's spelling and the length."""
    folder = free_folder(config)
    recorded = {
        **parent.config,
        **about,
        "model": child.config.to_dict(),
        "training": {**config.to_dict(), "steps": None, "tokens": None, "time": None},
    }
    try:
        with replacing_contents(folder, RUN):
            write_text(folder / "config.json", json.dumps(recorded, indent=1) + "\n")
            parent.tokenizer.save(folder / "tokenizer.json")
            save_weights(folder / "model.safetensors", child.state_dict())
    except OSError as error:
        raise cannot_write(folder, error, "choose another --out") from None
    return Run.load(folder, trust=True)


def _measured(run: Run, parent: Run, text: Text, device: str, show: Show) -> Extended:
    """Measure how far both reach, and write it down."""
    found = record.extension_of(run)
    old, new, kinds = found["from_length"], found["to_length"], found["retrieval"]

    def measured(one: Run, start: float, what: str) -> Reach:
        return reach(
            _transformer(one, device),
            text,
            old,
            new,
            kinds=kinds,
            progress=lambda share: show.progress(start + share / 2, what),
        )

    before = measured(parent, 0.0, "measuring the parent")
    after = measured(run, 0.5, "measuring the new run")
    record.write(run, before, after)
    return Extended(run, parent, found["method"], before, after)
