"""How the modelling file reads masks, positions and caches, against the model itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from random_weights import random_model
from safetensors.torch import save_file

from wordorder.batch import Batch
from wordorder.model import LanguageModel, block
from wordorder.model.config import EMBEDDING_STD

transformers = pytest.importorskip("transformers")

from wordorder.interop.huggingface.own_code.configuration_wordorder import (  # noqa: E402
    WordorderConfig,
)
from wordorder.interop.huggingface.own_code.modelling_wordorder import (  # noqa: E402
    WordorderForCausalLM,
)

TOLERANCE = 1e-5
TOKENS = torch.randint(50, (2, 12), generator=torch.Generator().manual_seed(2))
POSITIONS = ["kerple", "rotary+alibi", "forgetting", "learned", "path"]


def both(position: str, **options: Any) -> tuple[Any, Any]:
    """A model, and the same weights in the modelling file."""
    ours = random_model(50, position=position, trained_length=16, **options)
    theirs = WordorderForCausalLM(WordorderConfig(**asdict(ours.config)))
    theirs.model.load_state_dict(ours.state_dict())
    return ours, theirs.eval()


@pytest.mark.parametrize("position", POSITIONS)
@torch.no_grad()
def test_padding_on_either_side_changes_nothing(position: str) -> None:
    ours, theirs = both(position)
    expected = ours(TOKENS[1:, :8])[0]
    for real in (slice(0, 8), slice(4, 12), slice(2, 10)):
        tokens, mask = TOKENS.clone(), torch.zeros_like(TOKENS)
        tokens[1, real], mask[1, real], mask[0] = TOKENS[1, :8], 1, 1
        logits = theirs(tokens, attention_mask=mask).logits[1, real]
        assert (logits - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("position", POSITIONS[:3])
@torch.no_grad()
def test_a_gap_in_the_mask_is_a_gap_in_the_indices_alone(position: str) -> None:
    """What is hidden in the middle takes no position, as transformers counts them."""
    ours, theirs = both(position)
    mask = torch.ones(1, 12, dtype=torch.long)
    mask[:, 4:7] = 0
    logits = theirs(TOKENS[:1], attention_mask=mask).logits[mask == 1]
    if position == "forgetting":  # has no positions, but gates, which hidden tokens have too
        documents = torch.where(mask == 1, 0, -1)
        expected = ours(Batch(TOKENS[:1], documents=documents))[mask == 1]
    else:
        expected = ours(TOKENS[:1, mask[0] == 1])[0]
    assert (logits - expected).abs().max() < TOLERANCE


@torch.no_grad()
def test_positions_may_be_chosen() -> None:
    ours, theirs = both("rotary")
    positions = torch.arange(12)[None] * 3
    expected = ours(Batch(TOKENS, positions=positions))
    assert (theirs(TOKENS, position_ids=positions).logits - expected).abs().max() < TOLERANCE
    assert (expected - ours(TOKENS)).abs().max() > 0.1


@pytest.mark.parametrize("position", POSITIONS)
@torch.no_grad()
def test_a_cache_continues_without_a_mask(position: str) -> None:
    ours, theirs = both(position)
    expected = ours(TOKENS)
    start = theirs(TOKENS[:, :5], use_cache=True)
    assert start.past_key_values.get_seq_length() == 5
    rest = theirs(TOKENS[:, 5:], past_key_values=start.past_key_values)
    logits = torch.cat((start.logits, rest.logits), 1)
    assert (logits - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("position", POSITIONS)
@torch.no_grad()
def test_sequences_of_a_cache_are_reordered_whole(position: str) -> None:
    ours, theirs = both(position)
    mask = torch.ones_like(TOKENS)
    mask[1, :3] = 0
    start = theirs(TOKENS[:, :9], attention_mask=mask[:, :9], use_cache=True)
    order = torch.tensor([1, 1])
    start.past_key_values.reorder_cache(order)
    rest = theirs(
        TOKENS[order, 9:], attention_mask=mask[order], past_key_values=start.past_key_values
    )
    expected = ours(TOKENS[1:, 3:])[0, 6:]
    assert (rest.logits - expected).abs().max() < TOLERANCE


def test_what_is_refused() -> None:
    _, theirs = both("kerple")
    with pytest.raises(ValueError, match="attention_mask"):
        theirs(TOKENS, attention_mask=torch.ones(2, 7))
    with pytest.raises(ValueError, match="attention_mask"):
        theirs(TOKENS, attention_mask=torch.ones(2, 1, 12, 12))
    others = transformers.DynamicCache()
    others.update(torch.zeros(2, 4, 3, 8), torch.zeros(2, 4, 3, 8), 0)
    with pytest.raises(ValueError, match="past_key_values is a DynamicCache"):
        theirs(TOKENS, past_key_values=others)
    with pytest.raises(ValueError, match="stateful"):
        theirs.generate(TOKENS[:1], assistant_model=theirs, max_new_tokens=2)


def test_an_empty_cache_of_transformers_is_replaced() -> None:
    _, theirs = both("kerple")
    output = theirs(TOKENS, past_key_values=transformers.DynamicCache(), use_cache=True)
    assert output.past_key_values.get_seq_length() == 12


def test_no_cache_is_made_unless_one_is_asked_for() -> None:
    _, theirs = both("kerple")
    assert theirs(TOKENS).past_key_values is None
    theirs.train()
    assert theirs(TOKENS, labels=TOKENS).past_key_values is None


def test_names_of_transformers_are_names_of_the_same_fields() -> None:
    config = WordorderConfig(hidden_size=64, num_attention_heads=4, windows=[4, 0], position="RoPE")
    assert (config.width, config.heads) == (64, 4)
    config.vocab_size = 77
    model = config.model_config()
    assert (model.vocabulary_size, model.windows, model.position) == (77, (4, 0), "rotary")
    assert WordorderConfig.from_dict(config.to_dict()).model_config() == model


def saved(folder: Path, position: str, **options: Any) -> Any:
    """Write the weights of a model; return it."""
    _, theirs = both(position, **options)
    theirs.save_pretrained(folder)
    return theirs


MISSING = ("input.weight", "router.weight", "selection_bias", "embedding.weight", "head.weight")


@pytest.mark.parametrize("position", ["fire+rotary", "learned", "shaw"])
@torch.no_grad()
def test_weights_that_no_file_has_are_drawn_as_in_training(tmp_path: Path, position: str) -> None:
    options = {"experts": 4, "router": "sigmoid", "tied_embeddings": False, "biases": True}
    before = saved(tmp_path, position, **options).state_dict()
    path = tmp_path / "model.safetensors"
    positional = next(name for name in before if ".position." in name)
    kept = {n: v for n, v in before.items() if n != positional and not n.endswith(MISSING)}
    save_file(kept, path, metadata={"format": "pt"})
    # Uninitialised memory may hold zeros or old values.
    after = WordorderForCausalLM.from_pretrained(tmp_path)
    initial = LanguageModel(after.config.model_config())
    initial.initialise(0)
    for name, value in after.state_dict().items():
        if name in kept:
            assert torch.equal(value, kept[name]), name
            continue
        expected = initial.state_dict()[name.removeprefix("model.")]
        if expected.numel() == 1 or expected.std() == 0:
            assert torch.equal(value, expected), name
        else:
            assert 0.7 < value.std() / expected.std() < 1.4, name
            assert not torch.equal(value, before[name]), name


@torch.no_grad()
def test_a_model_of_a_configuration_is_drawn_by_the_seed_of_pytorch() -> None:
    config = WordorderConfig(width=32, layers=2, heads=4, position="fire", vocabulary_size=50)
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(WordorderForCausalLM(config).state_dict())
    initial = [LanguageModel(config.model_config()) for seed in (1, 2)]
    for seed, model in enumerate(initial):
        model.initialise(seed)
    for name, value in initial[0].state_dict().items():
        one, same, other = (model[f"model.{name}"] for model in models)
        assert torch.equal(one, same)
        is_constant = torch.equal(value, initial[1].state_dict()[name])
        assert torch.equal(one, other) == is_constant, name
        assert not is_constant or torch.equal(one, value), name


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_rows_of_new_tokens_are_as_large_as_those_of_training(tmp_path: Path, tied: bool) -> None:
    model = saved(tmp_path, "kerple", tied_embeddings=tied)
    old = model.get_input_embeddings().weight.clone()
    model.resize_token_embeddings(1000, mean_resizing=False)
    tables = [model.get_input_embeddings().weight]
    tables += [] if tied else [model.get_output_embeddings().weight]
    assert torch.equal(tables[0][:50], old)
    changed = WordorderForCausalLM.from_pretrained(
        tmp_path, vocab_size=1000, ignore_mismatched_sizes=True
    )
    for table in (*(table[50:] for table in tables), changed.get_input_embeddings().weight):
        assert 0.9 < table.std() / EMBEDDING_STD < 1.1


def gradients(model: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model.train()(TOKENS, labels=TOKENS).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # a newer name
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"experts": 4}])
def test_gradient_checkpointing_changes_no_gradient(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, theirs = both("kerple", **options)
    counts = []
    run = block.checkpoint
    monkeypatch.setattr(block, "checkpoint", lambda *a, **k: counts.append(1) or run(*a, **k))
    torch.manual_seed(0)
    expected = gradients(theirs)
    theirs.gradient_checkpointing_enable()
    assert theirs.is_gradient_checkpointing and not counts
    torch.manual_seed(0)
    for name, gradient in gradients(theirs).items():
        assert torch.equal(gradient, expected[name]), name
    assert len(counts) == theirs.config.num_hidden_layers
    theirs.gradient_checkpointing_disable()
    gradients(theirs)
    assert not theirs.is_gradient_checkpointing
    assert len(counts) == theirs.config.num_hidden_layers
