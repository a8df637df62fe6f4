"""Extends the context of a trained run: writes a new run folder that records its parent.

    search    measure the applicable methods on the parent, without training; the best, or the
              requested one, gives the new run's embedding
    write     the new run with the parent's weights, or fine-tune them at the new length
    measure   the parent and the new run on the same tokens

`extension.json` records the results. The methods are recorded before a fine-tune, so that an
interrupted one can be resumed and measured afterwards.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from annotated_types import Gt

from wordorder.atomic import cannot_write, write_text
from wordorder.errors import BadInput, Failed
from wordorder.evaluation.retrieval import check_kinds
from wordorder.extension import record
from wordorder.extension.display import ExtensionDisplay
from wordorder.extension.fine_tune import RATE, fine_tune
from wordorder.extension.method_search import (
    MethodResult,
    text_to_choose_on,
    try_methods,
    try_streaming,
)
from wordorder.extension.methods import Stretch, check_fits, fitting, original_length
from wordorder.extension.reach import (
    MEASURED,
    HeldOutText,
    RunMeasurements,
    check_long_enough,
    measure,
)
from wordorder.extension.with_position import with_position
from wordorder.folders import replacing_contents
from wordorder.locks import held
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import parse
from wordorder.settings import Duration, Epochs, NotNegative, Positive, Rate, Seed, check
from wordorder.training.checkpoints import save_weights
from wordorder.training.compute import pick_device
from wordorder.training.config import LENGTHS, TrainConfig, TrainingDevice, folder_of, whole_paths
from wordorder.training.moved_text import check_not_moved
from wordorder.training.record import free_folder
from wordorder.training.run import RUN, Run
from wordorder.training.start import resume_in_held_folder, train_in_held_folder
from wordorder.training.training_data import TrainingData, read_text, split_warning


@dataclass(frozen=True)
class Extension:
    """The settings of an extension.

    Args:
        run: the parent's folder.
        to: the new length, such as `4x` or `8192`.
        method: a key of `METHODS`, or `auto`.
        steps, tokens, epochs, time: the length of a fine-tune at the new length; at most one of
            them. All None: no fine-tune.
        out: the new run's folder; None: the parent's name with the new length.
        overwrite: whether to replace an existing run there.
        data: the text; empty: the parent's.
        field: the column of tables and datasets that holds the text.
        pack: whether windows may cross document boundaries.
        base: for the method `base`; 0: see `methods.larger_base`.
        neighbours: for the method `self-extend`; 0: half of the original length.
        rate: learning rates of a fine-tune, relative to the parent's.
        batch_size: sequences in a batch; 0: the parent's number of tokens in a step.
        seed: of the fine-tune's batches; None: derived from the parent's, and different.
        retrieval: the retrieval tasks to measure.
        device: auto, cpu, cuda or mps.

    Raises:
        BadInput: a number is out of range.
    """

    run: str
    to: str
    method: str = "auto"
    steps: Positive | None = None
    tokens: Positive | None = None
    epochs: Epochs | None = None
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
    device: TrainingDevice = "auto"

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "retrieval", tuple(dict.fromkeys(self.retrieval)))

    @property
    def tunes(self) -> bool:
        """Whether the new run is fine-tuned."""
        return any(getattr(self, name) is not None for name in LENGTHS)


@dataclass(frozen=True)
class Extended:
    """An extended run and its measurements.

    Args:
        run: the new run.
        parent: the run that it was extended from.
        method: the method used.
        before: measurements of the parent.
        after: measurements of the new run.
    """

    run: Run
    parent: Run
    method: str
    before: RunMeasurements
    after: RunMeasurements


def target_length(to: str, trained: int) -> int:
    """Return the length in tokens that `4x` or `8192` stands for.

    Raises:
        BadInput: another format, or a length not above the trained one.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)x|(\d{1,12})", to.strip())
    if match is None:
        raise BadInput(
            f"--to {to} is not a length: give a factor such as 4x, or tokens such as 8192",
            code="extension.not-a-length",
        )
    length = round(float(match[1]) * trained) if match[1] else int(match[2])
    if length <= trained:
        raise BadInput(
            f"--to {to} is {length:,} tokens, not above the run's trained length of {trained:,}: "
            f"give a longer one, such as --to {2 * trained}",
            code="extension.not-longer",
        )
    return length


def extend(
    settings: Extension,
    show: ExtensionDisplay | None = None,
    *,
    trust: bool = False,
    command: str | None = None,
) -> Extended:
    """Extend the context of a trained run into a new run.

    Args:
        trust: whether to run the code of a user-defined embedding that the run names.
        command: the command line, for the model card.

    Raises:
        BadInput: the length, method, text or folder cannot be used.
        KeyboardInterrupt: after Ctrl-C; a fine-tune is saved and can be resumed.
    """
    parent = Run.load(settings.run, trust=trust)
    new = target_length(settings.to, parent.model_config.trained_length)
    config = _configured(settings, parent, new)
    with held(folder_of(config)):
        return _extend(settings, parent, config, show or ExtensionDisplay(), command)


def _extend(
    settings: Extension,
    parent: Run,
    config: TrainConfig,
    show: ExtensionDisplay,
    command: str | None,
) -> Extended:
    """Extend a run while the lock of the new folder is held."""
    model = _transformer(parent, settings.device)
    old = parent.model_config.trained_length
    new = target_length(settings.to, old)
    check_kinds(settings.retrieval)
    trained = record.trained_as(parent)
    if settings.method != "auto":
        check_fits(settings.method, parse(trained.position))
    free_folder(config)
    material, text = _read(config, parent, settings.pack, old, new)
    if warning := split_warning(parent.config["data"], material.facts):
        show.say(warning)
    stretch = Stretch(
        original_length(trained), new, trained.rotated_dim, settings.base, settings.neighbours
    )
    choosing, chosen_on = text_to_choose_on(material, text, new)
    tried = _tried(settings, model, trained, stretch, choosing, material, show)
    compare_all = settings.method == "auto"
    streamed = try_streaming(model, choosing, new, progress=show.progress) if compare_all else []
    show.tried(tried, streamed, old, new, chosen_on)
    method, spec = tried[0].method, tried[0].spec
    about = {
        "command": command,
        "extension": record.about(
            parent,
            method,
            old,
            new,
            pack=settings.pack,
            retrieval=list(settings.retrieval),
            chosen_on=chosen_on,
            tried=[asdict(result) for result in tried],
            streamed=[asdict(result) for result in streamed],
            **({} if settings.tunes else record.described(trained)),
        ),
    }
    child = with_position(model, spec, new)
    config = replace(config, model=child.config)
    if settings.tunes:
        weights = {name: tensor.cpu() for name, tensor in child.state_dict().items()}
        show.say(f"fine-tuning with {method} at {new:,} tokens")
        run = train_in_held_folder(
            config, show=show.training, trust=True, weights=weights, about=about
        )
    else:
        run = _write_untrained(config, parent, child, {**about, "data": material.facts})
    return _measured(run, parent, text, settings.device, show)


def go_on(
    folder: str,
    show: ExtensionDisplay | None = None,
    *,
    parent: str | None = None,
    inexact: bool = False,
    device: str = "auto",
    trust: bool = False,
) -> Extended:
    """Resume an interrupted extension: finish its fine-tune with the same weights, then measure.

    Args:
        folder: the new run's folder.
        parent: the parent's folder, if it has moved.
        inexact: whether to resume although the machine or the text has changed.

    Raises:
        BadInput: the folder is not an extended run, or its parent is missing.
        Refused: the weights would differ from an uninterrupted run, and `inexact` is not set.
    """
    show = show or ExtensionDisplay()
    run = Run.load(folder, trust=trust)
    about = record.extension_of(run)
    source = record.find_parent(run, parent, trust=trust)
    with held(run.folder, remedy="check its permissions"):
        if (run.folder / "training").is_dir():
            run = resume_in_held_folder(
                run.folder, inexact=inexact, trust=trust, show=show.training
            )
        config = TrainConfig.from_dict(run.config["training"], run.model_config)
        again = f"wordorder extend {shlex.quote(str(source.folder))} --to {about['to_length']} {{}}"
        again += f" --out {shlex.quote(str(run.folder))} --overwrite"
        check_not_moved(config, run.folder, f"extend its parent again: {again}")
        _, text = _read(config, source, about["pack"], about["from_length"], about["to_length"])
        return _measured(run, source, text, device, show)


def _transformer(run: Run, device: str) -> LanguageModel:
    model = run.load_model(pick_device(device))
    if not isinstance(model, LanguageModel) or not model.config.causal:
        raise BadInput(
            f"{run.folder} is a GRU or a masked-token model: give a run of a transformer that "
            "predicts the next token",
            code="extension.nothing-to-extend",
        )
    return model


def _configured(settings: Extension, parent: Run, new: int) -> TrainConfig:
    """Return the new run's training: the parent's, with the new length and lower rates."""
    config = TrainConfig.from_dict(parent.config["training"], parent.model_config)
    if not settings.data:
        parent.check_has_text()
        check_not_moved(config, parent.folder, "add {}")
    config = fine_tune(config, new, rate=settings.rate, rows=settings.batch_size)
    return replace(
        config,
        data=whole_paths(settings.data) or config.data,
        validation_data=() if settings.data else config.validation_data,
        development_data=() if settings.data else config.development_data,
        field=settings.field or config.field,
        init=str(parent.folder.resolve()),
        chat_template="auto",
        out=settings.out or f"{parent.folder}-{new}",
        overwrite=settings.overwrite,
        steps=settings.steps,
        tokens=settings.tokens,
        epochs=settings.epochs,
        time=settings.time,
        seed=config.seed if settings.seed is None else settings.seed,
        device=settings.device,
    )


def _read(
    config: TrainConfig, parent: Run, pack: bool, old: int, new: int
) -> tuple[TrainingData, HeldOutText]:
    """Return the text, and its held-out part to measure on.

    Raises:
        BadInput: no document is as long as the new length.
    """
    short = replace(config, model=replace(config.model, trained_length=old, position="none"))
    material = read_text(short, parent.tokenizer, command="extend")
    text = HeldOutText(material.validation, parent.tokenizer, pack)
    check_long_enough(text, old, new, material.facts["name"])
    return material, text


def _tried(
    settings: Extension,
    model: LanguageModel,
    trained: ModelConfig,
    stretch: Stretch,
    text: HeldOutText,
    material: TrainingData,
    show: ExtensionDisplay,
) -> list[MethodResult]:
    """Return the results of the methods, the best first.

    Raises:
        Failed: no method has a loss at the new length.
    """
    applicable = fitting(parse(trained.position))
    tried = try_methods(
        model,
        trained,
        applicable if settings.method == "auto" else [settings.method],
        stretch,
        text,
        material.training,
        progress=show.progress,
    )
    if tried[0].loss is None:
        raise Failed(
            f"{tried[0].method} cannot reach {stretch.length:,} tokens: {tried[0].cannot}",
            code="extension.method-fails",
        )
    return tried


def _write_untrained(
    config: TrainConfig, parent: Run, child: LanguageModel, about: dict[str, Any]
) -> Run:
    """Write a run with the parent's weights and another embedding and trained length."""
    folder = free_folder(config)
    recorded = {
        **parent.config,
        **about,
        "model": child.config.to_dict(),
        "training": {**config.to_dict(), **dict.fromkeys(LENGTHS)},
    }
    try:
        with replacing_contents(folder, RUN):
            write_text(folder / "config.json", json.dumps(recorded, indent=1) + "\n")
            parent.tokenizer.save(folder / "tokenizer.json")
            save_weights(folder / "model.safetensors", child.state_dict())
    except OSError as error:
        raise cannot_write(folder, error, "choose another --out") from None
    return Run.load(folder, trust=True)


def _measured(
    run: Run, parent: Run, text: HeldOutText, device: str, show: ExtensionDisplay
) -> Extended:
    """Measure both runs, and record the results."""
    about = record.extension_of(run)
    old, new, kinds = about["from_length"], about["to_length"], about["retrieval"]

    def measured(some: Run, start: float, what: str) -> RunMeasurements:
        return measure(
            _transformer(some, device),
            text,
            old,
            new,
            kinds=kinds,
            progress=lambda share: show.progress(start + share / 2, what),
        )

    before = measured(parent, 0.0, "measuring the parent")
    after = measured(run, 0.5, "measuring the new run")
    record.write(run, before, after)
    return Extended(run, parent, about["method"], before, after)
