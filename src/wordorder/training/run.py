"""A run folder: what training leaves and every other command reads.

config.json  tokenizer.json  model.safetensors    what the model is
last.safetensors                                   the last weights, if others validated better
metrics.jsonl  loss.png  samples.txt  README.md    how it came to be
training/                                          what resuming needs
extension.json  extension.md  extension.png        of a run that `wordorder extend` made
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from wordorder.errors import BadInput, Refused
from wordorder.folders import FolderKind
from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.model.decoding import CompiledStep, Sampling
from wordorder.positions import foreign
from wordorder.text.prompt import Prompt
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.user_text import user_path
from wordorder.training.process_state import isolated_process_state
from wordorder.training.recorded import naming_damage, read_recorded
from wordorder.training.signature import is_ours
from wordorder.training.text_generation import generate_text, remaining_positions

NEEDED = ("config.json", "tokenizer.json", "model.safetensors")
MOST_NAMED = 6  # runs in one message
# What a run leaves, and so what --overwrite removes: nothing else in the folder is touched.
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
        "tensorboard/events.out.tfevents.*",
        "extension.json",
        "extension.md",
        "extension.png",
        "probe.png",
        "measures.json",  # of a run that was compared
    ),
    proofs={"README.md": is_ours},
    usable_with=("training/step-[0-9]*/state.json", "model.safetensors"),
)


class Run:
    """A trained model in its folder.

    Args:
        folder: the run folder.
        trust: import a positional embedding of one's own that the run names, which runs code.

    Raises:
        BadInput: a file that is missing or damaged (which one).
        Refused: a run with an embedding of one's own, and no trust.
    """

    def __init__(self, folder: str | Path, *, trust: bool = False) -> None:
        self.folder = user_path(folder)
        if not self.folder.is_dir():
            raise BadInput(f"no run folder {self.folder}: train one with wordorder train --out")
        for name in NEEDED:
            if not (self.folder / name).is_file():
                _check_no_comparison(self.folder)
                raise BadInput(f"{self.folder} is no whole run: {name} is missing")
        self.config = read_recorded(self.folder, "model")
        with naming_damage(self.folder / "config.json"):
            self.model_config = ModelConfig.from_dict(self.config["model"])
        check_trust(self.folder, self.model_config, trust)

    @classmethod
    def load(cls, folder: str | Path, *, trust: bool = False) -> Run:
        """Return the run in a folder."""
        return cls(folder, trust=trust)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.folder / "tokenizer.json")

    @cached_property
    def model(self) -> TokenModel:
        """The trained model on the CPU, ready to evaluate."""
        return self.load_model()

    @isolated_process_state()
    def load_model(self, device: str | torch.device = "cpu") -> TokenModel:
        """Return the trained model on a device."""
        path = self.folder / "model.safetensors"
        model = make_model(self.model_config)
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise BadInput(f"{path} is damaged: {error}") from None
        if odd := misfits(tensors, model):
            named = ", ".join(odd[:3])
            raise BadInput(f"{path} does not fit {self.folder / 'config.json'}: see {named}")
        model.load_state_dict(tensors)
        return model.to(device).eval()

    @cached_property
    def compiled_step(self) -> CompiledStep:
        """The model's decoding step, compiled when it is first used."""
        return CompiledStep(self.model)

    @property
    def fills_in(self) -> bool:
        """Whether it was trained to fill in hidden tokens and not to predict the next one."""
        masked = self.config.get("training", {}).get("objective") == "masked-token"
        return masked or not self.model_config.causal

    def check_next_token(self, what: str) -> None:
        """Raise where the model cannot be asked for the next token.

        Args:
            what: asks for it.

        Raises:
            BadInput: a model that fills in hidden tokens.
        """
        if self.fills_in:
            raise BadInput(
                f"{self.folder} fills in hidden tokens, and {what} asks for the next one: take a "
                "run trained with --objective next-token"
            )

    def generate(self, prompt: str = "", *, compile: bool = False, **sampling: Any) -> str:
        """Return the prompt with what the model writes after it, as far as it has positions.

        Args:
            compile: write by compiled code: several times as fast, after some 20 s.
            sampling: fields of `wordorder.model.decoding.Sampling`.

        Raises:
            BadInput: a model that looks both ways; a prompt that cannot be encoded or is longer
                than the embedding has positions for; a decoding step that cannot be compiled.
        """
        self.check_next_token("generate")
        start, how = Prompt(prompt, self.tokenizer), Sampling(**sampling)
        if (left := remaining_positions(self.model, start)) is not None:
            how = replace(how, max_tokens=min(left, how.max_tokens))
        step = self.compiled_step if compile else None
        return prompt + "".join(generate_text(self.model, start, how, step=step))


def misfits(tensors: Mapping[str, Tensor], model: TokenModel) -> list[str]:
    """Return the names of weights that a model lacks, has alone, or has of another shape."""
    own = model.state_dict()
    odd = [n for n in own if n not in tensors or tensors[n].shape != own[n].shape]
    return odd + [n for n in tensors if n not in own]


def _check_no_comparison(folder: Path) -> None:
    """Raise where a folder holds several runs instead of being one.

    Raises:
        BadInput: naming some of them.
    """
    inside = sorted(path.parent for path in folder.glob("runs/*/model.safetensors"))
    if inside:
        named = ", ".join(map(str, inside[:MOST_NAMED]))
        more = f" and {len(inside) - MOST_NAMED} more" if len(inside) > MOST_NAMED else ""
        what = "a comparison" if (folder / "comparison.json").exists() else "a folder of runs"
        raise BadInput(f"{folder} is {what}: name one of its runs: {named}{more}")


def check_trust(folder: Path, model: ModelConfig, trust: bool) -> None:
    """Refuse to import a class that a run names, unless its code is trusted.

    Raises:
        Refused: a run with a positional embedding of one's own, and no trust.
    """
    own = foreign(model.position)
    if own and not trust:
        raise Refused(
            f"{folder} has a positional embedding of its own, {own[0]}, whose code would run: "
            "add --trust if you know it"
        )
