"""The training loop: steps, with validations, samples and checkpoints between them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from wordorder import stopping
from wordorder.atomic import cannot_write
from wordorder.errors import Failed
from wordorder.folders import discard_replaced
from wordorder.training import checkpoints, word_checkpoints
from wordorder.training.average import holding
from wordorder.training.background import BackgroundWriter
from wordorder.training.display import Display
from wordorder.training.metrics import Metrics
from wordorder.training.run_controller import RunController
from wordorder.training.training import Training
from wordorder.training.validation import FEWEST_VALIDATIONS, validation_tokens

SECONDS_BETWEEN_CHECKPOINTS = 30.0
FINAL_VALIDATION_TOKENS = 1 << 18
REMEDY = "check its permissions"


def run(
    training: Training,
    folder: Path,
    show: Display,
    controller: RunController | None = None,
    seconds_before: float = 0.0,
) -> None:
    """Train from the current step to the last one.

    Args:
        folder: the run folder, which already has the configuration and the tokenizer.
        show: receives progress events.
        controller: decides the end of a timed run and the number of threads; None: both are fixed.
        seconds_before: training time before a resume.

    Raises:
        Failed: the loss is not finite, or a file cannot be written.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step is finished and saved.
    """
    metrics = Metrics(folder, tensorboard=training.config.tensorboard)
    controller = controller or RunController(folder)
    work = _Work(
        training, folder, show, metrics, controller, _Clock(training, controller, seconds_before)
    )
    try:
        with torch.random.fork_rng():
            with _interruption(show) as interrupted:
                if training.done == 0:
                    work.save()
                controller.begin(training, work.clock.seconds)
                while not training.is_over and not interrupted:
                    work.decide()
                    if not training.is_over:
                        work.step()
                if not interrupted:
                    work.validate_the_last()
                work.save()
                if interrupted:
                    stopping.stop(interrupted[0])
            work.close()  # everything is saved, so Ctrl-C may interrupt this immediately
        metrics.flush()
    except OSError as error:
        raise Failed(
            f"at step {training.done}: {cannot_write(folder, error, REMEDY)}",
            code="training.cannot-write",
        ) from None
    finally:
        # The process waits for its writer thread anyway, so another Ctrl-C would save no time and
        # could only hide the result.
        with stopping.handling(lambda number, frame: None, ctrl_c=True), suppress(Exception):
            work.writer.wait()  # an error would hide the first exception
        with suppress(OSError):
            metrics.flush()


class _Work:
    """The steps of one run, and the work between them."""

    def __init__(
        self,
        training: Training,
        folder: Path,
        show: Display,
        metrics: Metrics,
        controller: RunController,
        clock: _Clock,
    ) -> None:
        self.training, self.folder, self.show = training, folder, show
        self.metrics, self.controller, self.clock = metrics, controller, clock
        self.writer = BackgroundWriter()
        config = training.config
        self.at_words: dict[int, list[str]] = {}
        if config.checkpoint_at_words:
            self.at_words = word_checkpoints.steps_of(
                config.checkpoint_at_words,
                word_checkpoints.words_per_token(training.training_data, training.batches),
                config.tokens_per_step,
            )

    def decide(self) -> None:
        """Make the decisions before the next step; they are on the disk when this returns."""
        done = self.training.done
        for decision in self.controller.decide():
            if decision["step"] == done:  # metrics.jsonl has earlier ones already
                self.metrics.add({"step": done, "decision": decision})
            self.show.decided(decision)

    def step(self) -> None:
        training, clock = self.training, self.clock
        self.writer.check()
        clock.step_begins()
        record = {**training.step(), **clock.timing()}
        self.metrics.add(record)
        self.show.step(record, clock.seconds_left())
        for count in self.at_words.get(training.done, ()):
            training.collect()
            weights = training.model.state_dict()
            path = word_checkpoints.save(self.folder, count, training.done, weights)
            self.show.say(f"step {training.done}  {count} words read: {path}")
        if training.done % training.evaluate_every == 0 and not training.is_over:
            self.validate()
            # A sample takes about as long as a validation, so only half as many are generated.
            number = training.done // training.evaluate_every
            often = training.evaluate_every * FEWEST_VALIDATIONS >= training.steps
            if often or number % 2 == 0:
                self.sample()
        if clock.checkpoint_is_due() and not training.is_over:  # `run` saves the last step
            self.save(in_background=True)
        self.controller.stepped()

    def validate(self) -> None:
        training, best = self.training, self.training.best
        tokens = validation_tokens(training.config)
        record = training.validate(tokens)
        if best is not None:
            if averaged := training.averaged():
                with holding(training.model, averaged):
                    record["average_loss"] = training.validate(tokens)["validation_loss"]
                best.compare(training.done, record["average_loss"], averaged, averaged=True)
            weights = training.model.state_dict()
            best.compare(training.done, record["validation_loss"], weights)
        self.metrics.add(record)
        self.show.validated(record)

    def sample(self) -> None:
        sample = self.training.sample()
        if sample is not None:
            self.metrics.add(sample)
            self.show.sample(sample)

    def save(self, *, in_background: bool = False) -> None:
        """Write a checkpoint; in the background, from a copy, while training goes on."""
        self.metrics.flush()
        self.writer.wait()
        snapshot = self.training.snapshot(self.folder, self.controller.taken, copied=in_background)

        def write() -> None:
            self.training.write(self.folder, snapshot)
            if snapshot.step:  # the new run can be resumed, so the old one is not needed
                discard_replaced(self.folder)

        # Always another thread: a second Ctrl-C must not leave the other ranks waiting for a part.
        self.writer.start(write)
        if not in_background:
            self.writer.wait()
        self.clock.saved = self.clock.now()

    def validate_the_last(self) -> None:
        """Validate after the last step too, if the best weights are kept."""
        best = self.training.best
        if best is not None and best.validated != self.training.done:
            self.validate()

    def close(self) -> None:
        """Record the final losses of the last and best weights, and a sample of the saved ones."""
        training, best = self.training, self.training.best
        final = training.validate(FINAL_VALIDATION_TOKENS, final=True)
        if best is not None:
            final = self._with_best(final)
        final |= self._last_sample()
        self.metrics.add({**final, "final": True, "seconds": self.clock.seconds()})
        self.show.validated({**final, "final": True})

    def _last_sample(self) -> dict[str, Any]:
        """Return the text of a sample of the saved weights, as a field of the final record."""
        training, best = self.training, self.training.best
        saved = best.weights if best is not None else None
        with nullcontext() if saved is None else holding(training.model, saved):
            sample = training.sample()
        if sample is None:
            return {}
        self.show.sample(sample)
        return {"sample": sample["sample"]}

    def _with_best(self, last: dict[str, Any]) -> dict[str, Any]:
        """Return the final record of the best weights, with the loss of the last ones."""
        training, best = self.training, self.training.best
        assert best is not None and best.weights is not None
        final, path = last, self.folder / "last.safetensors"
        if best.step == training.done and not best.averaged:
            path.unlink(missing_ok=True)
        else:
            checkpoints.save_weights(path, training.model.state_dict())
            with holding(training.model, best.weights):
                final = training.validate(FINAL_VALIDATION_TOKENS, final=True)
        average: dict[str, Any] = {}
        if averaged := training.averaged():
            with holding(training.model, averaged):
                of_average = training.validate(FINAL_VALIDATION_TOKENS, final=True)
            average["average_loss"] = of_average["validation_loss"]
            average["best_averaged"] = best.averaged
        return {
            **final,
            "step": best.step,  # the step of the measured weights
            "best_step": best.step,
            "best_loss": final["validation_loss"],
            "last_step": training.done,
            "last_loss": last["validation_loss"],
            **average,
        }


class _Clock:
    """The elapsed and the remaining time of a run, and the time of its last checkpoint."""

    def __init__(self, training: Training, controller: RunController, before: float) -> None:
        self.training, self.controller, self.before = training, controller, before
        self.now = controller.now
        self.start = self.saved = self.last = self.now()
        self.first = training.done

    def seconds(self) -> float:
        return self.before + self.now() - self.start

    def step_begins(self) -> None:
        """Start timing a step, without the work done since the last one."""
        self.last = self.now()

    def timing(self) -> dict[str, float]:
        """Return the timing fields of the step that has just finished."""
        took = max(self.now() - self.last, 1e-9)
        self.controller.took = took
        rate = self.training.config.tokens_per_step / took
        return {"seconds": round(self.seconds(), 3), "tokens_per_second": round(rate, 1)}

    def seconds_left(self) -> float:
        if self.controller.deadline is not None:
            return max(0.0, self.controller.deadline.budget - self.seconds())
        done = self.training.done - self.first
        share = (self.training.steps - self.training.done) / done
        return share * (self.now() - self.start)

    def checkpoint_is_due(self) -> bool:
        every = self.training.config.checkpoint_every
        if every:
            return self.training.done % every == 0
        return self.now() - self.saved > SECONDS_BETWEEN_CHECKPOINTS


@contextmanager
def _interruption(show: Display) -> Iterator[list[int]]:
    """Yield a list that receives the first Ctrl-C or SIGTERM, so that the step is saved first.

    The second signal stops at once.
    """
    numbers: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if numbers:
            stopping.stop(number)
        numbers.append(number)
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        with suppress(OSError, RuntimeError):  # the terminal is gone, or is being written to
            show.say(f"{name}: finishing this step and saving it (press again to stop at once)")

    with stopping.handling(ask, ctrl_c=True):
        yield numbers
