"""Generates tokens with llama.cpp from a GGUF file, sampled as wordorder samples its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.model.decoding import Sampling, sample_tokens
from wordorder.text.prompt import Prompt
from wordorder.text.tokenizer import Tokenizer

from .llama_cpp import LlamaCpp, rounded_context
from .tokenizer import read_back

MOST_CONTEXT = 1 << 17  # tokens; of a small model their keys and values take gigabytes


class GgufFile:
    """A GGUF file that `wordorder export` wrote, with its tokenizer.

    Args:
        path: the file, or a folder with one.

    Raises:
        BadInput: there is none, or more than one; it is damaged.
    """

    def __init__(self, path: Path) -> None:
        files = sorted(path.glob("*.gguf")) if path.is_dir() else [path]
        if len(files) != 1:
            raise BadInput(
                f"{path} has {len(files)} .gguf files: give one of "
                f"{', '.join(file.name for file in files) or 'wordorder export RUN --to gguf'}",
                code="interop.no-single-gguf",
            )
        self.path = files[0]
        self._fields = _read_fields(self.path)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the file holds."""
        return read_back(self._fields, str(self.path))

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture."""
        return str(self._fields["general.architecture"])

    def room(self, tokens: int) -> int | None:
        """Return how many tokens can be generated after `tokens`; None: no limit."""
        if self.architecture != "gpt2":  # alone has a table of positions, which ends
            return None
        positions = int(self._fields[f"{self.architecture}.context_length"])
        return max(0, positions - tokens + 1)  # the last one needs no position

    def generate(self, prompt: Prompt, sampling: Sampling) -> Iterator[int]:
        """Yield new tokens; llama.cpp has as many threads as PyTorch.

        Raises:
            BadInput: xllamacpp is not installed, or the text may become too long.
            Refused: llama.cpp cannot load the file.
        """
        length = len(prompt.tokens) + sampling.max_tokens
        self._check_length(length)
        threads = torch.get_num_threads()
        with LlamaCpp(self.path, context=length, threads=threads) as model:
            read = 0

            def next_logits(tokens: Tensor) -> Tensor:
                nonlocal read
                new, start = tokens[0, read:].tolist(), read
                read = tokens.shape[1]
                return model.read(new, positions=range(start, read), last_only=True)

            stop, allowed = prompt.tokenizer.end_of_text, prompt.allowed
            yield from sample_tokens(
                next_logits, prompt.tokens, sampling, stop=stop, allowed=allowed
            )

    def _check_length(self, length: int) -> None:
        """Check that llama.cpp can hold a text, and turns its keys as wordorder does."""
        if length > MOST_CONTEXT:
            raise BadInput(
                f"llama.cpp allocates its cache at the start, and the prompt with --max-tokens "
                f"takes {length:,} tokens: use at most {MOST_CONTEXT:,}, or the run itself with "
                "--engine wordorder",
                code="interop.llama-cpp-context-too-long",
            )
        scaling = f"{self.architecture}.rope.scaling."
        original = int(self._fields.get(f"{scaling}original_context_length", 0))
        is_long = self._fields.get(f"{scaling}type") == "longrope"
        rounded = rounded_context(length)
        if is_long and length <= original < rounded:
            raise BadInput(
                f"llama.cpp rounds a context of {length:,} tokens up to {rounded:,}, "
                f"and longrope has other frequencies past {original:,}: use the run itself with "
                "--engine wordorder",
                code="interop.llama-cpp-longrope-context",
            )


def _read_fields(path: Path) -> dict[str, Any]:
    import gguf

    try:
        fields = gguf.GGUFReader(path).fields
        return {name: field.contents() for name, field in fields.items()}
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise BadInput(
            f"{path} cannot be read as a GGUF file ({' '.join(str(error).split())[:100]}): give a "
            "file of wordorder export RUN --to gguf",
            code="interop.gguf-unreadable",
        ) from None
