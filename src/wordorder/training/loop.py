"""The training loop: read a batch, find the gradient, move the weights, keep a record.

Everything random is a function of (seed, step): the batch, the masks, dropout, the
positions that are fed. So a checkpoint is the weights, the optimizer and the number of
steps done, and a run that was killed goes on to the bit.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordorder.errors import Failed
from wordorder.evaluation.loss import evaluate
from wordorder.model import LanguageModel, TokenModel
from wordorder.model.decoding import Sampling, generate
from wordorder.positions.base import overrides
from wordorder.text.store import beginning
from wordorder.training import checkpoints
from wordorder.training.config import TrainConfig
from wordorder.training.display import Display
from wordorder.training.machine import DTYPES, Machine
from wordorder.training.material import Material
from wordorder.training.metrics import Metrics
from wordorder.training.optimizers import Optimizer
from wordorder.training.plan import tokens_per_step
from wordorder.training.schedules import learning_rate_factor

SECONDS_BETWEEN_CHECKPOINTS = 30.0
VALIDATIONS = 10  # over a run
# A validation while training reads as much as four steps, which takes as long as one or two.
VALIDATION_STEPS, LEAST_VALIDATION_TOKENS = 4, 8192
FINAL_VALIDATION_TOKENS = 1 << 18
SAMPLE_TOKENS = 48


class Training:
    """One run: its model, its optimizer, its data, and how many steps are done.

    Args:
        losses: the model's `token_losses`, compiled or not.
        steps: how many steps the run takes in all, which the schedule needs to know.
    """

    def __init__(
        self,
        config: TrainConfig,
        machine: Machine,
        material: Material,
        model: TokenModel,
        losses: Callable[..., Tensor],
        steps: int,
    ) -> None:
        self.config, self.machine, self.material = config, machine, material
        self.model, self.losses, self.steps = model, losses, steps
        self.done = 0
        self.batches = material.batches(config)
        self.optimizer = Optimizer(
            model,
            muon_dtype=DTYPES[machine.muon_dtype],
            use_muon=config.muon,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.parameters = list(model.parameters())
        self.warmup = math.ceil(config.warmup * steps)

    def step(self) -> dict[str, Any]:
        """Take one optimizer step and return its record.

        Raises:
            Failed: a loss or a gradient that is not finite; the weights are as before.
        """
        config, index = self.config, self.done
        factor = learning_rate_factor(
            index, self.steps, schedule=config.schedule, warmup=self.warmup, decay=config.decay
        )
        rate, matrix_rate = factor * config.learning_rate, factor * config.matrix_learning_rate
        loss, norm = self.gradient(index)
        if not math.isfinite(loss) or not math.isfinite(norm):
            what = f"loss {loss}" if not math.isfinite(loss) else f"gradient {norm}"
            raise Failed(
                f"{what} at step {index + 1}, learning rate {rate:.3g} and {matrix_rate:.3g} "
                f"for matrices: try --learning-rate {config.learning_rate / 3:.1g} "
                f"--matrix-learning-rate {config.matrix_learning_rate / 3:.1g}"
            )
        self.optimizer.step(matrix_rate=matrix_rate, rate=rate)
        self.done += 1
        return {
            "step": self.done,
            "tokens": self.done * tokens_per_step(config),
            "loss": loss,
            "bits_per_byte": loss / math.log(2) * self.tokens_per_byte,
            "gradient_norm": norm,
            "learning_rate": rate,
        }

    @property
    def tokens_per_byte(self) -> float:
        return len(self.material.training) / self.material.training.bytes

    def gradient(self, index: int) -> tuple[float, float]:
        """Leave a step's gradient in the weights; return the loss and the norm before clipping.

        Batches are weighted by their tokens that count, so that two of 8 sequences give
        what one of 16 gives.
        """
        config, device = self.config, self.parameters[0].device
        torch.manual_seed(_mixed(config.seed, index))
        self.model.train()
        self.optimizer.zero_gradients()
        numbers = range(index * config.accumulate, (index + 1) * config.accumulate)
        batches = [self.batches.at(number) for number in numbers]
        counted = max(1, sum(int((batch.targets >= 0).sum()) for batch in batches))
        total = torch.zeros((), device=device)
        for number, batch in zip(numbers, batches, strict=True):
            tokens, targets, documents, positions = batch.to(device)
            fed = self.place(positions, tokens, number)
            losses = self.losses(
                tokens, targets, positions=fed, documents=documents, consecutive=fed is positions
            )
            loss = losses.sum() / counted
            loss.backward()
            total += loss.detach()
        clip = config.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip, foreach=True)
        return float(total), float(norm)

    def place(self, positions: Tensor | None, tokens: Tensor, number: int) -> Tensor | None:
        """Return the positions that are fed: as they are, unless an embedding places them anew."""
        position = self.model.position if isinstance(self.model, LanguageModel) else None
        if position is None or not any(overrides(p, "place") for p in position.instances):
            return positions
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        generator = torch.Generator().manual_seed(_mixed(self.config.seed, number))
        return position.place(positions, generator)

    def validate(self, most_tokens: int) -> dict[str, Any]:
        """Return the loss on the first tokens of the validation text, as a record."""
        material = self.material
        store = beginning(material.validation, most_tokens, material.tokenizer)
        loss = evaluate(
            self.model,
            store,
            context_length=self.config.model.trained_length,
            isolate_documents=self.config.isolate_documents,
            objective=self.config.objective,
            mask_id=material.tokenizer.mask,
        )
        return {
            "step": self.done,
            "validation_loss": loss.loss_nats,
            "validation_standard_error": loss.standard_error,
            "validation_degrees_of_freedom": loss.degrees_of_freedom,
            "validation_bits_per_byte": loss.bits_per_byte,
            "validation_tokens": loss.tokens,
        }

    def sample(self) -> dict[str, Any] | None:
        """Return a short text by the model as it is, as a record; None: it can write none."""
        tokenizer, prompt = self.material.tokenizer, self.config.sample_prompt
        start = [tokenizer.end_of_text, *tokenizer.encode(prompt)]
        room = self.model.room(len(start))
        tokens = SAMPLE_TOKENS if room is None else min(room, SAMPLE_TOKENS)
        if not tokens or not self.config.model.causal:
            return None
        sampling = Sampling(max_tokens=tokens, seed=self.config.seed)
        written = generate(self.model, start, sampling, stop=tokenizer.end_of_text)
        return {"step": self.done, "sample": prompt + tokenizer.decode(list(written))}

    def save(self, folder: Path) -> None:
        """Write a checkpoint to go on from, and the weights that the other commands read.

        Raises:
            Failed: where it cannot be written; the checkpoint before is still there.
        """
        weights = self.model.state_dict()
        tensors = {f"model.{name}": tensor for name, tensor in weights.items()}
        tensors |= {f"optimizer.{n}": tensor for n, tensor in self.optimizer.state().items()}
        try:
            extra = {"model": self.model.config.to_dict()}
            checkpoints.save(folder / "training", self.done, tensors, extra)
            checkpoints.save_weights(folder / "model.safetensors", weights)
        except (OSError, RuntimeError) as error:  # safetensors raises its own on a full disk
            raise Failed(
                f"step {self.done} cannot be saved in {folder}: {error}; the checkpoint before is "
                f"whole: make room, then wordorder train --resume {folder}"
            ) from None

    def load(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take the weights and the optimizer's state of a checkpoint that fits the model."""
        own = self.model.state_dict()
        self.model.load_state_dict({name: checkpoint.tensors[f"model.{name}"] for name in own})
        prefix = "optimizer."
        self.optimizer.load_state(
            {n.removeprefix(prefix): t for n, t in checkpoint.tensors.items() if prefix in n[:10]}
        )
        self.done = checkpoint.step


def run(training: Training, folder: Path, show: Display, seconds_before: float = 0.0) -> None:
    """Train from where the training stands to its last step.

    Args:
        folder: the run folder, with its configuration and tokenizer in place.
        seconds_before: what earlier parts of a resumed run took.

    Raises:
        Failed: a loss that is not finite, or a checkpoint that cannot be written.
        KeyboardInterrupt: after Ctrl-C, when the step is done and saved.
    """
    metrics = Metrics(folder, tensorboard=training.config.tensorboard)
    clock = _Clock(training, seconds_before)
    try:
        with torch.random.fork_rng(), _interruption(show) as interrupted:
            if training.done == 0:
                training.save(folder)
            clock.step_begins()
            while training.done < training.steps:
                _one_step(training, folder, show, metrics, clock)
                if interrupted.is_set():
                    _save(training, folder, metrics, clock)
                    raise KeyboardInterrupt
            _save(training, folder, metrics, clock)
            final = {**training.validate(FINAL_VALIDATION_TOKENS), "final": True}
            metrics.add({**final, "seconds": clock.seconds()})
            show.validated(final)
    finally:
        metrics.flush()


def _one_step(
    training: Training, folder: Path, show: Display, metrics: Metrics, clock: _Clock
) -> None:
    record = {**training.step(), **clock.timing()}
    metrics.add(record)
    show.step(record, clock.seconds_left())
    config = training.config
    every = config.evaluate_every or max(1, training.steps // VALIDATIONS)
    if training.done % every == 0 and training.done < training.steps:
        validation = training.validate(validation_tokens(config))
        metrics.add(validation)
        show.validated(validation)
        sample = training.sample()
        if sample is not None:
            metrics.add(sample)
            show.sample(sample)
    if clock.checkpoint_is_due():
        _save(training, folder, metrics, clock)
    clock.step_begins()


def validation_tokens(config: TrainConfig) -> int:
    """Return how many tokens a validation while training reads at most."""
    return max(LEAST_VALIDATION_TOKENS, VALIDATION_STEPS * tokens_per_step(config))


def _save(training: Training, folder: Path, metrics: Metrics, clock: _Clock) -> None:
    metrics.flush()
    training.save(folder)
    clock.saved = time.perf_counter()


class _Clock:
    """How long a run has taken, how long it will, and when it was last saved."""

    def __init__(self, training: Training, before: float) -> None:
        self.training, self.before = training, before
        self.start = self.saved = self.last = time.perf_counter()
        self.first = training.done

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.start

    def step_begins(self) -> None:
        """Count from now: what was done since the last step was no step."""
        self.last = time.perf_counter()

    def timing(self) -> dict[str, float]:
        """Return the timing fields of a step that is just done."""
        took = time.perf_counter() - self.last
        rate = tokens_per_step(self.training.config) / took
        return {"seconds": round(self.seconds(), 3), "tokens_per_second": round(rate, 1)}

    def seconds_left(self) -> float:
        done = self.training.done - self.first
        share = (self.training.steps - self.training.done) / done
        return share * (time.perf_counter() - self.start)

    def checkpoint_is_due(self) -> bool:
        every = self.training.config.checkpoint_every
        if every:
            return self.training.done % every == 0
        return time.perf_counter() - self.saved > SECONDS_BETWEEN_CHECKPOINTS


@contextmanager
def _interruption(show: Display) -> Iterator[threading.Event]:
    """Ctrl-C once sets the event, so that the step is finished and saved; twice stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()
        show.say("Ctrl-C: finishing this step and saving (again: stop at once)")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _mixed(seed: int, number: int) -> int:
    """Return one seed for a pair of them."""
    return (seed * 0x9E3779B97F4A7C15 + number) % (1 << 63)
