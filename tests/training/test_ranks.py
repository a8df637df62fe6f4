"""Several ranks train as one process does: the same batches, masks, losses and files."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from made_once import made_once
from safetensors.torch import load_file
from training.rank_runs import case, losses, start, write_texts
from training.rank_worker import compute_for, config_of

from wordorder.cli.launch import is_worker
from wordorder.cli.main import main
from wordorder.errors import BadInput, Failed
from wordorder.positions import CATALOGUE
from wordorder.training import checkpoints, sharding
from wordorder.training.metrics import read
from wordorder.training.parts import RankParts
from wordorder.training.ranks import ALONE, Ranks, joined
from wordorder.training.start import resume, train

TOLERANCE = 2e-5  # of losses in float32
MASKED = {"objective": "masked-token"}
CASES = {
    "rotary": ({"position": "rotary"}, {}),
    "hidden tokens": ({"position": "learned", "causal": False}, MASKED),
    "split and averaged": (
        {"position": "t5"},
        {"average": "ema", "shard": True, "checkpoint_every": 10},
    ),
}
MORE_CASES = {
    "packed documents": ({"position": "kerple"}, {"isolate_documents": True}),
    "split FIRE": ({"position": "fire", "tied_embeddings": False}, {"shard": True}),
    "a state": ({"position": "forgetting"}, {}),
    "sampled positions": ({"position": "randomized+learned:length=128"}, {}),
    "a mixture": ({"position": "rotary"}, {"data": ["text.txt=2", "other.txt=1"]}),
    "split T5": ({"position": "t5"}, {"shard": True, "accumulate": 2, "steps": 10}),
    "a GRU": ({"kind": "gru"}, {}),
    "a network": ({"position": "fire"}, {}),
    "accumulated": ({"position": "alibi"}, {"accumulate": 2, "steps": 10}),
    "conversations": ({"position": "rotary"}, {"data": ["chats.jsonl"]}),
    "a store on disk": ({"position": "rotary"}, {"data": ["store"]}),
    "split rotary": ({"position": "rotary"}, {"shard": True, "checkpoint_at_words": ["20"]}),
    "a shared parameter": ({"position": "t5"}, {}),
    "averaged": ({"position": "alibi"}, {"average": "tail"}),
    "packed": ({"position": "randomized+learned:length=128"}, {"isolate_documents": True}),
    "recomputed": ({"position": "t5"}, {"recompute": True}),
    "split and recomputed": ({"position": "fire"}, {"recompute": True, "shard": True}),
    "split DeBERTa": ({"position": "deberta"}, {"shard": True, "isolate_documents": True}),
    "split masked": ({"position": "learned", "causal": False}, {**MASKED, "shard": True}),
    "split GRU": ({"kind": "gru"}, {"shard": True, "muon": False}),
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("text"))


def check_equal(one: Path, several: Path) -> None:
    """Check that two runs are the same but for rounding, and that training did something."""
    assert len(losses(one)) == len(losses(several))
    differences = [abs(a - b) for a, b in zip(losses(one), losses(several), strict=True)]
    assert max(differences) < TOLERANCE
    assert losses(one)[-1] < losses(one)[0] - 0.2
    final = [read(folder / "metrics.jsonl")[-1] for folder in (one, several)]
    assert final[0]["final"] and final[1]["final"]
    for name in {"validation_loss", "average_loss"} & set(final[0]):
        assert abs(final[0][name] - final[1][name]) < TOLERANCE
    for kept in one.glob("words/*/model.safetensors"):
        other = load_file(several / kept.relative_to(one))
        torch.testing.assert_close(other, load_file(kept), rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def two_ranks(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with each case trained by two ranks.

    The first is trained once more, by ranks that orthogonalise all matrices each.
    """

    def make(folder: Path) -> None:
        cases = [case(text, folder / name, *values) for name, values in CASES.items()]
        again = {**case(text, folder / "again", *CASES["rotary"]), "alone": True}
        for counted in (cases[0], again):
            counted["count_in"] = counted["training"]["out"]
        start([*cases, again], 2, folder)

    return made_once(tmp_path_factory, "two-ranks", make)


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_train_as_one_process(
    text: Path, tmp_path: Path, two_ranks: Path, name: str
) -> None:
    model, training = CASES[name]
    alone = case(text, tmp_path / "one", model, {**training, "shard": False})
    train(config_of(alone), compute=compute_for(ALONE))
    check_equal(tmp_path / "one", two_ranks / name)
    record = json.loads((two_ranks / name / "config.json").read_text())
    assert record["machine"]["ranks"] == 2


@pytest.mark.slow
def test_more_cases_train_on_two_ranks_as_on_one(text: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    start([case(text, folder / n, *given) for n, given in MORE_CASES.items()], 2, folder)
    for name, (model, training) in MORE_CASES.items():
        alone = case(text, tmp_path / name, model, {**training, "shard": False})
        train(config_of(alone), compute=compute_for(ALONE))
        check_equal(tmp_path / name, folder / name)


def test_two_ranks_orthogonalise_half_of_the_matrices_each(two_ranks: Path) -> None:
    shared, alone = (
        [int((two_ranks / name / f"orthogonalised-{rank}").read_text()) for rank in (0, 1)]
        for name in ("rotary", "again")
    )
    timed = alone[0] - alone[1]  # by the leader, in the steps before the first
    assert shared[0] - timed == shared[1] == alone[1] / 2 > 0


def test_the_same_number_of_ranks_gives_the_same_bits(two_ranks: Path) -> None:
    """Also if one of the runs shares out no matrices."""
    assert losses(two_ranks / "rotary") == losses(two_ranks / "again")
    first, second = (load_file(two_ranks / n / "model.safetensors") for n in ("rotary", "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def without_the_last_checkpoint(run: Path, copy: Path) -> Path:
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "training" / "step-00000020")
    return copy


def test_ranks_of_a_split_model_write_a_part_each(two_ranks: Path, tmp_path: Path) -> None:
    split = two_ranks / "split and averaged"
    last = split / "training" / "step-00000020"
    parts = sorted(path.name for path in last.iterdir())
    assert [name[:11] for name in parts] == [
        "shard-00001",
        "shard-00002",
        "state.json",
        "state.safet",
    ]
    names = load_file(last / "state.safetensors").keys()
    assert all(name.startswith(("model.", "best.")) for name in names)

    run = without_the_last_checkpoint(split, tmp_path / "run")
    resume(run, inexact=True)  # by one process
    check_equal(run, split)

    damaged = tmp_path / "damaged"
    shutil.copytree(split, damaged)
    part = damaged / last.relative_to(split) / parts[1]
    part.write_bytes(part.read_bytes()[:-1])
    assert checkpoints.load(damaged / "training").step == 10


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.slow
def test_a_split_run_goes_on_with_as_many_ranks_and_with_more(
    two_ranks: Path, tmp_path: Path, count: int
) -> None:
    split = two_ranks / "split and averaged"
    run = without_the_last_checkpoint(split, tmp_path / "run")
    start([{"resume": str(run)}], count, tmp_path)
    check_equal(run, split)
    if count == 2:  # to the bit
        one, other = (checkpoints.load(folder / "training").tensors for folder in (split, run))
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert any(name.startswith("average.") for name in one)


def test_an_error_of_any_rank_is_the_error_of_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch.distributed.checkpoint as distributed
    from torch.distributed.checkpoint.api import CheckpointException

    errors = {1: (OSError(28, "No space left on device"), None)}

    def full(*_: object, **__: object) -> None:
        raise CheckpointException("write", errors)

    monkeypatch.setattr(distributed, "save", full)
    with pytest.raises(OSError, match="No space left"):
        RankParts(tmp_path, {}, dist.ProcessGroup(0, 1)).write()
    errors[1] = (RuntimeError("Connection closed by peer"), None)
    with pytest.raises(Failed) as caught:
        RankParts(tmp_path, {}, dist.ProcessGroup(0, 1)).write()
    assert caught.value.code == "training.rank-lost"


@pytest.mark.slow
def test_four_ranks_train_every_embedding_as_one_process(text: Path, tmp_path: Path) -> None:
    """CoPE's gradient jumps where a position crosses a whole number, which rounding decides.

    So its losses are compared until that happens: they agree to 5e-6 for 13 steps.
    """
    names = sorted(name for name, kind in CATALOGUE.items() if not kind.task_positions)
    cases = [case(text, tmp_path / "four" / n, {"position": n}, {}) for n in names]
    start(cases, 4, tmp_path / "four")
    for name in names:
        train(
            config_of(case(text, tmp_path / name, {"position": name}, {})),
            compute=compute_for(ALONE),
        )
        if name == "cope":
            first = zip(
                losses(tmp_path / name)[:10], losses(tmp_path / "four" / name), strict=False
            )
            assert all(abs(a - b) < TOLERANCE for a, b in first)
        else:
            check_equal(tmp_path / name, tmp_path / "four" / name)


def test_eight_ranks_are_wired(monkeypatch: pytest.MonkeyPatch, text: Path, tmp_path: Path) -> None:
    """PyTorch's fake backend stands for the other seven, so sums are those of the leader.

    DistributedDataParallel does not take what that backend returns; FSDP2 does. The others do not
    see the leader's folder, so it writes all of the checkpoint.
    """
    monkeypatch.setattr(sharding, "seen_by_all", lambda *_: False)
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=8)
    try:
        ranks = Ranks(0, 8, 8, connected=True)
        given = case(text, tmp_path / "run", {"position": "t5"}, {"steps": 3, "shard": True})
        run = train(config_of(given), compute=compute_for(ranks), ranks=ranks)
    finally:
        dist.destroy_process_group()
    assert len(losses(run.folder)) == 3
    saved = {path.name for path in (run.folder / "training").rglob("*")}
    assert saved == {"step-00000000", "step-00000003", "state.json", "state.safetensors"}
    tensors = checkpoints.load(run.folder / "training").tensors
    assert any(name.startswith("optimizer.muon.") for name in tensors)
    # A rank computes one of eight rows, and the loss is divided by the targets of all.
    assert losses(run.folder)[0] == pytest.approx(math.log(257) / 8, rel=0.2)


def test_a_batch_that_cannot_be_shared_names_one_that_can() -> None:
    with pytest.raises(BadInput, match="--batch-size 9") as caught:
        Ranks(0, 3).check_batch_size(8)
    assert caught.value.code == "training.batch-not-shared"
    Ranks(0, 4).check_batch_size(8)


def test_one_process_of_a_scheduler_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """SageMaker and Kubeflow set RANK=0 and WORLD_SIZE=1; some scripts leave it empty."""
    monkeypatch.setenv("RANK", "0")
    for text in ("1", "", " 1 "):
        monkeypatch.setenv("WORLD_SIZE", text)
        with joined() as ranks:
            assert ranks is ALONE
        assert not is_worker()
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(BadInput, match="WORLD_SIZE is 'two'"), joined():
        pass


def test_ranks_other_than_those_of_torchrun_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "--data", "text.txt", "--ranks", "4"]) == 2
    assert "--ranks 4, but torchrun started 2 processes" in capsys.readouterr().err
