"""What a model writes, and what its embedding is, at each checkpoint while it learns."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from wordorder.errors import BadInput, Refused
from wordorder.model import LanguageModel, ModelConfig, TokenModel, make_model
from wordorder.model.decoding import Sampling
from wordorder.positions import Position, foreign
from wordorder.positions.picture import picture_of
from wordorder.studio.fields import Matrix, numbers
from wordorder.studio.workshop import StartedJob
from wordorder.text.prompt import Prompt
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.checkpoints import newest_weights
from wordorder.training.text_generation import generate_text, remaining_positions
from wordorder.words.activations import attention_of_copies

SAMPLE_TOKENS = 64
MOST_KEPT = 40  # snapshots of one run
MOST_CELLS, MOST_COPIES = 96, 64  # of a picture; tokens whose attention is shown


class SampleToken(BaseModel):
    """A written piece of text, and the probability that the model gave it."""

    text: str
    probability: float


class Snapshot(BaseModel):
    """A model at a checkpoint.

    Args:
        steps: of all snapshots that are kept.
        sample: written from nothing, with the same seed every time.
        kind, picture: of the embedding, as `wordorder.positions.picture` has them; null if there
            is none to show.
        learned: whether training changes that picture.
        attention: weights of the last of identical tokens in the first layer, by head and distance:
            what the model makes of the embedding. Empty if it has no such weights.
    """

    step: int
    steps: list[int]
    position: str
    sample: list[SampleToken]
    kind: str = ""
    picture: Matrix | None = None
    learned: bool = False
    attention: list[list[float | None]] = []


class Snapshots:
    """The snapshots of all runs; those of each are made when a page asks, and kept."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._kept: dict[Path, OrderedDict[int, Snapshot]] = {}
        self._configs: dict[Path, str] = {}

    def newest(self, job: StartedJob, computing: threading.Lock) -> Snapshot:
        """Return the snapshot of the newest checkpoint.

        Args:
            computing: held while a model computes.

        Raises:
            BadInput: there is no checkpoint yet.
        """
        with self._making:
            loaded = newest_weights(job.folder / "training")
            if loaded is None:
                raise BadInput(
                    f"{job.name} has no checkpoint yet: wait for the first", code="studio.too-early"
                )
            step, weights = loaded
            kept = self._kept.setdefault(job.folder, OrderedDict())
            config = _config_of(job.folder)
            if kept and (step < max(kept) or config != self._configs[job.folder]):
                kept.clear()  # the run was started anew, or another one with its name
            self._configs[job.folder] = config
            if step not in kept:
                with computing, torch.no_grad():
                    kept[step] = _snapshot(job.folder, config, step, weights)
                if len(kept) > MOST_KEPT:  # every second, the first and the newest stay
                    for each in list(kept)[1:-1:2]:
                        del kept[each]
            return kept[step].model_copy(update={"steps": list(kept)})

    def at(self, job: StartedJob, step: int) -> Snapshot:
        """Return a snapshot that is kept.

        Raises:
            BadInput: there is none of this step.
        """
        kept = self._kept.get(job.folder, OrderedDict())
        if step not in kept:
            raise BadInput(
                f"the studio has not seen {job.name} at step {step}: choose another step",
                code="studio.no-snapshot",
            )
        return kept[step].model_copy(update={"steps": list(kept)})


def _config_of(folder: Path) -> str:
    try:
        return (folder / "config.json").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, error: Exception) -> BadInput:
    return BadInput(f"{folder} cannot be read: {error}", code="studio.unreadable-run")


def _snapshot(folder: Path, recorded: str, step: int, weights: dict[str, Tensor]) -> Snapshot:
    try:
        config = ModelConfig.from_dict(json.loads(recorded)["model"])
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(folder, error) from None
    if foreign(config.position):
        raise Refused(f"{folder} has code of its own", code="studio.own-code-snapshot")
    model = make_model(config).eval()
    model.load_state_dict(weights)
    snapshot = Snapshot(
        step=step, steps=[], position=config.position, sample=_sample(model, tokenizer)
    )
    if isinstance(model, LanguageModel):
        for name, value in _embedding(model).items():
            setattr(snapshot, name, value)
        copies = min(MOST_COPIES, config.trained_length)
        try:
            attention = attention_of_copies(model, tokenizer.end_of_text, copies)
        except BadInput:  # it has no such weights
            return snapshot
        snapshot.attention = numbers(attention.flip(-1))
    return snapshot


def _sample(model: TokenModel, tokenizer: Tokenizer) -> list[SampleToken]:
    probabilities: list[float] = []

    def observe(token: int, logits: Tensor) -> None:
        probabilities.append(float(logits.float().softmax(-1)[token]))

    prompt = Prompt("", tokenizer)
    left = remaining_positions(model, prompt)
    count = SAMPLE_TOKENS if left is None else min(left, SAMPLE_TOKENS)
    if not model.config.causal or count < 1:
        return []
    sampling = Sampling(max_tokens=count, seed=0)
    tokens: list[SampleToken] = []
    for piece in generate_text(model, prompt, sampling, observe=observe):
        if probabilities:
            tokens.append(SampleToken(text=piece, probability=probabilities.pop()))
        elif tokens:  # the last piece belongs to no token: it is what the decoder held back
            tokens[-1].text += piece
    return tokens


def _embedding(model: LanguageModel) -> dict[str, Any]:
    parts: list[Position] = list(model.position.sums[0].parts)
    if not parts:
        return {}
    part = next((each for each in parts if list(each.parameters())), parts[0])
    learned = bool(list(part.parameters()))
    drawn = picture_of(part, min(part.shape.trained_length, 256))
    # Attention weights are those of initial parameters.
    if drawn is None or (learned and drawn.kind == "weights"):
        return {}
    return {"kind": drawn.kind, "picture": Matrix.of(drawn.values, MOST_CELLS), "learned": learned}
