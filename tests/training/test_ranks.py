"""Several ranks train as one process does: the same batches, masks, losses and files."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from made_once import made_once
from safetensors.torch import load_file
from training.rank_worker import compute_for, config_of

from wordorder.cli.main import main
from wordorder.errors import BadInput, Failed
from wordorder.positions import CATALOGUE
from wordorder.text.sharded.prepare import StoreConfig, prepare
from wordorder.training import checkpoints, sharding
from wordorder.training.metrics import read
from wordorder.training.parts import RankParts
from wordorder.training.ranks import ALONE, Ranks
from wordorder.training.start import resume, train

WORKER = Path(__file__).with_name("rank_worker.py")
TOLERANCE = 2e-5  # of losses in float32
SMALL = {"width": 32, "layers": 2, "heads": 2, "trained_length": 32, "dropout": 0.1}
SHORT = {"steps": 20, "batch_size": 8, "tokenizer": "bytes"}
MASKED = {"objective": "masked-token"}
CASES = {
    "rotary": ({"position": "rotary"}, {}),
    "a shared parameter": ({"position": "t5"}, {}),
    "a network": ({"position": "fire"}, {}),
    "a state": ({"position": "forgetting"}, {}),
    "sampled positions": ({"position": "randomized+learned:length=128"}, {}),
    "packed documents": ({"position": "kerple"}, {"isolate_documents": True}),
    "hidden tokens": ({"position": "learned", "causal": False}, MASKED),
    "accumulated": ({"position": "alibi"}, {"accumulate": 2, "steps": 10}),
    "split and averaged": (
        {"position": "t5"},
        {"average": "ema", "shard": True, "checkpoint_every": 10},
    ),
    "conversations": ({"position": "rotary"}, {"data": ["chats.jsonl"]}),
    "a store on disk": ({"position": "rotary"}, {"data": ["store"]}),
    "a mixture": ({"position": "rotary"}, {"data": ["text.txt=2", "other.txt=1"]}),
    "split rotary": ({"position": "rotary"}, {"shard": True, "checkpoint_at_words": ["20"]}),
    "split T5": ({"position": "t5"}, {"shard": True, "accumulate": 2, "steps": 10}),
    "split FIRE": ({"position": "fire", "tied_embeddings": False}, {"shard": True}),
}
STEPS = 40  # of a run that is killed
OF_THE_COMMAND = (
    {"position": "rotary", "dropout": 0.0},
    {"steps": STEPS, "checkpoint_every": 5, "dtype": "float32", "kernel": "fused", "threads": 1},
)
MORE_CASES = {
    "a GRU": ({"kind": "gru"}, {}),
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
    path = tmp_path_factory.mktemp("text") / "text.txt"
    lines = [f"{n} bees see {7 * n % 31} seas\n\n" for n in range(400)]
    path.write_text("".join(lines), encoding="utf-8")
    chats = ({"prompt": f"{n} bees", "answer": f"see {7 * n % 31} seas"} for n in range(400))
    rows = "".join(f"{json.dumps(row)}\n" for row in chats)
    path.with_name("chats.jsonl").write_text(rows, encoding="utf-8")
    path.with_name("other.txt").write_text("".join(lines[::-1]).upper(), encoding="utf-8")
    prepare(path.with_name("store"), StoreConfig((str(path),), tokenizer="bytes"))
    return path


def case(text: Path, out: Path, model: dict, training: dict) -> dict:
    data = [str(text.with_name(name)) for name in training.get("data", [text.name])]
    given = {**SHORT, "out": str(out), **training, "data": data}
    return {"model": {**SMALL, **model}, "training": given}


def start(cases: list[dict], count: int, folder: Path) -> None:
    """Train cases one after another in a group of ranks."""
    folder.mkdir(exist_ok=True)
    lines = folder / "cases.jsonl"
    lines.write_text("".join(f"{json.dumps(each)}\n" for each in cases), encoding="utf-8")
    # As torchrun does: the store is this process's, so that no other can take its port.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        **{"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)},
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "LOCAL_WORLD_SIZE": "2",  # so four ranks are on two machines
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(lines)],
            env={**os.environ, **common, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read(folder / "metrics.jsonl") if "loss" in record]


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
        start([*cases, again, case(text, folder / "command", *OF_THE_COMMAND)], 2, folder)

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


# -- the command ---------------------------------------------------------------------------------

COMMAND = (
    f"--steps {STEPS} --batch-size 8 --width 32 --layers 2 --heads 2 --trained-length 32 "
    "--threads 1 --tokenizer bytes --dtype float32 --kernel fused --compile no --checkpoint-every 5"
).split()


def ended(*typed: object, at_checkpoint: str = "") -> subprocess.CompletedProcess[str]:
    """Run `wordorder train`; at checkpoints signals may be sent, see `at_a_checkpoint`."""
    folders = [str(WORKER.with_name("at_a_checkpoint")), os.environ.get("PYTHONPATH", "")]
    sent = {"AT_CHECKPOINT": at_checkpoint, "PYTHONPATH": os.pathsep.join(folders)}
    return subprocess.run(
        [sys.executable, "-m", "wordorder", "train", *map(str, typed)],
        env={**os.environ, **(sent if at_checkpoint else {})},
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        check=False,
    )


def new_run(text: Path, out: Path, *more: object) -> list[object]:
    return ["--data", text, "--out", out, *COMMAND, *more]


def same_weights(first: Path, second: Path) -> bool:
    a, b = (load_file(folder / "model.safetensors") for folder in (first, second))
    return all(torch.equal(a[name], b[name]) for name in a)


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@pytest.mark.slow
@needs_proc
def test_a_killed_rank_is_restarted_and_the_run_is_the_same_to_the_bit(
    text: Path, tmp_path: Path, two_ranks: Path
) -> None:
    restarting = new_run(text, tmp_path / "run", "--ranks", 2, "--max-restarts", 1)
    killed = ended(*restarting, at_checkpoint=f"10 {signal.SIGKILL:d} 1")
    assert (killed.returncode, killed.stdout.strip()) == (0, str(tmp_path / "run")), killed.stderr
    assert "resuming after step" in killed.stderr
    assert "Traceback" not in killed.stderr
    assert same_weights(tmp_path / "run", two_ranks / "command")


@needs_proc
def test_a_run_goes_on_after_kills_and_after_ctrl_c(
    text: Path, tmp_path: Path, two_ranks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a new run's ranks one is killed; Ctrl-C ends those restarted, a kill those resumed."""
    run = tmp_path / "run"
    kill, interrupt = f"{signal.SIGKILL:d} 1", f"{signal.SIGINT:d} launcher"
    restarting = new_run(text, run, "--ranks", 2, "--max-restarts", 1)
    stopped = ended(*restarting, at_checkpoint=f"10 {kill},20 {interrupt}")
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    _, resumed, lines = stopped.stderr.partition("resuming after step")
    assert resumed and "stopped and saved at step" in lines
    assert "stopped" not in lines.splitlines()
    so_far = losses(run)
    assert len(so_far) >= 20 and so_far == losses(two_ranks / "command")[: len(so_far)]

    killed = ended("--resume", run, "--ranks", 2, at_checkpoint=f"30 {kill}")
    assert killed.returncode == 1
    assert [line for line in killed.stderr.splitlines() if line.startswith("error: ")] == [
        "error: rank 1 was killed by SIGKILL, so all 2 ranks have ended: continue with wordorder "
        f"train --resume {run} --ranks 2"
    ]
    assert "Traceback" not in killed.stderr

    assert main(["train", "--resume", str(run), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["step"] == STEPS
    decisions = read(run / "training" / "decisions.jsonl")
    assert [decision["ranks"] for decision in decisions] == [1]
    assert "training on 1 rank from now on" in printed.err


@pytest.mark.slow
def test_bad_input_under_ranks_is_one_line(text: Path, tmp_path: Path) -> None:
    run = ended(*new_run(text, tmp_path / "run", "--ranks", 3))
    assert run.returncode == 2
    assert [line for line in run.stderr.splitlines() if line] == [
        "error: --batch-size 8 cannot be shared by 3 ranks: use --batch-size 9 or another "
        "multiple of 3"
    ]
    assert not (tmp_path / "run").exists()
