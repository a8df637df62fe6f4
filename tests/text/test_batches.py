from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wordorder.batch import RowShare
from wordorder.errors import BadInput
from wordorder.text.batches import Batch, Batches, evaluation_batches
from wordorder.text.store import TokenStore

END = 999


def store_of(*lengths: int) -> TokenStore:
    """Documents of these lengths, end of text included; other tokens say where they are."""
    tokens = np.arange(sum(lengths), dtype=np.uint16)
    starts = np.cumsum([0, *lengths[:-1]], dtype=np.int64)
    tokens[np.cumsum(lengths) - 1] = END
    return TokenStore(tokens, starts, sum(lengths), END, END + 1)


def equal(one: Batch, two: Batch) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(one, two, strict=True)
    )


def batches(store: TokenStore, **options: Any) -> Batches:
    return Batches(store, **{"context_length": 8, "batch_size": 4, "seed": 1, **options})


@pytest.mark.parametrize("options", [{}, {"objective": "masked-token", "mask_id": 7}])
def test_a_pure_function_of_seed_and_index(options: dict[str, Any]) -> None:
    store = store_of(40, 60, 100)
    there = batches(store, isolate_documents=True, **options)
    forwards = [there.at(index) for index in range(30)]
    resumed = batches(store, isolate_documents=True, **options)
    assert all(equal(resumed.at(index), forwards[index]) for index in reversed(range(30)))
    other = batches(store, isolate_documents=True, seed=2, **options)
    assert not equal(other.at(0), forwards[0])


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "masked-token", "mask_id": 7},
        {"objective": "masked-token", "mask_id": 7, "mask_fraction": 1e-9},  # one target in all
    ],
)
def test_a_share_of_a_batch_is_its_rows(isolate: bool, options: dict[str, Any]) -> None:
    store = store_of(40, 60, 100)
    store.tokens[[39, 99]] = 5  # cut documents
    there = batches(store, batch_size=12, context_length=7, isolate_documents=isolate, **options)
    for index, count in ((0, 2), (2, 3), (5, 12)):
        whole = there.at(index)
        for rank in range(count):
            own, targets = there.share(index, RowShare(rank, count))
            assert equal(own, RowShare(rank, count).of(whole))
            assert targets == int((whole.targets >= 0).sum())


class CountedArray(np.ndarray):
    """Counts the elements that are read by index."""

    read = 0

    def __getitem__(self, places: Any) -> Any:
        CountedArray.read += np.size(places)
        return np.asarray(self)[places]


@pytest.mark.parametrize(
    "options, most",
    [
        ({}, 2.0),  # an input and a target
        ({"objective": "masked-token", "mask_id": 7, "mask_fraction": 0.1}, 4.0),
    ],
)
def test_a_share_reads_no_other_rows(options: dict[str, Any], most: float) -> None:
    store = store_of(40, 2000)
    store = replace(store, tokens=store.tokens.view(CountedArray))
    there = batches(store, batch_size=64, **options)
    there.share(0, RowShare(1, 16))
    CountedArray.read = 0
    there.share(1, RowShare(3, 16))
    assert 0 < CountedArray.read <= most * 4 * 8  # 4 of 64 rows of 8 tokens


def test_shapes_and_types() -> None:
    plain = batches(store_of(100)).at(3)
    assert plain.tokens.shape == plain.targets.shape == (4, 8)
    assert plain.tokens.dtype == plain.targets.dtype == torch.int64
    assert plain.documents is None and plain.positions is None
    packed = batches(store_of(100), isolate_documents=True).at(3)
    assert packed.documents.dtype == packed.positions.dtype == torch.int64
    assert packed.documents.shape == packed.positions.shape == (4, 8)


def test_targets_are_the_next_tokens_around_the_ring() -> None:
    store = store_of(30, 43)
    after = dict(zip(store.tokens.tolist(), np.roll(store.tokens, -1).tolist(), strict=True))
    after[END] = None  # two ends, two successors
    for index in range(40):
        batch = batches(store).at(index)
        for token, target in zip(batch.tokens.flatten(), batch.targets.flatten(), strict=True):
            assert target in ((30, 0) if token == END else (after[int(token)],))


@given(st.integers(9, 200), st.integers(1, 8), st.integers(1, 9), st.integers(0, 2**31))
def test_an_epoch_takes_each_window_once(
    length: int, context: int, batch_size: int, seed: int
) -> None:
    store = store_of(length)
    made = batches(store, context_length=context, batch_size=batch_size, seed=seed)
    windows = made.windows_per_epoch
    assert windows == length // context
    rows = [row for index in range(-(-2 * windows // batch_size)) for row in made.at(index).tokens]
    for epoch in (rows[:windows], rows[windows : 2 * windows]):
        seen = torch.cat(epoch).tolist()
        assert len(seen) == len(set(seen)) == windows * context


def test_epochs_differ_in_offset_and_order() -> None:
    made = batches(store_of(800), batch_size=100)
    firsts = [made.at(epoch).tokens[:, 0] for epoch in range(20)]
    assert len({int(first[0]) % 8 for first in firsts}) > 3
    orders = {tuple((first // 8).tolist()) for first in firsts}
    assert len(orders) == 20
    assert not any(list(order) == sorted(order) for order in orders)


def test_epoch_counts_up() -> None:
    made = batches(store_of(800), batch_size=25)
    assert [made.epoch(index) for index in (0, 1, 4, 6)] == [0.0, 0.25, 1.0, 1.5]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(0, 1000))
def test_packed_documents_and_positions(lengths: list[int], seed: int) -> None:
    store = store_of(*lengths)
    if len(store) <= 8:
        return
    batch = batches(store, isolate_documents=True, seed=seed).at(0)
    for tokens, documents, positions in zip(
        batch.tokens, batch.documents, batch.positions, strict=True
    ):
        document, position = int(documents[0]), 0
        for column in range(8):
            # An end of text opens the document after it.
            if tokens[column] == END:
                position = 0
                document += column > 0
            assert (documents[column], positions[column]) == (document, position)
            position += 1


def test_every_token_is_predicted_from_its_own_document() -> None:
    lengths = (5, 1, 12, 7)
    store = store_of(*lengths)
    owner = np.repeat(np.arange(len(lengths)), lengths)  # of each token, its end included
    batch, _ = next(evaluation_batches(store, len(store), 1, isolate_documents=True))
    changes = np.flatnonzero(np.diff(batch.documents[0].numpy()))
    # The document of an input is that of its target.
    assert changes.tolist() == np.flatnonzero(np.diff(owner)).tolist()
    assert batch.positions[0].tolist() == [p for length in lengths for p in range(length)]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=9), st.integers(1, 30), st.integers(1, 5))
def test_evaluation_predicts_every_token_once_in_order(
    lengths: list[int], context: int, batch_size: int
) -> None:
    store = store_of(*lengths)
    out = [batch for batch, _ in evaluation_batches(store, context, batch_size)]
    targets = torch.cat([batch.targets.flatten() for batch in out])
    assert targets[targets >= 0].tolist() == store.tokens.tolist()
    assert all(batch.tokens.shape[1] == context for batch in out)
    tokens = torch.cat([batch.tokens.flatten() for batch in out])[targets >= 0]
    assert tokens.tolist() == np.roll(store.tokens, 1).tolist()


def test_evaluation_marks_padding() -> None:
    batch, _ = next(evaluation_batches(store_of(5), 8, 2, isolate_documents=True))
    assert (batch.documents == -1).tolist() == [[False] * 5 + [True] * 3]
    masked, _ = next(evaluation_batches(store_of(5), 8, 2, objective="masked-token", mask_id=7))
    assert masked.documents.tolist() == [[0] * 5 + [-1] * 3]
    assert (masked.targets[0, [0, 5, 6, 7]] == -1).all()


@pytest.mark.parametrize("objective", ["next-token", "masked-token"])
@pytest.mark.parametrize("isolate", [False, True])
def test_the_first_window_reads_the_end_of_text_before_the_first_document(
    objective: Any, isolate: bool
) -> None:
    whole = store_of(12, 9)
    cut = replace(whole, tokens=whole.tokens[:18])
    two_cut = replace(cut, tokens=np.delete(cut.tokens, 11), starts=np.array([0, 11]))
    for store in (whole, cut, two_cut):
        options = {"objective": objective, "mask_id": 7, "isolate_documents": isolate}
        ((batch, _),) = evaluation_batches(store, 24, 1, **options)
        read = torch.where(batch.targets >= 0, batch.targets, batch.tokens)  # of masked tokens
        read = batch.tokens if objective == "next-token" else read
        for start in store.starts.tolist():
            assert read[0, start] == END
            assert batch.positions is None or batch.positions[0, start] == 0
        targets = batch.targets[batch.targets >= 0].tolist()
        if objective == "next-token":
            assert targets == store.tokens.tolist()  # a document that is cut is asked for as it is
        else:
            assert targets and END not in targets


def masked_batches(fraction: float) -> list[Batch]:
    made = batches(
        store_of(400, 500),
        context_length=50,
        batch_size=50,
        objective="masked-token",
        mask_id=END + 1,
        mask_fraction=fraction,
    )
    return [made.at(index) for index in range(40)]


@pytest.mark.parametrize("fraction", [0.15, 0.4])
def test_masked_token_rates(fraction: float) -> None:
    out = masked_batches(fraction)
    tokens, targets = (torch.cat([getattr(b, n) for b in out]) for n in ("tokens", "targets"))
    chosen = targets >= 0
    among = tokens[chosen], targets[chosen]
    # 100,000 tokens, 15,000 chosen: five standard deviations of each share.
    assert chosen.float().mean() == pytest.approx(fraction, abs=0.008)
    assert (among[0] == END + 1).float().mean() == pytest.approx(0.8, abs=0.017)
    assert (among[0] == among[1]).float().mean() == pytest.approx(0.1, abs=0.013)
    assert END not in among[1]


def test_masks_are_drawn_anew_for_every_batch() -> None:
    out = masked_batches(0.15)
    places = {tuple((batch.targets >= 0).flatten().tolist()) for batch in out}
    assert len(places) == len(out)


def test_masked_tokens_elsewhere_are_as_they_were() -> None:
    store = store_of(400, 500)
    for batch in masked_batches(0.15)[:5]:
        restored = torch.where(batch.targets >= 0, batch.targets, batch.tokens)
        steps = (restored[:, 1:] - restored[:, :-1])[
            (restored[:, 1:] != END) & (restored[:, :-1] != END)
        ]
        assert set(steps.tolist()) == {1}
    assert store.end_of_text == END


def test_at_least_one_token_is_masked() -> None:
    made = batches(
        store_of(100),
        context_length=2,
        batch_size=1,
        objective="masked-token",
        mask_id=0,
        mask_fraction=1e-9,
    )
    assert all((made.at(index).targets >= 0).sum() == 1 for index in range(40))


def test_bad_input() -> None:
    def message(**options: Any) -> str:
        with pytest.raises(BadInput) as caught:
            batches(store_of(8), **options)
        return f"{caught.value.code}: {caught.value}"

    assert message().startswith("text.shorter-than-context: the text has 8 tokens")
    assert message().endswith("a context of at most 7")
    assert message(seed=-1).startswith("text.batch-arguments: ") and "seed -1" in message(seed=-1)
    short = {"context_length": 7}
    assert message(**short, objective="next").startswith("text.unknown-objective: ")
    assert message(**short, objective="masked-token").startswith("text.no-mask-token: ")
    assert message(**short, mask_fraction=0.0).startswith("text.mask-fraction: mask fraction 0 ")
