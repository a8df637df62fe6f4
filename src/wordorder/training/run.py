"""A run folder, which training writes and every other command reads.

config.json  tokenizer.json  model.safetensors    the model
last.safetensors                                   the last weights, if earlier ones are better
metrics.jsonl  loss.png  samples.txt  README.md    the history of its training
training/                                          the state for resuming
extension.json  extension.md  extension.png        only after `wordorder extend`
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from wordorder.errors import BadInput, Note, Refused
from wordorder.folders import FolderKind
from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.model.decoding import CompiledStep, Sampling
from wordorder.positions import code_of, foreign
from wordorder.text.chat_template import OPENING
from wordorder.text.corpus import HUB_PREFIX
from wordorder.text.prompt import Prompt
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.user_text import named_folder
from wordorder.training import word_checkpoints
from wordorder.training.checkpoints import newest_step, not_finite
from wordorder.training.config import LENGTHS
from wordorder.training.moved_text import init_command, resume_command
from wordorder.training.process_state import isolated_process_state
from wordorder.training.recorded import (
    check_has_run,
    check_run_folder,
    naming_damage,
    read_recorded,
)
from wordorder.training.signature import is_ours
from wordorder.training.text_generation import generate_text, remaining_positions

NEEDED = ("config.json", "tokenizer.json", "model.safetensors")
# The files of a run, which --overwrite removes; other files in the folder are not touched.
RUN = FolderKind(
    "a run",
    record="config.json",
    keys=("training", "model", "machine", "steps", "data"),
    files=(
        "tokenizer.json",
        "model.safetensors",
        "last.safetensors",
        "metrics.jsonl",
        "loss.png",
        "samples.txt",
        "README.md",
        "training/decisions.jsonl",
        "training/step-[0-9]*/state.safetensors",
        "training/step-[0-9]*/state.json",
        "training/step-[0-9]*/shard-*.safetensors",
        *word_checkpoints.FILES,
        "tensorboard/events.out.tfevents.*",
        "extension.json",
        "extension.md",
        "extension.png",
        "probe.png",
        "position.png",
        "measures.json",  # written by `wordorder compare`
    ),
    proofs={"README.md": is_ours},
    usable_with=("training/step-[0-9]*/state.json", "model.safetensors"),
    # The checkpoint of step 0, which has no training in it, replaces nothing.
    replaces_with=("training/step-*[1-9]*/state.json",),
)


class Run:
    """A trained model in its run folder.

    Args:
        folder: the run folder.
        trust: allow importing a user-defined positional embedding, which runs its code.

    Raises:
        BadInput: a file is missing or damaged.
        Refused: the run has a user-defined embedding, and `trust` is not set.
    """

    def __init__(self, folder: str | Path, *, trust: bool = False) -> None:
        self.folder = named_folder(folder)
        check_run_folder(self.folder)
        for name in NEEDED:
            if not (self.folder / name).is_file():
                check_has_run(self.folder)
                remedy = "give a folder that wordorder train wrote"
                if name == "model.safetensors" and newest_step(self.folder / "training"):
                    remedy = f"restore it with {resume_command(self.folder)}"
                raise BadInput(
                    f"{self.folder} is not a complete run folder: {name} is missing; {remedy}",
                    code="training.incomplete-run",
                )
        self.config = read_recorded(self.folder, "model")
        with naming_damage(self.folder / "config.json"):
            self.model_config = ModelConfig.from_dict(self.config["model"])
        check_trust(self.folder, self.model_config, trust)
        if changed := changed_code(self.config, self.model_config):
            note = f"the code of {changed} has changed since {self.folder} was trained with it"
            warnings.warn(note, Note, stacklevel=2)

    @classmethod
    def load(cls, folder: str | Path, *, trust: bool = False) -> Run:
        """Return the run in a folder."""
        return cls(folder, trust=trust)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        beginning = self.config.get("import", {}).get("beginning_of_text")
        return Tokenizer.load(self.folder / "tokenizer.json", beginning)

    @cached_property
    def model(self) -> TokenModel:
        """The trained model on the CPU, in evaluation mode."""
        return self.load_model()

    @isolated_process_state()
    def load_model(self, device: str | torch.device = "cpu") -> TokenModel:
        """Return the trained model on a device, in evaluation mode.

        Raises:
            BadInput: the weights are damaged, not finite, or of another architecture.
        """
        path = self.folder / "model.safetensors"
        model = make_model(self.model_config)
        tensors = stored_weights(path)
        if names := misfits(tensors, model):
            raise BadInput(
                f"{path} does not fit the model in {self.folder / 'config.json'}: "
                f"{', '.join(names[:3])} differ; restore the files of one run",
                code="training.other-weights",
            )
        if name := not_finite(tensors):
            raise BadInput(
                f"{path} holds an infinite number or NaN, in {name}: copy it again, or train the "
                "run again",
                code="training.stored-weights-not-finite",
            )
        model.load_state_dict(tensors)
        return model.to(device).eval()

    @cached_property
    def compiled_step(self) -> CompiledStep:
        """The compiled decoding step of the model; compiled at first use."""
        return CompiledStep(self.model)

    @property
    def fills_in(self) -> bool:
        """Whether the model predicts masked tokens instead of the next one."""
        masked = self.config.get("training", {}).get("objective") == "masked-token"
        return masked or not self.model_config.causal

    @property
    def chat(self) -> dict[str, Any] | None:
        """The record of the chat template; None if the model was not trained on conversations."""
        entry = self.config.get("data", {}).get("chat")
        return entry if isinstance(entry, dict) else None

    @property
    def opens_conversations(self) -> bool:
        """Whether conversations begin with the end-of-text token, as in training.

        The template of an imported model writes everything itself.
        """
        source = str((self.chat or {}).get("jinja", ""))
        return self.source is None or source.startswith(OPENING)

    @property
    def unfinished(self) -> str | None:
        """How far an unfinished training has come, as text; None if training is finished."""
        metrics, steps = self.folder / "metrics.jsonl", self.config.get("steps")
        known = metrics.read_bytes() if metrics.is_file() else b""
        has_begun = known or any(self.folder.glob("training/step-*"))
        if steps is None or not has_begun or b'"final":' in known:
            return None
        return f"saved at step {newest_step(self.folder / 'training'):,} of {steps:,}"

    @property
    def origin(self) -> str:
        """Where the weights come from, as a phrase for use in a sentence.

        For example `trained from scratch on sequences of 64 tokens`, or the run or model that they
        were imported, extended or fine-tuned from.
        """
        length = f"{self.model_config.trained_length:,} tokens"
        training = self.config.get("training", {})
        parent = self.config.get("extension", {}).get("parent")
        if parent:
            tuned = any(training.get(name) is not None for name in LENGTHS)
            how = f"fine-tuned on sequences of {length}" if tuned else "not trained further"
            origin = f"extended from `{Path(parent).name}` to {length} and {how}"
        elif self.source is not None:
            name = self.source.removeprefix(HUB_PREFIX)
            name = name if name != self.source else Path(name).name
            origin = f"imported from `{name}`, whose trained length is {length},"
        elif training.get("init"):
            origin = f"fine-tuned from `{Path(training['init']).name}` on sequences of {length}"
        else:
            origin = f"trained from scratch on sequences of {length}"
        unfinished = self.unfinished
        return origin if unfinished is None else f"{origin} (not to the end: {unfinished})"

    @property
    def imported(self) -> dict[str, Any] | None:
        """The record of the import, as long as nothing was trained; None if it was trained."""
        entry = self.config.get("import")
        return entry if isinstance(entry, dict) else None

    @property
    def source(self) -> str | None:
        """The folder that the run was imported from; None if it was trained."""
        return None if self.imported is None else str(self.imported.get("from"))

    def check_has_text(self) -> None:
        """Check that the record says which text the model was trained on.

        Raises:
            BadInput: the run was imported.
        """
        if self.source is not None:
            raise BadInput(
                f"{self.folder} was imported from {self.source}, so the text it was trained on is "
                "unknown: give a text with --data",
                code="training.imported-text",
            )

    def check_predicts(self, command: str) -> None:
        """Check that the model has an output layer.

        Args:
            command: the command that needs it, for the message.

        Raises:
            BadInput: it was imported without one.
        """
        if self.source is not None and not self.config["import"].get("has_head", True):
            raise BadInput(
                f"{command} needs a model that predicts tokens, but {self.folder} was imported "
                f"from a class without an output layer: train one with {init_command(self.folder)} "
                "--objective masked-token --no-causal",
                code="training.no-output-layer",
            )

    def check_next_token(self, command: str) -> None:
        """Check that the model predicts the next token.

        Args:
            command: the command or option that needs it, for the message.

        Raises:
            BadInput: the model predicts masked tokens, or none.
        """
        self.check_predicts(command)
        if self.fills_in:
            raise BadInput(
                f"{command} needs a model that predicts the next token, but {self.folder} predicts "
                "masked tokens: use a run trained with --objective next-token",
                code="training.not-next-token",
            )

    def generate(self, prompt: str = "", *, compile: bool = False, **sampling: Any) -> str:
        """Return the prompt with the text that the model generates after it.

        Args:
            prompt: the prompt; may be empty.
            compile: use compiled code: several times as fast, after about 20 s of compiling.
            sampling: fields of `wordorder.model.decoding.Sampling`; `max_tokens` is reduced to
                the positions that the embedding has.

        Raises:
            BadInput: the model predicts masked tokens; the prompt cannot be encoded, or is longer
                than the embedding has positions for; the decoding step cannot be compiled.
        """
        self.check_next_token("generate")
        start, how = Prompt(prompt, self.tokenizer), Sampling(**sampling)
        if (left := remaining_positions(self.model, start)) is not None:
            how = replace(how, max_tokens=min(left, how.max_tokens))
        step = self.compiled_step if compile else None
        return prompt + "".join(generate_text(self.model, start, how, step=step))


def misfits(tensors: Mapping[str, Tensor], model: TokenModel) -> list[str]:
    """Return the names of weights that are missing, unexpected, or of another shape."""
    weights = model.state_dict()
    names = [n for n in weights if n not in tensors or tensors[n].shape != weights[n].shape]
    return names + [n for n in tensors if n not in weights]


def stored_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise BadInput(
            f"{path} is damaged ({error}): copy it again, or train the run again",
            code="training.damaged-weights",
        ) from None


def changed_code(record: Mapping[str, Any], model: ModelConfig) -> str | None:
    """Return the user-defined embedding whose code has changed since a run began; None if none has.

    Args:
        record: the contents of the run's `config.json`.
    """
    if "code" not in record or record["code"] == code_of(model.position):
        return None
    return " and ".join(foreign(model.position))


def check_trust(folder: Path, model: ModelConfig, trust: bool) -> None:
    """Check that code of a user-defined positional embedding may run.

    Raises:
        Refused: the run has such an embedding, and `trust` is not set.
    """
    user_defined = foreign(model.position)
    if user_defined and not trust:
        raise Refused(
            f"{folder} has the user-defined positional embedding {user_defined[0]}, whose code "
            "would run: add --trust if you trust it (trust=True in Python)",
            code="training.untrusted",
        )
