"""How a machine is measured: what cannot be computed on it is no candidate."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from wordorder.errors import BadInput, Refused
from wordorder.model import LanguageModel, ModelConfig
from wordorder.text.batches import Batch
from wordorder.training import benchmark, compute
from wordorder.training.config import TrainConfig

MODEL = ModelConfig(
    position="alibi", vocabulary_size=20, width=16, layers=1, heads=2, trained_length=8
)


@pytest.fixture
def measured() -> Callable[..., compute.Compute]:
    """Return a function that measures this machine with options of a training."""
    model = LanguageModel(MODEL)
    model.initialise(0)
    tokens = torch.randint(20, (2, 8), generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens, tokens, None, None)

    def measure(
        threads: tuple[int, ...] = (), dtype: str = "float32", **options: object
    ) -> compute.Compute:
        config = TrainConfig(model=MODEL, dtype=dtype, compile="no", **options)
        return benchmark.measure(config, model, batch, lambda seconds: seconds, threads)

    return measure


def test_the_flexible_kernel_is_for_gpus(measured: Callable[..., compute.Compute]) -> None:
    with pytest.raises(BadInput, match="on cpu use --kernel auto") as caught:
        measured(kernel="flex")
    assert caught.value.code == "training.flex-device"


def test_a_kernel_that_was_asked_for_and_cannot_be_made_is_refused_in_a_line() -> None:
    class OnGPU:
        def parameters(self) -> Iterator[SimpleNamespace]:
            return iter([SimpleNamespace(device=torch.device("cuda"))])

        def __call__(self, batch: Batch) -> None:
            raise RuntimeError("Buffers cannot be created\nin a pointwise subgraph")

    model = OnGPU()
    batch = Batch(torch.zeros(2, 8), torch.zeros(2, 8))
    config = TrainConfig(model=MODEL, dtype="float32", kernel="flex")
    with pytest.raises(BadInput, match=r"compile alibi \(Buffers cannot be created in"):
        benchmark.measure(config, model, batch, lambda seconds: seconds)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_what_cannot_be_computed_is_no_candidate(
    measured: Callable[..., compute.Compute], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "KERNELS", ("flex", "plain"))  # no backward on a CPU
    chosen = measured()
    assert chosen.kernel == "plain"
    assert "float32 flex failed, float32 plain" in chosen.reason


@pytest.mark.parametrize(("slower", "is_timed"), [(1.5, True), (42.0, False)])
def test_bfloat16_is_timed_where_the_processor_multiplies_in_it(
    measured: Callable[..., compute.Compute],
    monkeypatch: pytest.MonkeyPatch,
    slower: float,
    is_timed: bool,
) -> None:
    monkeypatch.setattr(benchmark, "slowdown_in_bfloat16", lambda: slower)
    found = measured(dtype="auto")
    assert ("bfloat16 plain" in found.reason) == is_timed
    if not is_timed:
        assert (found.dtype, found.muon_dtype) == ("float32", "float32")
        assert "products in bfloat16 42 times slower, float32 plain" in found.reason
        assert measured(dtype="bfloat16").dtype == "bfloat16"  # an explicit dtype is used


def test_how_slow_bfloat16_is_comes_from_products(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {torch.float32: 0.25, torch.bfloat16: 5.0}
    monkeypatch.setattr(compute, "fastest_of_three", lambda work: seconds[work().dtype])
    assert compute.slowdown_in_bfloat16.__wrapped__() == 20


def test_after_ctrl_c_while_it_compiles_pytorch_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda model: model)
    model = torch.nn.Linear(1, 1)
    assert compute.compiled(model, recorded(compile=True)) is model  # type: ignore[arg-type]
    warnings.warn("Error detected in ViewBackward0. Traceback of forward call", stacklevel=1)


def recorded(**changes: object) -> compute.Compute:
    """Return what a run on this machine records."""
    return replace(compute.fingerprinted(compute.Compute("cpu", 1)), **changes)


def test_a_machine_records_what_the_last_bits_depend_on(
    measured: Callable[..., compute.Compute],
) -> None:
    found = measured()
    assert found.instructions == torch.backends.cpu.get_cpu_capability()
    assert found.processor
    assert (found.torch, found.threads) == (torch.__version__, torch.get_num_threads())


def test_the_same_machine_goes_on() -> None:
    said: list[str] = []
    assert compute.check_same(recorded(), TrainConfig(), False, said.append) == recorded()
    assert not said


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"instructions": "AVX3"},
            f"the instruction set AVX3, this is {compute.instruction_set()}",
        ),
        ({"processor": "Z80"}, "the processor Z80, this is"),
        ({"torch": "0.4"}, "it ran on torch 0.4"),
        ({"threads": 4096}, "it used 4096 threads"),
    ],
)
def test_another_machine_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(Refused, match=named):
        compute.check_same(recorded(**changes), TrainConfig(), False)
    compute.check_same(recorded(**changes), TrainConfig(), True)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_without_its_device_a_run_goes_on_by_the_cpu(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    old = recorded(device=device, kernel="flex")
    with pytest.raises(Refused, match=f"it ran on {device}, which is not available"):
        compute.check_same(old, TrainConfig(), False)
    here = compute.check_same(old, TrainConfig(), True)
    assert (here.device, here.kernel) == ("cpu", "plain")  # flex has no gradients on a CPU


@pytest.mark.parametrize(
    ("dtype", "slower", "warned"),
    [("bfloat16", 50.0, True), ("bfloat16", 1.0, False), ("float32", 50.0, False)],
)
def test_work_of_another_machine_in_a_dtype_that_is_slow_here_is_told_of(
    monkeypatch: pytest.MonkeyPatch, dtype: str, slower: float, warned: bool
) -> None:
    monkeypatch.setattr(compute, "slowdown_in_bfloat16", lambda: slower)
    said: list[str] = []
    other = recorded(dtype=dtype, processor="Z80")
    compute.check_same(other, TrainConfig(), True, said.append)
    assert any("is 50 times slower in bfloat16 than in float32" in line for line in said) == warned
    said.clear()
    compute.check_same(recorded(dtype=dtype), TrainConfig(), False, said.append)
    assert not said  # it is slow here, and was


def test_a_record_is_of_this_processor_if_it_names_no_other() -> None:
    assert compute.is_of_this_processor(recorded())
    assert compute.is_of_this_processor(recorded(processor=None, instructions=None))
    assert not compute.is_of_this_processor(recorded(processor="Z80"))
    assert not compute.is_of_this_processor(recorded(instructions="AVX3"))


def test_an_old_record_says_what_it_lacks() -> None:
    said: list[str] = []
    old = recorded(instructions=None, processor=None)
    compute.check_same(old, TrainConfig(), False, said.append)
    assert said == [
        "the run does not record its instruction set and processor, so it may not continue bit by "
        "bit on this machine"
    ]


def test_threads_are_measured_where_they_may_be_chosen(
    measured: Callable[..., compute.Compute], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(benchmark, "fastest", lambda *_: (1, {1: 0.1, 2: 0.3}))
    try:
        found = measured(threads=(1, 2))
        assert found.threads == torch.get_num_threads() == 1
        assert "1 thread 100 ms, 2 threads 300 ms" in found.reason
        monkeypatch.setattr(benchmark, "fastest", lambda *_: (1, {}))
        assert "no core is free for 2 threads" in measured(threads=(1, 2)).reason
        # dtype and kernel are timed with threads that do not wait for a core
        monkeypatch.setattr(benchmark, "worth_timing", lambda _: [1])
        timed: list[int] = []
        monkeypatch.setattr(
            benchmark, "step_seconds", lambda *_: timed.append(torch.get_num_threads()) or 0.1
        )
        torch.set_num_threads(2)
        measured(threads=(1, 2))
        assert set(timed) == {1}
    finally:
        torch.set_num_threads(before)


def test_another_number_of_ranks_uses_as_many_threads_in_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    alone, two = recorded(threads=8), recorded(threads=4, ranks=2)
    assert compute.check_same(alone, TrainConfig(), False, ranks=4).threads == 2
    assert compute.check_same(two, TrainConfig(), False, ranks=1).threads == 8
    machines = recorded(threads=8, ranks=2)  # each with 8 cores
    assert compute.check_same(machines, TrainConfig(), False, ranks=1).threads == 8
    assert compute.check_same(recorded(threads=64), TrainConfig(), True).threads == 8
