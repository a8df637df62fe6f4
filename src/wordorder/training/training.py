"""The state of one run: its model, its optimizer, its data, and the number of steps done.

Everything random is a function of (seed, step): batches, masks, dropout and sampled positions. So a
checkpoint consists of the weights, the optimizer, the best weights and the number of steps; with
the recorded decisions (`decisions.py`) a killed run resumes bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wordorder.batch import WHOLE, Batch, RowShare
from wordorder.errors import Failed
from wordorder.model import TokenModel
from wordorder.model.decoding import Sampling
from wordorder.training import checkpoints
from wordorder.training.average import PREFIX, AveragedWeights
from wordorder.training.best import BestWeights
from wordorder.training.compute import DTYPES, Compute
from wordorder.training.config import TrainConfig
from wordorder.training.metrics import expert_loads
from wordorder.training.optimizers import Optimizer
from wordorder.training.parts import RankParts
from wordorder.training.ranks import ALONE, Ranks, explained
from wordorder.training.schedules import learning_rate_factor, momentum_at, open_ended_factor
from wordorder.training.text_generation import generate_text, sample_prompt
from wordorder.training.tokenized_text import bits_per_byte
from wordorder.training.training_data import TrainingData
from wordorder.training.validation import steps_between_validations, validation_record

SAMPLE_TOKENS = 48


class Training:
    """The state of one run, and its training step.

    Args:
        config: the configuration.
        compute: device, dtype, attention kernel and threads.
        training_data: the texts as tokens, and their tokenizer.
        model: the model with its initial weights.
        steps: total number of steps, for the schedule.
        open_ended: `steps` is an estimate, and the run continues until `end_at` starts the decay
            and sets the end.
        forward: the model as training calls it, for example compiled; None: `model`.
        ranks: the processes that train this model.
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
        ranks: Ranks = ALONE,
    ) -> None:
        self.config, self.compute, self.training_data = config, compute, training_data
        self.model, self.steps = model, steps
        self.forward = model if forward is None else forward
        self.ranks = ranks
        model.share_rows(ranks.rows)
        model.set_recompute(config.recompute)
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
        self.is_split, self.collected = False, 0
        self.warmup = math.ceil(config.warmup * steps)
        self.evaluate_every = config.evaluate_every or steps_between_validations(config, steps)
        # Tasks have no development text, and never call `validate`.
        development = getattr(training_data, "development", None)
        chooses = config.keep == "best" and development is not None
        self.best = BestWeights() if chooses else None
        self.average: AveragedWeights | None = None
        if config.average != "none":
            self.average = AveragedWeights(config.average, model.state_dict())

    @property
    def is_over(self) -> bool:
        """Whether every step is done."""
        return self.done >= self.steps and (not self.open_ended or bool(self.ends))

    def end_at(self, steps: int, begin: int | None = None) -> None:
        """Let the learning rate fall to zero at this total number of steps.

        Args:
            begin: the step at which it starts to fall; None: now.
        """
        begin = self.done if begin is None else begin
        self.ranks.send({"do": "end at", "steps": steps, "begin": begin})
        self.ends.append((begin, steps))
        self.steps = steps

    def rate_factor(self, index: int) -> float:
        """Return the factor of the peak learning rates at a step."""
        if self.open_ended:
            return open_ended_factor(index, self.ends, self.warmup)
        config = self.config
        return learning_rate_factor(
            index, self.steps, schedule=config.schedule, warmup=self.warmup, decay=config.decay
        )

    def step(self) -> dict[str, Any]:
        """Take one optimizer step and return its record.

        Raises:
            Failed: the loss or the gradient is not finite; the weights are unchanged.
        """
        config, index = self.config, self.done
        self.ranks.announce_step()
        factor = self.rate_factor(index)
        rate, matrix_rate = factor * config.learning_rate, factor * config.matrix_learning_rate
        loss, norm = self.gradient(index)
        if not math.isfinite(loss) or not math.isfinite(norm):
            quantity = f"loss is {loss}" if not math.isfinite(loss) else f"gradient norm is {norm}"
            raise Failed(
                f"the {quantity} at step {index + 1}, with learning rate {rate:.3g} and "
                f"{matrix_rate:.3g} for matrices: try --learning-rate "
                f"{lower_rate(config, 'learning_rate'):.1g} --matrix-learning-rate "
                f"{lower_rate(config, 'matrix_learning_rate'):.1g}",
                code="training.not-finite",
            )
        momentum = momentum_at(index, config.momentum)
        with self.ranks.exchanging():
            self.optimizer.step(matrix_rate=matrix_rate, rate=rate, momentum=momentum)
        shares = self.model.balance_experts()
        self.done += 1
        if self.average is not None:
            is_known = not self.open_ended or bool(self.ends)
            self.average.update(self.done, self.steps if is_known else None)
        bits = None  # predictions of masked tokens are no code for the text
        if config.objective == "next-token":
            bits = bits_per_byte(self.training_data, loss)
        return {
            "step": self.done,
            "tokens": self.done * config.tokens_per_step,
            "loss": loss,
            "bits_per_byte": bits,
            "gradient_norm": norm,
            "learning_rate": rate,
            **expert_loads(shares),
        }

    def gradient(self, index: int) -> tuple[float, float]:
        """Compute a step's clipped gradient; return the loss and the norm before clipping.

        Batches are weighted by their number of targets, so that two batches of 8 sequences give
        the gradient of one of 16.
        """
        config, device = self.config, self.parameters[0].device
        torch.manual_seed(_mixed(config.seed, index))
        self.model.train()
        self.optimizer.zero_gradients()
        self.model.take_loads()  # discard the loads counted while timing steps
        numbers = range(index * config.accumulate, (index + 1) * config.accumulate)
        read = self._rows_read()
        drawn = [self._drawn(number, read) for number in numbers]
        counted = max(1, sum(targets for _, targets in drawn))
        total = torch.zeros((), device=device)
        for number, (batch, _) in zip(numbers, drawn, strict=True):
            rows = self.with_sampled_positions(batch.to(device), number, read)
            rows = rows if read.count > 1 else self.ranks.rows.of(rows)
            with self.ranks.last_of_step(self.forward, number == numbers[-1]), explained():
                loss = self.forward(rows).sum() / counted
                # DDP and FSDP average gradients over ranks, but the ranks' losses must be summed.
                (loss * self.ranks.count).backward()
            total += loss.detach()
        total = self.ranks.summed(total)
        clip = config.clip or math.inf
        if self.is_split:
            from wordorder.training.sharding import clip_gradients

            with explained():
                norm = clip_gradients(self.parameters, clip, self.ranks.count)
        else:
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip, foreach=True)
        return float(total), float(norm)

    def _rows_read(self) -> RowShare:
        """Return which rows of a batch are read: those of this process, or all."""
        rows = self.ranks.rows
        # Positions may be sampled from those of all rows, which differ in packed documents.
        if rows.count > 1 and self.model.samples_positions and self.batches.isolate_documents:
            return WHOLE
        return rows

    def _drawn(self, number: int, read: RowShare) -> tuple[Batch, int]:
        """Return some rows of a batch, and the number of targets in all its rows."""
        if read.count > 1:
            return self.batches.share(number, read)
        batch = self.batches.at(number)
        assert batch.targets is not None
        return batch, int((batch.targets >= 0).sum())

    def split(self) -> None:
        """Split the weights, gradients and optimizer state over the ranks from now on.

        `model` stays whole: `collect` copies the trained weights into it.
        """
        from wordorder.training.sharding import SplitAverage, SplitOptimizer, split

        trained = split(self.model, self.config, self.compute)
        optimizer = SplitOptimizer(self.model, trained, self.config, self.compute)
        optimizer.load_state(self.optimizer.state())
        self.optimizer, self.forward, self.is_split = optimizer, trained, True
        self.parameters = list(trained.parameters())
        if self.average is not None:
            self.average = SplitAverage(self.average, trained)
        self.collected = self.done

    def collect(self, *, optimizer: bool = False) -> dict[str, Tensor]:
        """Copy split weights into `model`, and return the whole state of the optimizer if asked.

        All ranks do this together; a model that is not split is whole already.
        """
        if not self.is_split:
            return self.optimizer.state() if optimizer else {}
        from wordorder.training.sharding import collect

        if optimizer or self.collected != self.done:
            self.ranks.send({"do": "collect", "optimizer": optimizer})
            with explained():
                collect(self.forward, self.model)
                self.collected = self.done
                return self.optimizer.state() if optimizer else {}
        return {}

    def averaged(self) -> dict[str, Tensor]:
        """Return the averaged weights by name; {} without an average.

        All ranks do this together if the weights are split.
        """
        if self.average is None or not self.average.count:
            return {}
        if self.is_split:
            self.ranks.send({"do": "average"})
        with explained():
            return self.average.tensors()

    def with_sampled_positions(self, batch: Batch, number: int, rows: RowShare = WHOLE) -> Batch:
        """Return a batch with the positions that the embedding samples for it in training.

        Args:
            rows: which rows of the batch these are.
        """
        generator = torch.Generator().manual_seed(_mixed(self.config.seed, number))
        return self.model.sample_positions(batch, generator, rows)

    def validate(self, most_tokens: int, *, final: bool = False) -> dict[str, Any]:
        """Return the loss on the beginning of a held-out text, as a record.

        Args:
            most_tokens: evaluate at most this many tokens.
            final: use the validation text, for the reported loss; otherwise the development text,
                if there is one.
        """
        self.collect()
        record = validation_record(
            self.model, self.config, self.training_data, most_tokens, final=final
        )
        return {"step": self.done, **record}

    def forward_and_backward(self) -> None:
        """Compute a gradient of the next batch and discard it, for timing."""
        batch = self.batches.at(self.done * self.config.accumulate)
        self.model.train()
        with torch.random.fork_rng():
            # Not the compiled model, which would compile again for another number of threads.
            self.model(batch.to(self.parameters[0].device)).mean().backward()
        self.optimizer.zero_gradients()

    def sample(self) -> dict[str, Any] | None:
        """Return a short generated text as a record; None if the model cannot generate."""
        if self.config.objective != "next-token":
            return None
        self.collect()
        prompt = sample_prompt(self.config.sample_prompt, self.training_data)
        room = self.model.room(len(prompt.tokens))
        tokens = SAMPLE_TOKENS if room is None else min(room, SAMPLE_TOKENS)
        if not tokens:
            return None
        sampling = Sampling(max_tokens=tokens, seed=self.config.seed)
        written = "".join(generate_text(self.model, prompt, sampling))
        return {"step": self.done, "sample": prompt.text + written}

    def save(self, folder: Path, decisions: Sequence[dict[str, Any]] = ()) -> None:
        """Write a checkpoint for resuming, and the weights for other commands.

        Args:
            decisions: the decisions made so far.

        Raises:
            Failed: a weight is not finite; the previous checkpoint remains.
            OSError: a file cannot be written; the previous checkpoint remains.
        """
        self.write(folder, self.snapshot(folder, decisions))

    def write(self, folder: Path, snapshot: checkpoints.UnwrittenCheckpoint) -> None:
        """Write a snapshot of this run; see `save`."""
        snapshot.write(folder)
        self.saved = snapshot.step

    def parts(self, folder: Path) -> RankParts | None:
        """Return this rank's part of the optimizer and average of a split model.

        All ranks do this together. None if not all of them see the folder.
        """
        from wordorder.training.sharding import SplitAverage, SplitOptimizer, parts_of

        assert isinstance(self.optimizer, SplitOptimizer)
        assert isinstance(self.average, SplitAverage | None)
        self.ranks.send({"do": "parts", "folder": str(folder)})
        return parts_of(self.optimizer, self.average, folder, self.ranks)

    def snapshot(
        self, folder: Path, decisions: Sequence[dict[str, Any]] = (), *, copied: bool = False
    ) -> checkpoints.UnwrittenCheckpoint:
        """Return what `save` writes.

        Args:
            copied: copy the tensors that the next step changes.

        Raises:
            Failed: a weight is not finite.
            OSError: a split model has no folder for its parts.
        """
        self.collect()
        weights, best = self.model.state_dict(), self.best
        if name := checkpoints.not_finite(weights):
            raise Failed(
                f"the weight {name} is not finite after step {self.done} and is not saved: try a "
                "lower --learning-rate and --matrix-learning-rate, or --dtype float32",
                code="training.weights-not-finite",
            )
        prefix = checkpoints.MODEL_PREFIX
        tensors = {f"{prefix}{name}": tensor for name, tensor in weights.items()}
        parts, into = None, checkpoints.folder_for_parts(folder) if self.is_split else None
        if into is not None and (parts := self.parts(into)) is None:
            into.rmdir()
        if parts is None:  # everything is in one file
            tensors |= {f"optimizer.{n}": t for n, t in self.collect(optimizer=True).items()}
        extra: dict[str, Any] = {
            "model": self.model.config.to_dict(),
            "decisions": list(decisions),
            "best": best.facts() if best else {},
        }
        if self.average is not None:
            if parts is None:
                tensors |= {f"{PREFIX}{name}": tensor for name, tensor in self.averaged().items()}
            extra["average"] = self.average.count
        if copied:
            tensors = {n: tensor.detach().to("cpu", copy=True) for n, tensor in tensors.items()}
        last = {name: tensors[f"{prefix}{name}"] for name in weights}
        tensors |= best.tensors() if best else {}  # which no step changes
        chosen = (best.weights if best else None) or last
        return checkpoints.UnwrittenCheckpoint(self.done, tensors, extra, chosen, parts)

    def load(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Restore the weights and the optimizer from a checkpoint of the same model."""
        tensors, names = checkpoint.tensors, self.model.state_dict()
        self.model.load_state_dict(
            {name: tensors[f"{checkpoints.MODEL_PREFIX}{name}"] for name in names}
        )
        prefix = "optimizer."
        state = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        self.optimizer.load_state(state)
        if self.average is not None:
            self.average.load(checkpoint.extra.get("average", 0), tensors)
        if self.best is not None:
            device = self.parameters[0].device
            self.best.load(checkpoint.extra.get("best", {}), tensors, device)
        self.done = self.saved = checkpoint.step


def lower_rate(config: TrainConfig, name: str) -> float:
    """Return a learning rate to suggest after divergence: a third, at most the default."""
    return min(getattr(config, name) / 3, getattr(TrainConfig, name))


def _mixed(seed: int, number: int) -> int:
    """Return one seed for a pair of a seed and a number."""
    return (seed * 0x9E3779B97F4A7C15 + number) % (1 << 63)
