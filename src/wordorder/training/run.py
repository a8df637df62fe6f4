"""A run folder: what training leaves and every other command reads.

    config.json  tokenizer.json  model.safetensors    what the model is
    metrics.jsonl  loss.png  samples.txt  README.md    how it came to be
    training/                                          what resuming needs
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from wordorder.errors import BadInput
from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.model.decoding import Sampling, generate
from wordorder.text.tokenizer import Tokenizer

NEEDED = ("config.json", "tokenizer.json", "model.safetensors")


class Run:
    """A trained model in its folder.

    Raises:
        BadInput: a file that is missing or damaged (which one).
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise BadInput(f"no run folder {self.folder}: train one with wordorder train --out")
        for name in NEEDED:
            if not (self.folder / name).is_file():
                raise BadInput(f"{self.folder} is no whole run: {name} is missing")
        try:
            self.config: dict[str, Any] = json.loads(
                (self.folder / "config.json").read_text(encoding="utf-8")
            )
            self.model_config = ModelConfig.from_dict(self.config["model"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{self.folder / 'config.json'} is damaged: {error}") from None

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Return the run in a folder."""
        return cls(folder)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.folder / "tokenizer.json")

    @cached_property
    def model(self) -> TokenModel:
        """The trained model on the CPU, ready to evaluate."""
        return self.load_model()

    def load_model(self, device: str | torch.device = "cpu") -> TokenModel:
        """Return the trained model on a device."""
        path = self.folder / "model.safetensors"
        model = make_model(self.model_config)
        try:
            missing, unexpected = model.load_state_dict(load_file(path), strict=False)
        except (SafetensorError, RuntimeError) as error:
            raise BadInput(f"{path} is damaged: {str(error).splitlines()[0]}") from None
        if missing or unexpected:
            odd = ", ".join([*missing, *unexpected][:3])
            raise BadInput(f"{path} does not fit {self.folder / 'config.json'}: see {odd}")
        return model.to(device).eval()

    def generate(self, prompt: str = "", **sampling: Any) -> str:
        """Return the prompt with what the model writes after it.

        Args:
            sampling: fields of `wordorder.model.decoding.Sampling`.
        """
        start = [self.tokenizer.end_of_text, *self.tokenizer.encode(prompt)]
        written = generate(
            self.model, start, Sampling(**sampling), stop=self.tokenizer.end_of_text
        )
        return prompt + self.tokenizer.decode(list(written))
