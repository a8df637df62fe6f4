"""One run: its model, its optimizer, its data, and how many steps are done.

Everything random is a function of (seed, step): the batch, the masks, dropout, the
positions that are fed. So a checkpoint is the weights, the optimizer, the best weights so
far and the number of steps done; with the recorded decisions (`decisions.py`) a run that was
killed goes on to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import Failed
from wordorder.evaluation.loss import evaluate
from wordorder.model import TokenModel
from wordorder.model.decoding import Sampling
from wordorder.text.prompt import Prompt
from wordorder.text.store import beginning
from wordorder.training import checkpoints
from wordorder.training.best import BestWeights
from wordorder.training.compute import DTYPES, Compute
from wordorder.training.config import TrainConfig
from wordorder.training.optimizers import Optimizer
from wordorder.training.plan import tokens_per_step
from wordorder.training.schedules import learning_rate_factor, momentum_at, open_ended_factor
from wordorder.training.text_generation import generate_text
from wordorder.training.training_data import TrainingData

# Over a run: twenty where they take at most this share of its time, never fewer than ten.
VALIDATIONS, FEWEST_VALIDATIONS, SHARE_OF_TIME = 20, 10, 0.06
# A validation while training reads as much as four steps, which takes as long as one or two.
VALIDATION_STEPS, LEAST_VALIDATION_TOKENS = 4, 8192
SAMPLE_TOKENS = 48


class Training:
    """One run: its model, its optimizer, its data, and how many steps are done.

    Args:
        steps: how many steps the run takes in all, which the schedule needs to know.
        open_ended: `steps` is an estimate, and `end_at` says when the rate falls and to which
            end; until then the run goes on.
        forward: the model as training calls it: wrapped, as by a compiler; None: as it is.
    """

    def __init__(
        self,
        config: TrainConfig,
        compute: Compute,
        training_data: TrainingData,
        model: TokenModel,
        steps: int,
        open_ended: bool = False,
        forward: nn.Module | None = None,
    ) -> None:
        self.config, self.compute, self.training_data = config, compute, training_data
        self.model, self.steps = model, steps
        self.forward = model if forward is None else forward
        self.open_ended = open_ended
        self.ends: list[tuple[int, int]] = []
        self.done = self.saved = 0
        self.batches = training_data.batches(config)
        self.optimizer = Optimizer(
            model,
            muon_dtype=DTYPES[compute.muon_dtype],
            use_muon=config.muon,
            weight_decay=config.weight_decay,
            embedding_rate=config.embedding_rate,
        )
        self.parameters = list(model.parameters())
        self.warmup = math.ceil(config.warmup * steps)
        self.evaluate_every = config.evaluate_every or steps_between_validations(config, steps)
        development = getattr(training_data, "development", None)  # tasks have none
        chooses = config.keep == "best" and development is not None
        self.best = BestWeights() if chooses else None

    @property
    def is_over(self) -> bool:
        """Whether every step is done."""
        return self.done >= self.steps and (not self.open_ended or bool(self.ends))

    def end_at(self, steps: int, begin: int | None = None) -> None:
        """Let the rate fall to zero at this many steps in all.

        Args:
            begin: the step from which it falls; None: from here.
        """
        self.ends.append((self.done if begin is None else begin, steps))
        self.steps = steps

    def rate_factor(self, index: int) -> float:
        """Return what the peak rates are multiplied by at a step."""
        if self.open_ended:
            return open_ended_factor(index, self.ends, self.warmup)
        config = self.config
        return learning_rate_factor(
            index, self.steps, schedule=config.schedule, warmup=self.warmup, decay=config.decay
        )

    def step(self) -> dict[str, Any]:
        """Take one optimizer step and return its record.

        Raises:
            Failed: a loss or a gradient that is not finite; the weights are as before.
        """
        config, index = self.config, self.done
        factor = self.rate_factor(index)
        rate, matrix_rate = factor * config.learning_rate, factor * config.matrix_learning_rate
        loss, norm = self.gradient(index)
        if not math.isfinite(loss) or not math.isfinite(norm):
            what = f"loss {loss}" if not math.isfinite(loss) else f"gradient {norm}"
            raise Failed(
                f"{what} at step {index + 1}, learning rate {rate:.3g} and {matrix_rate:.3g} "
                f"for matrices: try --learning-rate {lower_rate(config, 'learning_rate'):.1g} "
                f"--matrix-learning-rate {lower_rate(config, 'matrix_learning_rate'):.1g}"
            )
        momentum = momentum_at(index, config.momentum)
        self.optimizer.step(matrix_rate=matrix_rate, rate=rate, momentum=momentum)
        self.done += 1
        return {
            "step": self.done,
            "tokens": self.done * tokens_per_step(config),
            "loss": loss,
            "bits_per_byte": self.bits_per_byte(loss),
            "gradient_norm": norm,
            "learning_rate": rate,
        }

    def bits_per_byte(self, loss: float) -> float | None:
        """Return a loss on the training text in bits per byte, where its tokens spell all of it."""
        text = self.training_data.training
        return loss / math.log(2) * len(text) / text.bytes if text.lossless else None

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
            fed = self.with_sampled_positions(batch.to(device), number)
            loss = self.forward(fed).sum() / counted
            loss.backward()
            total += loss.detach()
        clip = config.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip, foreach=True)
        return float(total), float(norm)

    def with_sampled_positions(self, batch: Batch, number: int) -> Batch:
        """Return a batch at the positions that training feeds in the batch of this number."""
        generator = torch.Generator().manual_seed(_mixed(self.config.seed, number))
        return self.model.sample_positions(batch, generator)

    def validate(self, most_tokens: int, *, final: bool = False) -> dict[str, Any]:
        """Return the loss on the beginning of a held-out text, as a record.

        Args:
            final: read the validation text, which is reported and so may choose nothing;
                otherwise the development text, where there is one.
        """
        training_data = self.training_data
        reported = final or training_data.development is None
        text = training_data.validation if reported else training_data.development
        store = beginning(text, most_tokens, training_data.tokenizer)
        loss = evaluate(
            self.model,
            store,
            context_length=self.config.model.trained_length,
            isolate_documents=self.config.isolate_documents,
            objective=self.config.objective,
            mask_id=training_data.tokenizer.mask,
        )
        return {
            "step": self.done,
            "text": "validation" if reported else "development",
            "validation_loss": loss.loss_nats,
            "validation_standard_error": loss.standard_error,
            "validation_degrees_of_freedom": loss.degrees_of_freedom,
            "validation_bits_per_byte": loss.bits_per_byte,
            "validation_tokens": loss.tokens,
        }

    def forward_and_backward(self) -> None:
        """Compute a gradient of the next batch and drop it; nothing else changes."""
        batch = self.batches.at(self.done * self.config.accumulate)
        self.model.train()
        with torch.random.fork_rng():
            # Not the compiled model: with another number of threads it is compiled anew.
            self.model(batch.to(self.parameters[0].device)).mean().backward()
        self.optimizer.zero_gradients()

    def sample(self) -> dict[str, Any] | None:
        """Return a short text by the model as it is, as a record; None: it can write none."""
        if self.config.objective != "next-token":
            return None
        prompt = Prompt(self.config.sample_prompt, self.training_data.tokenizer)
        room = self.model.room(len(prompt.tokens))
        tokens = SAMPLE_TOKENS if room is None else min(room, SAMPLE_TOKENS)
        if not tokens:
            return None
        sampling = Sampling(max_tokens=tokens, seed=self.config.seed)
        written = "".join(generate_text(self.model, prompt, sampling))
        return {"step": self.done, "sample": prompt.text + written}

    def save(self, folder: Path, decisions: Sequence[dict[str, Any]] = ()) -> None:
        """Write a checkpoint to go on from, and the weights that the other commands read.

        Args:
            decisions: those that have been taken.

        Raises:
            Failed: weights that are not finite; the checkpoint before is still there.
            OSError: where it cannot be written; so is it then.
        """
        weights, best = self.model.state_dict(), self.best
        if name := not_finite(weights):
            raise Failed(
                f"{name} is not finite after step {self.done}, and is not saved: try a lower "
                "--learning-rate and --matrix-learning-rate, or --dtype float32"
            )
        tensors = {f"model.{name}": tensor for name, tensor in weights.items()}
        tensors |= {f"optimizer.{n}": tensor for n, tensor in self.optimizer.state().items()}
        tensors |= best.tensors() if best else {}
        extra = {
            "model": self.model.config.to_dict(),
            "decisions": list(decisions),
            "best": best.facts() if best else {},
        }
        kept = (best.weights if best else None) or weights
        checkpoints.save(folder / "training", self.done, tensors, extra)
        checkpoints.save_weights(folder / "model.safetensors", kept)
        self.saved = self.done

    def load(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take the weights and the optimizer's state of a checkpoint that fits the model."""
        tensors, own = checkpoint.tensors, self.model.state_dict()
        self.model.load_state_dict({name: tensors[f"model.{name}"] for name in own})
        prefix = "optimizer."
        self.optimizer.load_state(
            {n.removeprefix(prefix): t for n, t in tensors.items() if prefix in n[:10]}
        )
        if self.best is not None:
            device = self.parameters[0].device
            self.best.load(checkpoint.extra.get("best", {}), tensors, device)
        self.done = self.saved = checkpoint.step


def lower_rate(config: TrainConfig, name: str) -> float:
    """Return a rate to try where training diverged: a third, and no more than the default."""
    return min(getattr(config, name) / 3, getattr(TrainConfig, name))


def not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Return the name of a weight that is not finite; None: all are."""
    return next((name for name, w in weights.items() if not bool(w.isfinite().all())), None)


def steps_between_validations(config: TrainConfig, steps: int) -> int:
    """Return how many steps lie between validations, from the number of steps planned."""
    # A forward pass is a third of a step.
    cost = validation_tokens(config) / tokens_per_step(config) / 3
    cheap = math.ceil(cost / SHARE_OF_TIME)
    return max(1, steps // VALIDATIONS, min(steps // FEWEST_VALIDATIONS, cheap))


def validation_tokens(config: TrainConfig) -> int:
    """Return how many tokens a validation while training reads at most."""
    return max(LEAST_VALIDATION_TOKENS, VALIDATION_STEPS * tokens_per_step(config))


def _mixed(seed: int, number: int) -> int:
    """Return one seed for a pair of them."""
    return (seed * 0x9E3779B97F4A7C15 + number) % (1 << 63)
