"""A run as a language model of lm-evaluation-harness.

Context and continuation are divided into tokens by the harness' own rule, which its `hf` model uses
too, and texts are cut to the same length, so that both score an exported run alike. Requests of
equal length form a batch: without padding, embeddings that depend on the length stay exact.

Imports lm_eval: `environment.offline_and_quiet` must be entered first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.model import TokenModel, evaluating
from wordorder.model.decoding import Sampling, generate
from wordorder.text.tokenizer import Tokenizer

TOKENS_PER_BATCH = 8192
LOGITS_PER_BATCH = 1 << 26  # 256 MB in float32
GENERATED = 256  # most new tokens of a task that sets no number, as in the harness' hf model

Encoded = tuple[Any, list[int], list[int]]  # the texts, the context, the continuation


class HarnessModel(TemplateLM):
    """A trained model, as tasks of the harness see it.

    Args:
        model: a causal model, in evaluation mode.
        tokenizer: the model's.
        max_length: most tokens that the model reads at once; longer contexts lose their beginning.
        progress: called with the fraction of a task's requests that are done.

    Attributes:
        truncated: how many contexts lost their beginning so far.
    """

    def __init__(
        self,
        model: TokenModel,
        tokenizer: Tokenizer,
        max_length: int,
        progress: Callable[[float], object] = lambda fraction: None,
    ) -> None:
        super().__init__()
        self.model, self.run_tokenizer = model, tokenizer
        self.max_length, self.progress = max_length, progress
        self.truncated = 0

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token."""
        return self.run_tokenizer.end_of_text

    @property
    def prefix_token_id(self) -> int:
        """The token that begins every text: end-of-text, or that of an imported model."""
        return self.run_tokenizer.beginning_of_text

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **others: Any
    ) -> list[int]:
        """Return the ids of a text, after the token that begins it unless told otherwise."""
        ids = self.run_tokenizer.encode(string)
        return ids if add_special_tokens is False else [self.prefix_token_id, *ids]

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the ids of a context and of what follows it.

        The whole text is encoded, and what is longer than the context's own ids is the
        continuation. Where that leaves nothing, because the last token of the context took in the
        continuation, it is encoded by itself.
        """
        before, after = super()._encode_pair(context, continuation)
        return before, after or self.tok_encode(continuation, add_special_tokens=False)

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Return the log probability of each continuation, and whether it is the likeliest."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[float]:
        """Return the log probability of whole texts, read in windows of the largest length."""
        windows: list[Encoded] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            tokens = self.tok_encode(request.args[0], add_special_tokens=False)
            for pair in get_rolling_token_windows(
                tokens, self.prefix_token_id, max_seq_len=self.max_length, context_len=1
            ):
                windows.append((None, *make_disjoint_window(pair)))
                owners.append(number)
        totals = [0.0] * len(requests)
        scores = self._loglikelihood_tokens(windows)
        for owner, (log_probability, _) in zip(owners, scores, strict=True):
            totals[owner] += log_probability
        return totals

    @torch.no_grad()
    def _loglikelihood_tokens(
        self, requests: Sequence[Encoded], disable_tqdm: bool = True, **others: Any
    ) -> list[tuple[float, bool]]:
        """Return the log probability of continuations, and whether each is the likeliest."""
        self._check_lengths(requests)
        rows = [self._row([*context, *continuation]) for _, context, continuation in requests]
        results: dict[int, tuple[float, bool]] = {}
        device = next(self.model.parameters()).device
        with evaluating(self.model):
            for numbers in self._batches([len(row) for row in rows]):
                tokens = torch.tensor([rows[i] for i in numbers], device=device)
                log_probabilities, likeliest = self._scores(tokens)
                for line, number in enumerate(numbers):
                    scored = slice(len(rows[number]) - 1 - len(requests[number][2]), None)
                    results[number] = (
                        float(log_probabilities[line, scored].double().sum()),
                        bool(likeliest[line, scored].all()),
                    )
                self.progress(len(results) / len(rows))
        return [results[number] for number in range(len(rows))]

    def _check_lengths(self, requests: Sequence[Encoded]) -> None:
        """Check that every continuation alone fits.

        Raises:
            BadInput: one does not; the message names the longest.
        """
        longest = max((len(continuation) for _, _, continuation in requests), default=0)
        if longest > self.max_length:
            raise BadInput(
                f"a continuation of {longest:,} tokens is longer than the {self.max_length:,} "
                f"that the model reads at once: set --length {longest}",
                code="interop.continuation-too-long",
            )

    def _row(self, tokens: list[int]) -> list[int]:
        """Return the last tokens of a context and its continuation, the last never an input."""
        self.truncated += len(tokens) > self.max_length + 1
        return tokens[-(self.max_length + 1) :]

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield the numbers of requests of equal length, the longest first."""
        most = min(TOKENS_PER_BATCH, LOGITS_PER_BATCH // self.model.config.vocabulary_size)
        by_length: dict[int, list[int]] = {}
        for number, length in enumerate(lengths):
            by_length.setdefault(length, []).append(number)
        for length, numbers in sorted(by_length.items(), reverse=True):
            size = max(1, most // length)
            for first in range(0, len(numbers), size):
                yield numbers[first : first + size]

    def _scores(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return each next token's log probability, and whether it is the likeliest.

        Shapes: tokens (batch, time + 1) int64; log probabilities (batch, time) float32 and
        likeliest (batch, time) bool, on the CPU.
        """
        logits = self.model.logits(self.model.hidden(tokens[:, :-1])).float()
        targets = tokens[:, 1:, None]
        chosen = logits.log_softmax(-1).gather(-1, targets)
        return chosen[..., 0].cpu(), (logits.argmax(-1, keepdim=True) == targets)[..., 0].cpu()

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Return what the model writes after each context, up to a stop sequence."""
        texts = []
        for number, request in enumerate(requests):
            context, settings = request.args
            texts.append(self._continued(context, settings))
            self.progress((number + 1) / len(requests))
        return texts

    def _continued(self, context: str, settings: dict[str, Any]) -> str:
        values: dict[str, Any] = dict(normalize_gen_kwargs(settings, GENERATED))
        stops = handle_stop_sequences(values.pop("until", None), eos=None)
        sampling = _sampling(values)
        room = self.max_length - sampling.max_tokens
        if room < 1:
            raise BadInput(
                f"the task generates up to {sampling.max_tokens:,} tokens, and the model reads "
                f"{self.max_length:,} at once, the context included: set --length "
                f"{2 * sampling.max_tokens} or more",
                code="interop.no-room-to-generate",
            )
        prompt = self.tok_encode(context)
        self.truncated += len(prompt) > room
        written: list[int] = []
        text = ""
        for token in generate(self.model, prompt[-room:], sampling, stop=self.eot_token_id):
            if token in self.run_tokenizer.ends_of_text:
                break
            written.append(token)
            text = self.run_tokenizer.decode(written)
            if any(stop in text for stop in stops if stop):
                break
        for stop in stops:
            text = text.split(stop)[0] if stop else text
        return text


def _sampling(values: dict[str, Any]) -> Sampling:
    """Return how to choose tokens, from the harness' settings.

    Raises:
        BadInput: one of them is unknown.
    """
    sampled = values.pop("do_sample", False)
    known = {
        "temperature": values.pop("temperature", 1.0) if sampled else 0.0,
        "max_tokens": values.pop("max_gen_toks"),
    }
    values.pop("temperature", None)
    for name, default in (("top_k", 0), ("top_p", 1.0), ("min_p", 0.0)):
        known[name] = values.pop(name, default)
    known["repetition_penalty"] = values.pop("repetition_penalty", 1.0)
    if values:
        raise BadInput(
            f"the task generates with {next(iter(values))}, which wordorder does not have: remove "
            "it from generation_kwargs",
            code="interop.unknown-generation-setting",
        )
    return Sampling(**known)
