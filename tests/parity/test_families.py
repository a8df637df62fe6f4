"""The same weights give the same logits in transformers' models of seven families.

Nothing is downloaded: the models are made from configurations and filled with ours,
whose every weight is random. Compared past the trained length too, with the gradients
of the loss, so that the backward passes written out here are held to autograd's.

Two layouts differ. Rotary dimensions are interleaved here and half-split there, which
permutes the rows of query and key projections, their biases and their norms' weights.
And queries, keys and values are one matrix in GPT-2 and MPT, and one by heads in
GPT-NeoX and BLOOM.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wordorder.batch import Batch
from wordorder.model import LanguageModel, ModelConfig

transformers = pytest.importorskip("transformers")

# Logits spread by 1 to 6, and float32 sums are in another order on the two sides.
CLOSE = 1e-4
TRAINED, PAST = 16, 40
VOCABULARY = 50

GPT = {"norm": "layer", "norm_epsilon": 1e-5, "biases": True, "qk_norm": False}
LAYERS = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "attention.output": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
GPT_LAYERS = {
    "bloom": {
        "attention_norm": "input_layernorm",
        "fused": "self_attention.query_key_value",
        "attention.output": "self_attention.dense",
        "feed_forward_norm": "post_attention_layernorm",
        "feed_forward.up": "mlp.dense_h_to_4h",
        "feed_forward.down": "mlp.dense_4h_to_h",
    },
    "gpt2": {
        "attention_norm": "ln_1",
        "fused": "attn.c_attn",
        "attention.output": "attn.c_proj",
        "feed_forward_norm": "ln_2",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
    },
    "mpt": {
        "attention_norm": "norm_1",
        "fused": "attn.Wqkv",
        "attention.output": "attn.out_proj",
        "feed_forward_norm": "norm_2",
        "feed_forward.up": "ffn.up_proj",
        "feed_forward.down": "ffn.down_proj",
    },
    "bert": {
        "attention.query": "attention.self.query",
        "attention.key": "attention.self.key",
        "attention.value": "attention.self.value",
        "attention.output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "feed_forward.up": "intermediate.dense",
        "feed_forward.down": "output.dense",
        "feed_forward_norm": "output.LayerNorm",
    },
}
GPT_LAYERS["gpt_neox"] = {
    ours: theirs.replace("self_attention", "attention")
    for ours, theirs in GPT_LAYERS["bloom"].items()
}


def random_model(**options: object) -> LanguageModel:
    sizes = {"vocabulary_size": VOCABULARY, "width": 32, "layers": 2, "heads": 4}
    sizes["embedding_scale"] = 1.0  # none of these families multiplies its words
    model = LanguageModel(ModelConfig(**{**sizes, "trained_length": TRAINED, **options}))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() < 2:
                parameter.copy_(0.3 * noise + name.endswith("weight"))
            else:
                words = name.startswith(("embedding.", "position."))
                parameter.copy_(noise if words else noise * parameter.shape[1] ** -0.5)
    return model.eval()


def layer(model: LanguageModel, index: int) -> dict[str, Tensor]:
    """The weights of one layer by their names here, without `blocks.N.`."""
    prefix = f"blocks.{index}."
    parts = (part for part in model.parts() if part.name.startswith(prefix))
    return {part.name.removeprefix(prefix): part.value for part in parts}


def half_split(weight: Tensor, head_dim: int, turned: int) -> Tensor:
    """The first `turned` rows of each head: all firsts of the pairs, then all seconds."""
    heads = weight.unflatten(0, (-1, head_dim))
    order = [*range(0, turned, 2), *range(1, turned, 2), *range(turned, head_dim)]
    return heads[:, order].flatten(0, 1)


def in_halves(own: dict[str, Tensor], head_dim: int, turned: int) -> dict[str, Tensor]:
    rotated = ("attention.query.", "attention.key.", "attention.query_norm.", "attention.key_norm.")
    return {
        name: half_split(value, head_dim, turned) if name.startswith(rotated) else value
        for name, value in own.items()
    }


def fused(own: dict[str, Tensor], head_dim: int, by_heads: bool) -> dict[str, Tensor]:
    """Queries, keys and values as one: head after head, or all queries first."""
    found = {name: v for name, v in own.items() if not name.startswith("attention.")}
    found |= {name: v for name, v in own.items() if name.startswith("attention.output.")}
    for kind in ("weight", "bias"):
        if f"attention.query.{kind}" not in own:
            continue
        parts = [own[f"attention.{part}.{kind}"] for part in ("query", "key", "value")]
        if by_heads:
            heads = torch.stack([part.unflatten(0, (-1, head_dim)) for part in parts], 1)
            found[f"fused.{kind}"] = heads.flatten(0, 2)
        else:
            found[f"fused.{kind}"] = torch.cat(parts)
    return found


def fill(there: nn.Module, weights: dict[str, Tensor], absent: set[str]) -> nn.Module:
    missing, unexpected = there.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= absent
    return there.eval()


def renamed(own: dict[str, Tensor], names: dict[str, str], prefix: str) -> dict[str, Tensor]:
    found = {}
    for name, value in own.items():
        owner, _, kind = name.rpartition(".")
        found[f"{prefix}{names[owner]}.{kind}"] = value
    return found


def as_llama(model: LanguageModel, kind: str, **options: object) -> nn.Module:
    """Qwen3, Llama and SmolLM3, which name everything alike."""
    c = model.config
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=c.vocabulary_size,
        hidden_size=c.width,
        intermediate_size=c.feed_forward_width,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.key_value_heads,
        rms_norm_eps=c.norm_epsilon,
        max_position_embeddings=c.trained_length,
        tie_word_embeddings=c.tied_embeddings,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")),
        attn_implementation="eager",
        **options,
    )
    weights = {
        "model.embed_tokens.weight": model.embedding.weight.data,
        "model.norm.weight": model.final_norm.weight.data,
    }
    if model.head is not None:
        weights["lm_head.weight"] = model.head.weight.data
    for index in range(c.layers):
        turns = model.position.sums[index].parts[0].door == "query-key"
        own = in_halves(layer(model, index), c.head_dim, c.head_dim if turns else 0)
        weights |= renamed(own, LAYERS, f"model.layers.{index}.")
    there = getattr(transformers, f"{kind}ForCausalLM")(config)
    return fill(there, weights, {"lm_head.weight"} if c.tied_embeddings else set())


def qwen3(**options: object) -> tuple[LanguageModel, nn.Module]:
    model = random_model(position="rotary:base=5000", key_value_heads=2, **options)
    c = model.config
    window = max(c.windows, default=0)
    kinds = ["full_attention" if c.window(i) is None else "sliding_attention" for i in range(2)]
    return model, as_llama(
        model,
        "Qwen3",
        head_dim=c.head_dim,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        use_sliding_window=bool(window),
        sliding_window=window or None,
        layer_types=kinds,
    )


def llama() -> tuple[LanguageModel, nn.Module]:
    spec = "rotary:base=10000"
    model = random_model(position=spec, key_value_heads=2, qk_norm=False, tied_embeddings=False)
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    return model, as_llama(model, "Llama", head_dim=8, rope_parameters=rope)


def smollm3() -> tuple[LanguageModel, nn.Module]:
    spec = "rotary:base=20000/rotary:base=20000/rotary:base=20000/none"
    model = random_model(position=spec, key_value_heads=2, qk_norm=False, layers=5)
    rope = {"rope_type": "default", "rope_theta": 20000.0}
    return model, as_llama(model, "SmolLM3", no_rope_layers=[1, 1, 1, 0, 1], rope_parameters=rope)


def gpt2() -> tuple[LanguageModel, nn.Module]:
    model = random_model(position="learned", feed_forward="gelu_tanh", trained_length=PAST, **GPT)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=PAST,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_inner=model.config.feed_forward_width,
        attn_implementation="eager",
    )
    weights = {
        "transformer.wte.weight": model.embedding.weight.data,
        "transformer.wpe.weight": model.position.instances[0].weight.data,
        "transformer.ln_f.weight": model.final_norm.weight.data,
        "transformer.ln_f.bias": model.final_norm.bias.data,
    }
    for index in range(2):
        own = fused(layer(model, index), model.config.head_dim, by_heads=False)
        turned = {n: v.T if v.dim() == 2 else v for n, v in own.items()}  # its Conv1D
        weights |= renamed(turned, GPT_LAYERS["gpt2"], f"transformer.h.{index}.")
    return model, fill(transformers.GPT2LMHeadModel(config), weights, {"lm_head.weight"})


def gpt_neox() -> tuple[LanguageModel, nn.Module]:
    model = random_model(
        position="rotary:fraction=0.25,base=10000",
        feed_forward="gelu",
        parallel_residual=True,
        tied_embeddings=False,
        width=64,
        **GPT,
    )
    config = transformers.GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=model.config.feed_forward_width,
        max_position_embeddings=TRAINED,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25},
        attn_implementation="eager",
    )
    weights = {
        "gpt_neox.embed_in.weight": model.embedding.weight.data,
        "gpt_neox.final_layer_norm.weight": model.final_norm.weight.data,
        "gpt_neox.final_layer_norm.bias": model.final_norm.bias.data,
    }
    for index in range(2):
        own = fused(in_halves(layer(model, index), 16, 4), 16, by_heads=True)
        weights |= renamed(own, GPT_LAYERS["gpt_neox"], f"gpt_neox.layers.{index}.")
    outputs = {"lm_head.weight", "embed_out.weight"}  # the name is another in other versions
    there = fill(transformers.GPTNeoXForCausalLM(config), weights, outputs)
    there.get_output_embeddings().weight.data.copy_(model.head.weight)
    return model, there


def bloom(heads: int) -> tuple[LanguageModel, nn.Module]:
    model = random_model(
        position="alibi",
        feed_forward="gelu_tanh",
        embedding_norm=True,
        heads=heads,
        width=8 * heads,
        feed_forward_width=32 * heads,
        **GPT,
    )
    config = transformers.BloomConfig(
        vocab_size=VOCABULARY,
        hidden_size=8 * heads,
        n_layer=2,
        n_head=heads,
        attn_implementation="eager",
    )
    weights = {"transformer.word_embeddings.weight": model.embedding.weight.data}
    for ours, theirs in (("embedding_norm", "word_embeddings_layernorm"), ("final_norm", "ln_f")):
        for kind in ("weight", "bias"):
            weights[f"transformer.{theirs}.{kind}"] = model.get_parameter(f"{ours}.{kind}").data
    for index in range(2):
        own = fused(layer(model, index), 8, by_heads=True)
        weights |= renamed(own, GPT_LAYERS["bloom"], f"transformer.h.{index}.")
    return model, fill(transformers.BloomForCausalLM(config), weights, {"lm_head.weight"})


def mpt(heads: int) -> tuple[LanguageModel, nn.Module]:
    model = random_model(
        position="alibi",
        feed_forward="gelu",
        heads=heads,
        width=8 * heads,
        feed_forward_width=32 * heads,
        **{**GPT, "biases": False},
    )
    config = transformers.MptConfig(
        vocab_size=VOCABULARY,
        d_model=8 * heads,
        n_heads=heads,
        n_layers=2,
        max_seq_len=PAST,
        attn_implementation="eager",
    )
    weights = {
        "transformer.wte.weight": model.embedding.weight.data,
        "transformer.norm_f.weight": model.final_norm.weight.data,
    }
    for index in range(2):
        own = fused(layer(model, index), 8, by_heads=False)
        weights |= renamed(own, GPT_LAYERS["mpt"], f"transformer.blocks.{index}.")
    return model, fill(transformers.MptForCausalLM(config), weights, {"lm_head.weight"})


FAMILIES: dict[str, Callable[[], tuple[LanguageModel, nn.Module]]] = {
    "qwen3": qwen3,
    "qwen3-windows": lambda: qwen3(windows=(5, 0)),
    "llama": llama,
    "smollm3": smollm3,
    "gpt2": gpt2,
    "gpt-neox": gpt_neox,
    "bloom": lambda: bloom(4),
    "bloom-6-heads": lambda: bloom(6),
    "mpt": lambda: mpt(4),
    "mpt-6-heads": lambda: mpt(6),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_the_same_weights_give_the_same_logits(family: str, kernel: str) -> None:
    ours, theirs = FAMILIES[family]()
    ours.attention_kernel = kernel
    tokens = torch.randint(VOCABULARY, (2, PAST), generator=torch.Generator().manual_seed(2))
    targets = tokens.roll(-1, 1)
    logits = theirs(tokens).logits
    assert logits.std() > 0.5
    torch.testing.assert_close(ours(tokens), logits, atol=CLOSE, rtol=0)
    expected = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    (theirs_slopes,) = torch.autograd.grad(expected, theirs.get_input_embeddings().weight)
    (slopes,) = torch.autograd.grad(ours(Batch(tokens, targets)).mean(), ours.embedding.weight)
    torch.testing.assert_close(slopes, theirs_slopes, atol=CLOSE, rtol=0)


def test_a_bidirectional_model_is_bert() -> None:
    """Its hidden states: BERT's output layer has a transformation of its own before it."""
    model = random_model(
        position="learned",
        feed_forward="gelu",
        norm_placement="after",
        embedding_norm=True,
        causal=False,
        trained_length=PAST,
        **GPT,
    )
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=model.config.feed_forward_width,
        max_position_embeddings=PAST,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        attn_implementation="eager",
    )
    weights = {
        "embeddings.word_embeddings.weight": model.embedding.weight.data,
        "embeddings.position_embeddings.weight": model.position.instances[0].weight.data,
        "embeddings.token_type_embeddings.weight": torch.zeros(1, 32),
        "embeddings.LayerNorm.weight": model.embedding_norm.weight.data,
        "embeddings.LayerNorm.bias": model.embedding_norm.bias.data,
    }
    for index in range(2):
        weights |= renamed(layer(model, index), GPT_LAYERS["bert"], f"encoder.layer.{index}.")
    there = fill(transformers.BertModel(config, add_pooling_layer=False), weights, set())
    tokens = torch.randint(VOCABULARY, (2, PAST), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = there(tokens).last_hidden_state
        torch.testing.assert_close(model.hidden(tokens), expected, atol=CLOSE, rtol=0)
    assert expected.std() > 0.5
