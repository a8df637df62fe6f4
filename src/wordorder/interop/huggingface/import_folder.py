"""A folder of transformers as a run, compared with the original.

    config.json         every field is read, or has no effect, or is refused   (`fields`)
    model.safetensors   every tensor has a place in the run's model, and none is missing
    tokenizer.json      becomes the run's tokenizer; rows that no token has get one without text

Weights are read a layer at a time, so the memory that an import needs is that of the larger of one
layer and the table of tokens. The comparison needs that of one model at a time, because
transformers' logits are computed before the run's, and limits the tokens that it reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from wordorder.allocator import return_freed_pages
from wordorder.errors import BadInput
from wordorder.interop.architecture import Architecture
from wordorder.interop.comparison import LogitComparison, affordable, exact, notes_on_lengths
from wordorder.interop.verify import differences, read_by, samples
from wordorder.model import LanguageModel, ModelConfig
from wordorder.names import file_name
from wordorder.patience import notify_if_slow
from wordorder.positions import PositionError
from wordorder.text.corpus import HUB_PREFIX
from wordorder.text.hub_files import downloaded, is_on_hub, name_on_hub
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.user_text import named_folder, user_path
from wordorder.training.imported import new_run, write_record, write_weights

from .convert import loaded
from .families import IMPORTED
from .fields import TRAINED_LENGTH, Fields, Imported
from .own_code.holder import MODEL_TYPE
from .rotary import static_length
from .special_tokens import splits_special_tokens
from .tokenizer import read_chat_template, read_tokenizer
from .weight_files import WeightFiles, read_json

# Weights of layers after the last hidden states that wordorder's models do not have: BERT's pooler
# and its prediction of the next sentence.
LEFT_OUT = r"(^|\.)pooler\.|^cls\.seq_relationship\."
# Endings of names in files of before 2019.
RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
FILES = ["*.json", "*.jinja", "model*.safetensors"]
# Limits of the comparison: multiply-adds of one forward pass (in all, about a minute on two cores),
# and memory of activations in addition to the weights, in bytes or as a fraction of the weights.
MOST_OPERATIONS = 1e11
MOST_BYTES, MOST_SHARE = 96 << 20, 0.15
COMPARED_LOGITS = 1 << 20  # of one sequence; of a large vocabulary the last tokens' are compared


@dataclass(frozen=True)
class ImportedRun:
    """An imported run, and how its logits compare with transformers'.

    Args:
        folder: the run folder.
        source: the folder that was imported.
        class_name: the class of transformers whose weights they are.
        parameters: number of weights.
        position: spec of the positional embedding.
        trained_length: tokens in one training sequence.
        comparisons: the largest differences of logits; empty without transformers.
        notes: what is left out, one sentence each.
        has_head: the model has an output layer.
    """

    folder: Path
    source: Path
    class_name: str
    parameters: int
    position: str
    trained_length: int
    comparisons: tuple[LogitComparison, ...]
    notes: tuple[str, ...]
    has_head: bool

    @property
    def largest_difference(self) -> float | None:
        """The largest difference of two logits; None if none were compared."""
        return max((each.difference for each in self.comparisons), default=None)


@dataclass(frozen=True)
class _Located:
    """Where the files are, the name of the run, and what its record says."""

    folder: Path
    name: str
    record: str


@dataclass(frozen=True)
class _Source:
    """The contents of a folder, after checking that its files fit together."""

    folder: Path
    model_type: str
    class_name: str
    imported: Imported
    model: LanguageModel  # on the meta device
    tensors: WeightFiles
    tokenizer: Tokenizer


def import_folder(
    source: str | Path,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    command: str | None = None,
) -> ImportedRun:
    """Write a folder of transformers as a run, and compare both models.

    Args:
        source: the folder, with safetensors files, or `hf:NAME` or `hf:NAME@REVISION` for one on
            the Hugging Face Hub.
        out: the run folder; None: the folder's name in `runs`.
        overwrite: replace a run there.
        command: the command line, for the record.

    Raises:
        BadInput: a file is missing, damaged, does not fit the others, or of an architecture that
            wordorder does not have. Nothing is written.
        Refused: the run's logits differ from transformers'. Nothing is left.
    """
    located = _on_hub(str(source)) if is_on_hub(source) else _on_disk(user_path(source))
    read = _read(located.folder)
    folder = named_folder(out) if out is not None else Path("runs") / file_name(located.name)
    with new_run(folder, overwrite=overwrite) as unfinished:
        _write(unfinished, read)
        comparisons, notes = _checked(unfinished, read)
        chat, chat_notes = read_chat_template(read.folder, read.tokenizer)
        notes += chat_notes
        entry = {
            "from": located.record,
            "model_type": read.model_type,
            "class": read.class_name,
            "has_head": read.imported.has_head,
            "beginning_of_text": _spelling(read.tokenizer),
            "splits_special_tokens": splits_special_tokens(read.folder),
            "comparisons": [asdict(comparison) for comparison in comparisons],
            "notes": notes,
        }
        write_record(
            unfinished, read.model.config, read.tokenizer, entry, command=command, chat=chat
        )
    return ImportedRun(
        folder,
        read.folder,
        read.class_name,
        sum(parameter.numel() for parameter in read.model.parameters()),
        read.model.config.position,
        read.model.config.trained_length,
        comparisons,
        notes,
        read.imported.has_head,
    )


def _spelling(tokenizer: Tokenizer) -> str | None:
    """Return the token that begins texts; None if it is the one that ends them."""
    beginning = tokenizer.beginning_of_text
    is_end = beginning == tokenizer.end_of_text
    return None if is_end else str(tokenizer.backend.id_to_token(beginning))


def _write(unfinished: Path, read: _Source) -> None:
    """Write the weights, a layer at a time, and the tokenizer."""
    shapes = {name: tuple(value.shape) for name, value in read.model.state_dict().items()}
    with notify_if_slow(f"reading {read.folder}"):
        weights = read.imported.weights.read(read.tensors, read.model)
        write_weights(unfinished / "model.safetensors", shapes, weights)
        return_freed_pages()
    read.tokenizer.save(unfinished / "tokenizer.json")


def _checked(
    unfinished: Path, read: _Source
) -> tuple[tuple[LogitComparison, ...], tuple[str, ...]]:
    """Return the comparisons, none without transformers, and what a user must know.

    Raises:
        Refused: the logits differ from transformers'.
    """
    notes = read.imported.notes
    if find_spec("transformers") is None:
        missing = (
            "the logits were not compared with transformers', which is not installed: "
            "pip install 'wordorder[hf]', and import again with --overwrite"
        )
        return (), (*notes, missing)
    with notify_if_slow("comparing the run's logits with transformers'"):
        original = f"{read.class_name} in {read.folder}"
        compared = exact(_compared(read, unfinished), holder="the imported run", original=original)
    return compared, (*notes, *notes_on_lengths(read.model.config.trained_length, compared))


def _on_disk(folder: Path) -> _Located:
    whole = folder.resolve()
    return _Located(folder, whole.name.lower() or "imported", str(whole))


def _on_hub(source: str) -> _Located:
    """Download the files of an import, weights only if their architecture is supported."""
    model, _ = name_on_hub(source)
    _configuration(downloaded(source, ["config.json"]))
    folder = downloaded(source, FILES)
    return _Located(folder, model.split("/")[-1].lower(), f"{HUB_PREFIX}{model}@{folder.name}")


def _read(folder: Path) -> _Source:
    """Return the contents of a folder, the values of its weights left unread.

    Raises:
        BadInput: a file is missing, damaged, or does not fit the others.
    """
    values = _configuration(folder)
    model_type = values["model_type"]
    fields = Fields(values, str(folder / "config.json"))
    imported = IMPORTED[model_type](fields)
    trained_length = fields.integer(TRAINED_LENGTH, imported.options[TRAINED_LENGTH])
    unread = fields.check_unread(_may_read(model_type))
    options = {"embedding_scale": 1.0, **imported.options, TRAINED_LENGTH: trained_length}
    try:
        with torch.device("meta"):
            model = LanguageModel(ModelConfig(**options))
    except (BadInput, PositionError) as error:
        raise BadInput(
            f"{folder / 'config.json'} cannot be imported: {error}",
            code="interop.invalid-architecture",
        ) from None
    expected = {n: tuple(v.shape) for n, v in imported.weights.write(model).items()}
    tensors = WeightFiles(folder, RENAMED)
    prefix = f"{next(iter(expected)).partition('.')[0]}."
    tensors.add_prefix(prefix, list(expected))
    for kept, copy in imported.weights.copies(model):
        tensors.drop_copy(kept, copy)
    classes = values.get("architectures")
    class_name = str(classes[0]) if isinstance(classes, list) and classes else model_type
    missing = {name for name in expected if name not in tensors}
    if missing and missing == {name for name in expected if not name.startswith(prefix)}:
        if class_name.endswith(("ForCausalLM", "LMHeadModel", "ForMaskedLM")):
            raise BadInput(
                f"the weights in {folder} have no output layer: set tie_word_embeddings to true in "
                "config.json if the table of tokens is used as one",
                code="interop.no-output-weights",
            )
        raise BadInput(
            f"{class_name} in {folder} has no output layer that predicts tokens: save it as a "
            "class that has one, such as ...ForCausalLM, and import that folder",
            code="interop.no-output-layer",
        )
    left_out = "|".join(filter(None, (LEFT_OUT, imported.left_out)))
    tensors.check(expected, re.compile(left_out))
    tokenizer, notes = read_tokenizer(folder, model.config.vocabulary_size)
    if unread:
        ignored = f"config.json: {', '.join(unread)}: not read by transformers' class, nor here"
        notes = (ignored, *notes)
    imported = imported._replace(notes=(*imported.notes, *notes))
    return _Source(folder, model_type, class_name, imported, model, tensors, tokenizer)


def _may_read(model_type: str) -> Callable[[str], bool]:
    """Return a function that says whether transformers' class may read a field of config.json.

    It cannot read one that its configuration does not have; the logits are compared anyway.
    """
    if find_spec("transformers") is None:
        return lambda name: True
    from transformers import CONFIG_MAPPING

    known = CONFIG_MAPPING[model_type]()
    return lambda name: hasattr(known, name)


def _configuration(folder: Path) -> dict[str, Any]:
    """Return config.json of a folder with a supported model type.

    Raises:
        BadInput: it is missing, damaged, asks for code of its own, or of another type.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise BadInput(
            f"{folder} has no config.json: give a folder that transformers' save_pretrained wrote, "
            "or hf:NAME for a model on the Hugging Face Hub",
            code="interop.no-configuration",
        )
    values = read_json(path)
    if not isinstance(values, dict):
        raise BadInput(f"{path} is not a JSON object: copy it again", code="interop.not-an-object")
    if {"training", "machine", "wordorder"} & set(values):
        raise BadInput(f"{folder} is already a run: use it as it is", code="interop.is-a-run")
    if values.get("model_type") == MODEL_TYPE:
        raise BadInput(
            f"{folder} is an export of wordorder with modelling code of its own: use the run that "
            "it was written from",
            code="interop.own-export",
        )
    if values.pop("auto_map", None):
        raise BadInput(
            f"{path} asks for code from the folder (auto_map), which import never runs: remove "
            "auto_map from the file if a class of transformers computes the same",
            code="interop.remote-code",
        )
    if values.get("quantization_config"):
        raise BadInput(
            f"{folder} has quantized weights: import the folder that they were made from",
            code="interop.quantized",
        )
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in IMPORTED:
        raise BadInput(
            f"{path}: model_type {model_type} cannot be imported: it must be one of "
            f"{', '.join(sorted(IMPORTED))}",
            code="interop.unsupported-model-type",
        )
    return values


def _compared(read: _Source, written: Path) -> Iterator[LogitComparison]:
    """Yield how far the run's logits are from those of transformers, which are read first."""
    import transformers

    architecture = Architecture.of(read.model)
    most = _affordable(read.model)
    vocabulary = read.model.config.vocabulary_size
    texts = list(
        samples(
            read.model,
            longest=min(most, read.imported.longest or most),
            static_length=static_length(next(iter(architecture.rotaries), None)),
            compared=max(1, COMPARED_LOGITS // vocabulary),
        )
    )
    auto: Any
    if not read.imported.has_head:
        auto, output = transformers.AutoModel, "last_hidden_state"
    elif read.model.config.causal:
        auto, output = transformers.AutoModelForCausalLM, "logits"
    else:
        auto, output = transformers.AutoModelForMaskedLM, "logits"
    theirs = loaded(
        auto,
        read.folder,
        is_export=False,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    their_logits = [read_by(theirs, text, output) for text in texts]
    theirs.to("meta")  # frees the weights; the object is in a reference cycle and stays
    return_freed_pages()
    ours = _filled(read.model.config, written / "model.safetensors")
    for text, logits in zip(texts, their_logits, strict=True):
        yield from differences(ours, text, logits, of_hidden_states=output != "logits")


def _affordable(model: LanguageModel) -> int:
    """Return how many tokens the comparison can read in a reasonable time and memory."""
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    memory = max(MOST_BYTES, weights * MOST_SHARE)
    return affordable(model, operations=MOST_OPERATIONS, memory=memory)


def _filled(config: ModelConfig, path: Path) -> LanguageModel:
    """Return the model with the weights of a file, which stay in the file until they are used."""
    with torch.device("meta"):
        model = LanguageModel(config)
    model.load_state_dict(load_file(path), assign=True)
    return model.eval()
