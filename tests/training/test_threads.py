"""The number of threads: chosen by measuring, looked at again, recorded, and never a number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import torch
from random_weights import random_model

from wordorder.model.decoding import Sampling, generate
from wordorder.model.layers import linear
from wordorder.training import run_controller, threads
from wordorder.training.threads import (
    ThreadWatch,
    candidates,
    fastest,
    timed,
    use_free_cores,
    worth_timing,
)
from wordorder.training.training import Training

from .conftest import Clock, Killed, TinyRun, same


class Machine:
    """A machine whose step takes seconds that depend on the number of threads set.

    Args:
        steps: seconds of a step by number of threads.
        probes: seconds of the parallel operations by number of threads.
    """

    def __init__(self, steps: dict[int, float], probes: dict[int, float]) -> None:
        self.steps, self.probes, self.set = steps, probes, max(steps)
        self.seconds, self.stepped = 0.0, []

    def step(self) -> None:
        self.seconds += self.steps[self.set]
        self.stepped.append(self.set)

    def probe(
        self, values: torch.Tensor, operations: int, most_seconds: float
    ) -> tuple[float, int]:
        return self.probes[self.set], 20


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    def make(steps: dict[int, float], probes: dict[int, float]) -> Machine:
        made = Machine(steps, probes)
        monkeypatch.setattr(torch, "set_num_threads", lambda n: setattr(made, "set", n))
        monkeypatch.setattr(torch, "get_num_threads", lambda: made.set)
        monkeypatch.setattr(threads.time, "perf_counter", lambda: made.seconds)
        monkeypatch.setattr(threads, "_probe", made.probe)
        return made

    return make


@pytest.mark.parametrize(("cores", "tried"), [(1, (1,)), (2, (1, 2)), (3, (1, 3)), (8, (1, 4, 8))])
def test_one_half_and_all_are_tried(cores: int, tried: tuple[int, ...]) -> None:
    assert candidates(cores) == tried


def test_the_fastest_is_taken(machine: Callable[..., Machine]) -> None:
    quiet = machine({1: 0.08, 2: 0.05, 4: 0.06}, {1: 4.0, 2: 2.0, 4: 1.0})
    best, seconds = fastest(quiet.step, (1, 2, 4), 1)
    assert best == 2
    assert seconds == pytest.approx({1: 0.08, 2: 0.05, 4: 0.06})
    assert quiet.set == 4  # as it was


def test_a_small_gain_is_no_reason_to_change(machine: Callable[..., Machine]) -> None:
    near = machine({1: 0.05, 2: 0.049}, {1: 2.0, 2: 1.0})
    assert fastest(near.step, (1, 2), 1)[0] == 1
    assert fastest(near.step, (1, 2), 2)[0] == 2


def test_no_step_is_spent_on_threads_that_wait(machine: Callable[..., Machine]) -> None:
    busy = machine({1: 0.08, 2: 2.5}, {1: 1.0, 2: 40.0})
    assert worth_timing((1, 2)) == [1]
    assert fastest(busy.step, (1, 2), 2) == (1, {})
    assert not busy.stepped


def test_one_step_is_enough_for_the_hopeless(machine: Callable[..., Machine]) -> None:
    lucky = machine({1: 0.08, 2: 2.5}, {1: 1.0, 2: 1.0})
    assert timed(lucky.step, (1, 2))[2] == pytest.approx(2.5)
    assert lucky.stepped.count(2) == 1


def test_slow_steps_need_no_other_to_warm_up(machine: Callable[..., Machine]) -> None:
    slow = machine({1: 0.8, 2: 0.5}, {1: 2.0, 2: 1.0})
    assert timed(slow.step, (1, 2)) == pytest.approx({1: 0.8, 2: 0.5})
    assert slow.stepped == [1, 2, 1, 2]


def watch_of(threads: int, usual: float | None, clock: Clock) -> ThreadWatch:
    return ThreadWatch((1, 2), threads, usual, clock)


def test_steps_that_become_slow_call_for_a_look() -> None:
    clock = Clock(lambda now: 0.0)
    watch = watch_of(2, 0.1, clock)
    for seconds in [0.1] * 100:
        clock.seconds += seconds
        watch.stepped(seconds)
        assert not watch.is_due()
    for seconds in [0.3] * 3:
        clock.seconds += seconds
        watch.stepped(seconds)
    assert not watch.is_due()  # less than half of the steps of the last 2 s
    for seconds in [0.3] * 3:
        clock.seconds += seconds
        watch.stepped(seconds)
    assert watch.is_due()


def test_fewer_threads_than_there_are_call_for_a_look_now_and_then() -> None:
    clock = Clock(lambda now: 0.0)
    watch, all_used = watch_of(1, 0.1, clock), watch_of(2, 0.1, clock)
    clock.seconds = 4.9
    assert not watch.is_due()
    clock.seconds = 5.1
    assert watch.is_due() and not all_used.is_due()


def test_looking_takes_a_few_percent_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(lambda now: 0.0)
    watch = watch_of(1, 0.1, clock)

    def dear(*_: object) -> tuple[int, dict[int, float]]:
        clock.seconds += 0.6
        return 1, {}

    monkeypatch.setattr(threads, "fastest", dear)
    looks = 0
    while clock.seconds < 600:
        if watch.is_due():
            watch.look(lambda: None)
            looks += 1
        clock.seconds += 0.1
        watch.stepped(0.1)
    assert 20 <= looks <= 0.031 * 600 / 0.6


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, int]]:
    """Look before every step, and find what the test says for it; by default no change."""
    chosen: dict[int, int] = {}
    monkeypatch.setattr(ThreadWatch, "is_due", lambda self: True)
    number = {"done": 0}

    def found(
        step: Callable[[], object], numbers: tuple[int, ...], current: int
    ) -> tuple[int, dict[int, float]]:
        step()
        return chosen.get(number["done"], current), {}

    monkeypatch.setattr(threads, "fastest", found)
    original = run_controller.RunController._threads

    def noted(self: run_controller.RunController) -> object:
        number["done"] = self.training.done
        return original(self)

    monkeypatch.setattr(run_controller.RunController, "_threads", noted)
    yield chosen


def test_looking_changes_no_number(tiny: Callable[..., TinyRun], looking: dict[int, int]) -> None:
    left, looked = tiny("left"), tiny("looked")
    clock = Clock(lambda now: 1.0)
    plain = left.go(clock, steps=25).model.state_dict()
    timed = looked.go(clock, steps=25, threads=(1, 2)).model.state_dict()
    assert not looked.decisions()
    assert same(plain, timed)


def test_a_change_is_recorded_and_repeated_at_its_step(
    tiny: Callable[..., TinyRun], looking: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to = [1]  # noted only: beside other processes two threads would take minutes
    monkeypatch.setattr(torch, "set_num_threads", lambda number: set_to.append(number))
    monkeypatch.setattr(torch, "get_num_threads", lambda: set_to[-1])
    looking.update({3: 2, 5: 1, 12: 2})
    straight, killed = tiny("straight"), tiny("killed")
    used: dict[int, int] = {}

    def note(training: Training) -> None:
        used[training.done] = torch.get_num_threads()
        if training.done in looking:
            # on the disk before the first step that it changes
            assert straight.decisions()[-1]["step"] == training.done

    pace = lambda now: 1.0  # noqa: E731
    whole = straight.go(Clock(pace), steps=15, threads=(1, 2), before_step=note)
    assert [used[step] for step in (2, 3, 4, 5, 11, 12, 14)] == [1, 2, 2, 1, 1, 2, 2]
    torch.set_num_threads(1)
    with pytest.raises(Killed):
        killed.go(Clock(pace), steps=15, threads=(1, 2), kill_before=13)
    recorded = killed.decisions()
    looking.clear()  # now the machine would have it otherwise
    used.clear()
    torch.set_num_threads(1)
    resumed = killed.go(
        Clock(pace),
        steps=15,
        threads=(1, 2),
        resume=True,
        before_step=lambda t: used.setdefault(t.done, torch.get_num_threads()),
    )
    assert killed.decisions()[:3] == recorded == straight.decisions()
    assert [used[step] for step in (10, 11, 12)] == [1, 1, 2]
    assert same(whole.model.state_dict(), resumed.model.state_dict())


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core leaves no choice")
def test_a_real_machine_is_measured() -> None:
    before = torch.get_num_threads()
    values = torch.rand(1 << 16)
    best, _ = fastest(lambda: torch.sin(values), (1, 2), 1)
    assert best in (1, 2)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("probes", "used"), [({1: 1.0, 2: 0.6}, 2), ({1: 1.0, 2: 9.0}, 1)])
def test_commands_compute_with_the_cores_that_are_free(
    machine: Callable[..., Machine], probes: dict[int, float], used: int
) -> None:
    made = machine({1: 1.0, 2: 1.0}, probes)
    use_free_cores()
    assert made.set == used


def test_another_number_of_threads_changes_no_token() -> None:
    """So the same seed writes the same text, whatever else the machine does."""
    model, before = random_model(50, position="rotary+alibi"), torch.get_num_threads()

    def generated(threads: int) -> tuple[list[int], list[torch.Tensor]]:
        seen: list[torch.Tensor] = []
        torch.set_num_threads(threads)
        sampling = Sampling(max_tokens=6, seed=1)
        tokens = generate(model, [1, 2, 3], sampling, observe=lambda _, found: seen.append(found))
        return list(tokens), seen

    try:
        (one, logits), (two, others) = generated(1), generated(2)
    finally:
        torch.set_num_threads(before)
    assert len(one) == 6 and one == two
    # Not to the bit: with AVX2, MKL's products differ in the last one.
    torch.testing.assert_close(logits, others, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [50, 64, 4096])
def test_a_weight_is_read_in_the_same_parts_by_any_number_of_threads(rows: int) -> None:
    generator, before = torch.Generator().manual_seed(0), torch.get_num_threads()
    x, weight = torch.randn(1, 192, generator=generator), torch.randn(rows, 192)
    found = []
    try:
        with torch.no_grad():
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                found.append(linear(x, weight))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])
    torch.testing.assert_close(found[0], x @ weight.T)
