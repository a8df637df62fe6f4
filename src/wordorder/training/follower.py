"""Follower ranks: they receive the run's state from the leader and take the same steps."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
import torch
import torch.distributed as dist
from torch import Tensor

from wordorder import stopping
from wordorder.errors import BadInput, Failed
from wordorder.model import make_model
from wordorder.model.config import ModelConfig
from wordorder.text.sharded.folder import is_store, open_sharded
from wordorder.text.store import TokenStore
from wordorder.text.tokenizer import Tokenizer
from wordorder.training import checkpoints
from wordorder.training.average import PREFIX
from wordorder.training.background import BackgroundWriter
from wordorder.training.compute import Compute, compiled, use
from wordorder.training.config import TrainConfig
from wordorder.training.process_state import isolated_process_state
from wordorder.training.ranks import Message, Ranks, explained
from wordorder.training.shared_matrices import SharedMatrices
from wordorder.training.training import Training
from wordorder.training.training_data import MixedPart, TrainingData

ARRAYS = ("tokens", "starts", "answers")  # of a store; text has no answers
STORED = ("bytes", "end_of_text", "vocabulary_size")


def lead(training: Training, ranks: Ranks) -> None:
    """Send a run's state to the followers, and sum gradients over ranks from now on."""
    if not ranks.connected:
        return
    data, config = training.training_data, training.config
    unused = not config.shard and _has_unused_parameters(training)  # FSDP2 need not know
    values = {
        "do": "train",
        "config": config.to_dict(),
        "model": config.model.to_dict(),
        "compute": training.compute.to_dict(),
        "tokenizer": training.training_data.tokenizer.backend.to_str(),
        "stores": [_described(store) for store in data.training_stores],
        "parts": [(part.name, part.weight) for part in data.parts],
        "steps": training.steps,
        "open_ended": training.open_ended,
        "ends": training.ends,
        "done": training.done,
        "unused": unused,
        "average": 0 if training.average is None else training.average.count,
    }
    tensors = {f"model.{n}": t for n, t in training.model.state_dict().items()}
    tensors |= {f"optimizer.{n}": t for n, t in training.optimizer.state().items()}
    if config.shard:  # otherwise the leader alone averages
        tensors |= {f"{PREFIX}{name}": tensor for name, tensor in training.averaged().items()}
    for number, store in enumerate(data.training_stores):
        for name in ARRAYS if store.folder is None else ():
            if (array := getattr(store, name)) is not None:
                tensors[f"store.{number}.{name}"] = torch.from_numpy(array.copy())
    ranks.send(values, tensors)
    _share(training, ranks, unused)


def _described(store: TokenStore) -> dict[str, Any]:
    """Return what followers need to know of a store: its place on disk, or all but its arrays."""
    if store.folder is None:
        return {name: getattr(store, name) for name in STORED}
    text = open_sharded(store.folder)
    return {"folder": str(store.folder), "part": store.part, "hash": text.content_hash}


def _store(fields: dict[str, Any], arrays: dict[str, Any], tokenizer: Tokenizer) -> TokenStore:
    """Return a store that the leader has described.

    Raises:
        BadInput: it is on the leader's disk, and not on this one.
    """
    if "folder" not in fields:
        return TokenStore(**arrays, **fields)
    folder, same = fields["folder"], False
    if is_store(folder):
        text = open_sharded(folder)
        same = text.content_hash == fields["hash"]
    if not same or (store := text.store(fields["part"], tokenizer)) is None:
        raise BadInput(
            f"{folder} on this machine is not the store that rank 0 reads: copy the store to this "
            "path on every machine",
            code="training.rank-other-store",
        )
    return store


def _share(training: Training, ranks: Ranks, unused: bool) -> None:
    """Sum gradients over ranks from now on, with the weights whole or split."""
    if training.config.shard:
        training.split()
    else:
        training.forward = ranks.parallel(training.forward, unused)
        muon, processes = training.optimizer.muon, ranks.processes_of_machine
        if dist.get_world_size(processes) > 1:
            shared = SharedMatrices(muon.groups, muon.dtype, processes)
            muon.orthogonalised = shared.orthogonalised


def follow(ranks: Ranks) -> None:
    """Take the steps of the run that the leader announces, until it ends.

    Ctrl-C and SIGTERM are the leader's: it finishes the step, saves, and ends the run.

    Raises:
        Failed: another rank has ended.
    """
    with stopping.handling(lambda number, frame: None, ctrl_c=True), explained():
        _follow(ranks)


@isolated_process_state()
def _follow(ranks: Ranks) -> None:
    writer = BackgroundWriter()
    try:
        _listen(ranks, writer)
    finally:
        with suppress(Exception):  # the leader reports it
            writer.wait()


def _listen(ranks: Ranks, writer: BackgroundWriter) -> None:
    training = None
    while (message := ranks.listen()) is None or message.values["do"] != "end":
        if message is not None and message.values["do"] == "train":
            training = _training(message, ranks)
            continue
        assert training is not None
        if message is None:
            _step(training)
        elif message.values["do"] == "collect":
            training.collect(optimizer=message.values["optimizer"])
        elif message.values["do"] == "average":
            training.averaged()
        elif message.values["do"] == "parts":
            with suppress(OSError):  # an error of the previous part; the leader reports it
                writer.wait()
            if parts := training.parts(Path(message.values["folder"])):
                writer.start(parts.write)
        else:
            training.end_at(message.values["steps"], message.values["begin"])


def _step(training: Training) -> None:
    try:
        training.step()
    except Failed as error:
        if error.code != "training.not-finite":  # the leader reports it, and then ends the run
            raise


def _training(message: Message, ranks: Ranks) -> Training:
    values, tensors = message
    model_config = ModelConfig.from_dict(values["model"])
    config = TrainConfig.from_dict(values["config"], model_config)
    if not config.shard:
        config = replace(config, average="none")
    compute = Compute.from_dict(values["compute"])
    torch.set_num_threads(compute.threads)
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(values["tokenizer"]))
    training_data = _training_data(message, tokenizer)
    model = make_model(config.model).to(compute.device)
    use(model, compute)
    training = Training(
        config,
        compute,
        training_data,
        model,
        values["steps"],
        open_ended=values["open_ended"],
        forward=compiled(model, compute),
        ranks=ranks,
    )
    parts: dict[str, Tensor] = {n: t for n, t in tensors.items() if not n.startswith("store.")}
    training.load(checkpoints.Checkpoint(values["done"], parts, {"average": values["average"]}))
    training.ends = [tuple(end) for end in values["ends"]]
    _share(training, ranks, values["unused"])
    return training


def _training_data(message: Message, tokenizer: Tokenizer) -> TrainingData:
    """Return the training text; the held-out texts, which a follower does not use, are the same."""
    values, tensors = message
    each = []
    for number, fields in enumerate(values["stores"]):
        prefix = f"store.{number}."
        names = (name for name in ARRAYS if prefix + name in tensors)
        arrays = {name: tensors[prefix + name].numpy() for name in names}
        store = _store(fields, arrays, tokenizer)
        each.append(TrainingData(tokenizer, store, store, {}))
    parts = zip(values["parts"], each, strict=False)
    mixed = tuple(MixedPart(name, weight, data) for (name, weight), data in parts)
    return replace(each[0], parts=mixed)


def _has_unused_parameters(training: Training) -> bool:
    """Return whether the loss of a row does not depend on some parameter."""
    row = training.batches.at(0).map(lambda field: field[:1])
    training.model.train()
    with torch.random.fork_rng():
        training.model(row.to(training.parameters[0].device)).mean().backward()
    unused = any(p.grad is None for p in training.parameters)
    training.optimizer.zero_gradients()
    return unused
