"""Positional embeddings of wordorder in models of transformers, and the way back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.interop.huggingface import replace_position
from wordorder.positions import Alibi, ModelShape

transformers = pytest.importorskip("transformers")

HEADS, WIDTH, LENGTH = 4, 64, 32
TOLERANCE = 2e-5
TOKENS = torch.randint(100, (2, 24), generator=torch.Generator().manual_seed(5))
LLAMA_SIZES = {
    "vocab_size": 100,
    "hidden_size": WIDTH,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": LENGTH,
}
GPT2_SIZES = {"vocab_size": 100, "n_positions": LENGTH, "n_embd": WIDTH, "n_layer": 2, "n_head": 4}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def stock(kind: str = "llama", **options: Any) -> Any:
    """A model of transformers with random weights, always the same."""
    sizes = GPT2_SIZES if kind == "gpt2" else LLAMA_SIZES
    if kind == "qwen3":
        sizes = {**sizes, "head_dim": 24}
    config = transformers.AutoConfig.for_model(kind, **{**sizes, **SPECIAL, **options})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # so that positions matter
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    return model


@torch.no_grad()
def logits(model: Any, tokens: Tensor = TOKENS, **options: Any) -> Tensor:
    result: Tensor = model(tokens, **options).logits
    return result


def rope(kind: str, **settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **settings}}


ORIGINAL = {"original_max_position_embeddings": 16}
SAME = {
    "default": (rope("default"), "rotary:base=10000"),
    "base": ({"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}, "rotary:base=500"),
    "linear": (rope("linear", factor=4.0), "rotary:base=10000,scaling=linear,factor=4"),
    "yarn": (
        rope("yarn", factor=4.0, beta_fast=3.0, beta_slow=0.5, **ORIGINAL),
        "rotary:base=10000,scaling=yarn,factor=4,beta_fast=3,beta_slow=0.5,original_length=16",
    ),
    "llama3": (
        rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, **ORIGINAL),
        "rotary:base=10000,scaling=llama3,factor=4,original_length=16",
    ),
}


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("name", SAME)
def test_the_rotary_that_a_model_has_changes_nothing(kind: str, name: str) -> None:
    settings, spec = SAME[name]
    expected = logits(stock(kind, **settings))
    model = stock(kind)
    if name != "default":
        assert (logits(model) - expected).abs().max() > 0.1
    with replace_position(model, spec):
        assert (logits(model) - expected).abs().max() < TOLERANCE


def alibi_mask(dtype: torch.dtype = torch.float32) -> Tensor:
    """ALiBi and the causal mask as the four-dimensional mask that transformers adds to scores."""
    distance = torch.arange(24)[:, None] - torch.arange(24)
    slopes = torch.tensor([2.0 ** (-2 * (h + 1)) for h in range(HEADS)])
    bias = -slopes[:, None, None] * distance
    return bias.masked_fill(distance < 0, torch.finfo(dtype).min)[None]


def test_alibi_is_what_a_bias_without_rotary_gives() -> None:
    free = stock(**rope("linear", factor=1e12), attn_implementation="eager")
    expected = logits(free, TOKENS[:1], attention_mask=alibi_mask())
    model = stock()
    with replace_position(model, "alibi"):
        assert (logits(model, TOKENS[:1]) - expected).abs().max() < TOLERANCE


def test_alibi_takes_the_place_of_the_table_of_gpt2() -> None:
    free = stock("gpt2", attn_implementation="eager")
    with torch.no_grad():
        free.transformer.wpe.weight.zero_()
    expected = logits(free, TOKENS[:1], attention_mask=alibi_mask())
    model = stock("gpt2")
    with replace_position(model, "alibi"):
        assert (logits(model, TOKENS[:1]) - expected).abs().max() < TOLERANCE
        # The table ended here.
        assert logits(model, TOKENS[:1].repeat(1, 2)).shape[1] == 48 > LENGTH


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("spec", ["kerple", "rotary+alibi", "rotary/none", "cope", "none"])
def test_undo_is_exact(kind: str, spec: str) -> None:
    model = stock(kind)
    before, names = logits(model), list(model.state_dict())
    replaced = replace_position(model, spec)
    assert (logits(model) - before).abs().max() > 1e-3
    replaced.undo()
    replaced.undo()
    assert torch.equal(logits(model), before)
    assert list(model.state_dict()) == names
    assert not any("forward" in vars(module) for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_gradients_reach_the_new_weights_and_the_old_ones(kind: str) -> None:
    model = stock(kind)
    with replace_position(model, "kerple") as replaced:
        model(TOKENS, labels=TOKENS).loss.backward()
        new = dict(replaced.position.named_parameters())
        assert new and set(map(id, new.values())) <= set(map(id, model.parameters()))
        for name, parameter in new.items():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    table = ("wpe",)  # has no effect
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == [name for name in dict(model.named_parameters()) if table[0] in name]


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize(
    "spec", ["fire", "rotary:base=100,scaling=dynamic,factor=4,original_length=8", "t5+rotary"]
)
def test_generation_is_the_same_with_a_cache_and_beside_padding(kind: str, spec: str) -> None:
    model = stock(kind)
    rows = TOKENS[:, :10].clamp(min=3)
    mask = torch.ones_like(rows)
    mask[1, :4] = 0
    usual = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0}
    with replace_position(model, spec, context_length=18):
        cached = model.generate(rows, attention_mask=mask, **usual)
        assert torch.equal(
            cached, model.generate(rows, attention_mask=mask, use_cache=False, **usual)
        )
        alone = model.generate(rows[1:, 4:], attention_mask=mask[1:, 4:], **usual)
        assert torch.equal(cached[1:, 4:], alone)
        beams = model.generate(rows, attention_mask=mask, num_beams=3, **usual)
        slow = {"num_beams": 3, "use_cache": False}
        assert torch.equal(beams, model.generate(rows, attention_mask=mask, **slow, **usual))


def test_positions_may_be_chosen() -> None:
    model = stock()
    with replace_position(model, "rotary:base=100"):
        positions = torch.arange(24)[None]
        plain = logits(model)
        assert (logits(model, position_ids=positions + 7) - plain).abs().max() < TOLERANCE
        assert (logits(model, position_ids=positions * 2) - plain).abs().max() > 1e-2
        start = model(TOKENS[:, :4], use_cache=True)
        with pytest.raises(ValueError, match="position_ids"):
            model(
                TOKENS[:, 4:5], past_key_values=start.past_key_values, position_ids=positions[:, :1]
            )


def test_a_base_model_and_a_classifier_are_replaced_too() -> None:
    model = stock()
    whole = replace_position(model, "alibi")
    hidden = model.model(TOKENS).last_hidden_state
    whole.undo()
    with replace_position(model.model, "alibi"):
        assert torch.equal(model.model(TOKENS).last_hidden_state, hidden)


def test_a_mask_of_four_dimensions_is_refused() -> None:
    model = stock()
    with replace_position(model, "alibi"), pytest.raises(ValueError, match="attention_mask"):
        model(TOKENS[:1], attention_mask=alibi_mask())


REFUSED = {
    "interop.replace-in-other-model": ("bert", {}, "alibi"),
    "interop.replace-with-unsupported": ("llama", {}, "learned"),
    "interop.replace-layout": ("llama", {}, "rotary:layout=half"),
    "interop.replace-in-unusual-model": (
        "qwen3",
        {"use_sliding_window": True, "max_window_layers": 0, "sliding_window": 4},
        "alibi",
    ),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_cannot_be_replaced(code: str) -> None:
    kind, options, spec = REFUSED[code]
    if kind == "bert":
        config = transformers.BertConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
        model = transformers.BertModel(config)
    else:
        model = stock(kind, **options)
    with pytest.raises(BadInput) as caught:
        replace_position(model, spec)
    assert caught.value.code == code and "\n" not in str(caught.value)


def test_a_state_is_refused_and_so_is_a_second_replacement() -> None:
    model = stock()
    with pytest.raises(BadInput, match="Forgetting"):
        replace_position(model, "forgetting")
    with replace_position(model, "alibi"):
        with pytest.raises(BadInput) as caught:
            replace_position(model, "alibi")
        assert caught.value.code == "interop.replaced-already"


def test_the_slopes_here_are_those_of_the_embedding() -> None:
    slopes = Alibi(ModelShape(HEADS, 16)).slopes()
    assert slopes.tolist() == [2.0 ** (-2 * (h + 1)) for h in range(HEADS)]
