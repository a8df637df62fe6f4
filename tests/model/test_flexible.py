"""The kernel made from score functions gives what the plain road gives.

A CPU computes it step by step. PyTorch refuses a backward pass there, but has one, which is what
its kernels are held to: with the refusal taken out, slopes are tested without a GPU. On a GPU the
kernels themselves are.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mechanisms import each
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.attention.flex_attention import flex_attention

from wordorder.batch import Batch
from wordorder.model import LanguageModel, flexible_attention
from wordorder.positions import CATALOGUE

pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
    # PyTorch's own, while it follows code.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]
VECTORS = ["fire", "transformer-xl"]
SPECS = [*CATALOGUE, "rotary/none", "learned+alibi", "t5+forgetting"]
# A bias is a table in the kernel, a score a function in it; whole rows are not for it.
QUICK = ["none", "rotary", "pope", "alibi", "t5", "fire", "shaw", "forgetting", "dape"]
QUICK += ["rotary/none", "t5+forgetting"]
SLOPES = ["rotary", "pope", "t5", "shaw", "forgetting", "t5+forgetting"]
DECLARED = {"consecutive": True}
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def one_layer(spec: str) -> dict[str, object]:
    """Two layers are needed for patterns, and for t5, which tests two different masks."""
    return {"windows": (5, 0)} if "/" in spec or spec == "t5" else {"windows": (5,), "layers": 1}


@pytest.mark.parametrize("documents", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("spec", each(SPECS, QUICK))
def test_it_is_the_plain_road(
    make_random: Callable[..., LanguageModel], spec: str, documents: bool
) -> None:
    options = one_layer(spec) if documents else {**one_layer(spec), "windows": ()}
    model = make_random(spec, **options)
    tokens = torch.randint(40, (2, 14), generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[0] * 6 + [1] * 8, [0] * 3 + [1] * 9 + [-1] * 2]) if documents else None
    found = {}
    with torch.inference_mode():
        for kernel in ("plain", "flex"):
            model.attention_kernel = kernel
            given = {"positions": restarting(ids), **DECLARED} if documents else {}
            found[kernel] = model(Batch(tokens, documents=ids, **given))
    torch.testing.assert_close(found["flex"], found["plain"], **CLOSE)


FALLING = [2, 9, 4, 0, 7, 30, 1, 31, 5, 3, 12, 8, 6, 11]


@pytest.mark.parametrize(
    "spec", each(["t5 in order", *SPECS], ["t5 in order", "alibi", "shaw", "forgetting"])
)
@torch.inference_mode()
def test_after_a_cache_it_is_the_plain_road(
    make_random: Callable[..., LanguageModel], spec: str
) -> None:
    """Queries are not the first keys, and positions may fall: scores and masks are of slots."""
    spec, *in_order = spec.split(" ", 1)
    model = make_random(spec, **one_layer(spec))
    tokens = torch.randint(40, (2, 14), generator=torch.Generator().manual_seed(0))
    places = [None, None] if in_order else torch.tensor([FALLING]).split((6, 8), 1)
    found = {}
    for kernel in ("plain", "flex"):
        cache, model.attention_kernel = model.new_cache(), kernel
        pieces = tokens.split((6, 8), 1)
        read = [
            model(Batch(p, positions=at), cache=cache) for p, at in zip(pieces, places, strict=True)
        ]
        found[kernel] = torch.cat(read, 1)
    torch.testing.assert_close(found["flex"], found["plain"], **CLOSE)


def restarting(documents: torch.Tensor) -> torch.Tensor:
    """Return positions as training feeds them: they restart where a document ends."""
    places = torch.arange(documents.shape[1]).expand_as(documents)
    ends = documents.diff(dim=1, prepend=documents[:, :1]) != 0
    return places - torch.where(ends, places, 0).cummax(1).values


def slopes(model: LanguageModel, documents: torch.Tensor | None = None) -> dict[str, list]:
    """Return the slopes of all weights, by kernel."""
    device = next(model.parameters()).device
    tokens = torch.randint(40, (2, 14), generator=torch.Generator().manual_seed(0)).to(device)
    found = {}
    for kernel in ("plain", "flex"):
        model.attention_kernel = kernel
        model.zero_grad()
        given = {} if documents is None else {"positions": restarting(documents), **DECLARED}
        losses = model(Batch(tokens, tokens.roll(-1, 1), documents=documents, **given))
        losses.mean().backward()
        found[kernel] = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return found


@pytest.mark.parametrize(
    ("spec", "documents"),
    [
        *((spec, True) for spec in SLOPES),
        pytest.param("t5", False, marks=pytest.mark.slow),
        *(
            pytest.param(s, True, marks=pytest.mark.slow)
            for s in SPECS
            if s not in [*VECTORS, *SLOPES]
        ),
    ],
)
def test_its_slopes_are_those_of_the_plain_road(
    make_random: Callable[..., LanguageModel],
    monkeypatch: pytest.MonkeyPatch,
    spec: str,
    documents: bool,
) -> None:
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_validate_device", lambda *_: None)
    model = make_random(spec, **one_layer(spec))
    found = slopes(model, torch.tensor([[0] * 6 + [1] * 8, [0] * 14]) if documents else None)
    for ours, theirs in zip(found["flex"], found["plain"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", each(VECTORS, ["fire"]))
def test_scores_made_of_vectors_are_refused(
    make_random: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_validate_device", lambda *_: None)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        slopes(make_random(spec, layers=1))


def test_one_kernel_serves_all_layers_and_steps(
    make_random: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = CompileCounterWithBackend("aot_eager")
    kernel = torch.compile(flex_attention, backend=counted)
    monkeypatch.setattr(flexible_attention, "flex_attention", kernel)
    model = make_random("alibi", layers=4)
    model.attention_kernel = "flex"
    tokens = torch.randint(40, (2, 14))
    with torch.inference_mode():
        for step in range(3):
            model((tokens + step) % 40)
        assert counted.frame_count == 1
        model(tokens[:, :9])
        model(tokens[:, :7])
    assert counted.frame_count == 2  # of any length


@pytest.mark.parametrize(
    ("spec", "documents", "windows"),
    [pytest.param("t5", True, (5, 7), marks=pytest.mark.slow), ("forgetting", False, (5,))],
)
def test_code_compiled_as_a_whole_has_the_kernel_in_it(
    make_random: Callable[..., LanguageModel], spec: str, documents: bool, windows: tuple
) -> None:
    """In t5 two layers, whose masks the compiler once took for one another."""
    model = make_random(spec, windows=windows, layers=len(windows))
    tokens = torch.randint(40, (2, 14), generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[0] * 6 + [1] * 8, [0] * 9 + [1] * 5])
    given = {"documents": ids, "positions": restarting(ids), **DECLARED} if documents else {}
    torch._dynamo.reset()
    counted = CompileCounterWithBackend("eager")
    with torch.no_grad():
        expected = model(Batch(tokens, **given))
        model.attention_kernel = "flex"
        found = torch.compile(model.forward, backend=counted, fullgraph=True)(
            Batch(tokens, **given)
        )
    torch.testing.assert_close(found, expected, **CLOSE)
    assert counted.frame_count == 1
