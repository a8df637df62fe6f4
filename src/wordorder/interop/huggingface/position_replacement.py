"""A positional embedding of wordorder in a Llama, Qwen3 or GPT-2 of transformers, in memory.

Each attention layer gets another `forward`, which projects as its own does and then attends as
wordorder's model does, with masks, kernels and embeddings of wordorder. The cache of transformers
keeps keys that no embedding has transformed; they are transformed whenever they are read.

Llama and Qwen3 keep the two numbers that rotary turns half a head apart, wordorder next to each
other. Queries and keys are put in that order, in which every embedding that turns pairs turns the
pairs that the weights were trained for; scores of other embeddings do not depend on it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.model.context import LayerContext, layer_contexts
from wordorder.positions import Composed, ModelShape, Rotary, TokenLayout, build

from .padding import PaddedTokens, are_equal

NAME = "wordorder_position"  # of the embedding among the model's modules
# Hooks that need more than queries, keys, positions and the mask.
UNSUPPORTED = {
    "embed": "is added to the word vectors",
    "state": "keeps a state of every token, for which transformers' cache has no place",
}


class StockFamily(NamedTuple):
    """Where a family of transformers has what is replaced.

    Args:
        attentions: returns the attention module of each layer.
        project: returns queries, keys and values (batch, heads, time, head_dim) of hidden states.
        output: the name of the output projection.
        is_half_split: rotary turns dimensions that are half a head apart.
        tables: names of the base model's modules that add positions to word vectors.
    """

    attentions: Callable[[Any], list[Any]]
    project: Callable[[Any, Tensor], tuple[Tensor, Tensor, Tensor]]
    output: str
    is_half_split: bool
    tables: tuple[str, ...] = ()


def _llama_projections(attention: Any, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    queries, keys, values = (
        projection(hidden).unflatten(-1, (-1, attention.head_dim))
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    if hasattr(attention, "q_norm"):
        queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    return queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)


def _gpt2_projections(attention: Any, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    queries, keys, values = (
        part.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for part in attention.c_attn(hidden).split(attention.split_size, dim=2)
    )
    return queries, keys, values


LLAMA = StockFamily(
    lambda base: [layer.self_attn for layer in base.layers], _llama_projections, "o_proj", True
)
GPT2 = StockFamily(
    lambda base: [block.attn for block in base.h], _gpt2_projections, "c_proj", False, ("wpe",)
)
# By the class of the model without its output layer.
STOCK = {"LlamaModel": LLAMA, "Qwen3Model": LLAMA, "GPT2Model": GPT2}


def replace_position(model: Any, spec: str, *, context_length: int = 0) -> ReplacedPosition:
    """Replace the positional embedding of a Llama, Qwen3 or GPT-2 of transformers by a spec's.

    The model's own embedding, rotary or GPT-2's table, has no effect until `undo`. Weights that
    the new embedding has are new, and parameters of the model as long as it is there.

        with replace_position(model, "rotary:base=500000,scaling=yarn,factor=4"):
            model.generate(**tokens)

    Args:
        model: in memory; also one with another output layer, such as a classifier.
        spec: rotary with any scaling, a bias, or a sum or pattern over layers. Frequencies that
            depend on the trained length take the model's, before any scaling of its own.
        context_length: the length that length-dependent scaling uses; 0: the tokens so far.

    Raises:
        BadInput: another model; an embedding that acts at the input or keeps a state; a model
            with sliding windows, cross-attention or another scale of scores; one that is replaced
            already.

    Not here: dropout of attention weights, and `output_attentions`.
    """
    base = model.base_model
    family = _family(base)
    position = _embeddings(base.config, spec, family)
    return ReplacedPosition(base, family, position, context_length)


def _family(base: Any) -> StockFamily:
    """Return where a model has what is replaced.

    Raises:
        BadInput: a model in which it cannot be replaced.
    """
    name = type(base).__name__
    if name not in STOCK or not type(base).__module__.startswith("transformers.models."):
        raise BadInput(
            f"cannot replace the positional embedding of a {name}: give one of {', '.join(STOCK)}, "
            "or a model that has one",
            code="interop.replace-in-other-model",
        )
    if NAME in dict(base.named_children()):
        raise BadInput(
            "the positional embedding of this model is replaced already: undo that first",
            code="interop.replaced-already",
        )
    family = STOCK[name]
    config = base.config
    layer_types = getattr(config, "layer_types", None) or ()
    unusual = {
        "sliding windows": any(kind != "full_attention" for kind in layer_types),
        "cross-attention": bool(getattr(config, "add_cross_attention", False)),
        "another scale of scores": any(
            each.scaling != each.head_dim**-0.5 for each in family.attentions(base)
        ),
    }
    for feature, is_there in unusual.items():
        if is_there:
            raise BadInput(
                f"cannot replace the positional embedding of a {name} with {feature}",
                code="interop.replace-in-unusual-model",
            )
    return family


def _embeddings(config: Any, spec: str, family: StockFamily) -> Composed:
    """Return the embeddings of a spec for a model of transformers.

    Raises:
        BadInput: one that transformers' models have no place for.
    """
    heads = config.num_attention_heads
    rope = getattr(config, "rope_parameters", None) or {}
    trained = rope.get("original_max_position_embeddings") or config.max_position_embeddings
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    shape = ModelShape(heads, head_dim, config.hidden_size, config.num_hidden_layers, trained)
    position = build(spec, shape)
    for each in position.embeddings:
        for hook in UNSUPPORTED.keys() & each.active_hooks():
            raise BadInput(
                f"{type(each).__name__} {UNSUPPORTED[hook]}: use rotary, a bias, or a sum of these",
                code="interop.replace-with-unsupported",
            )
        if family.is_half_split and isinstance(each, Rotary) and each.layout == "half":
            raise BadInput(
                "layout=half is how this model keeps its weights, which is taken care of: leave "
                "it out",
                code="interop.replace-layout",
            )
    return position


class ReplacedPosition:
    """A replaced positional embedding, until `undo`; a context manager that undoes it at its end.

    Attributes:
        position: the embeddings, one of the model's modules.
    """

    def __init__(
        self, base: Any, family: StockFamily, position: Composed, context_length: int
    ) -> None:
        self.position = position.to(base.device)
        self._base, self._family, self._context_length = base, family, context_length
        self._contexts: list[LayerContext] = []
        self._signature = inspect.signature(type(base).forward)
        self._attentions = family.attentions(base)
        base.add_module(NAME, self.position)
        self._hook = base.register_forward_pre_hook(self._prepare, with_kwargs=True)
        for index, attention in enumerate(self._attentions):
            attention.forward = _AttentionForward(self, index)
        for name in family.tables:
            table = getattr(base, name)
            table.forward = _Zeros(table.weight.shape[1], table.weight.dtype)

    def undo(self) -> None:
        """Give the model its own positional embedding back; the second time nothing happens."""
        if NAME not in dict(self._base.named_children()):
            return
        delattr(self._base, NAME)
        self._hook.remove()
        for module in (*self._attentions, *(getattr(self._base, n) for n in self._family.tables)):
            del module.forward  # of this instance: that of its class is back

    def __enter__(self) -> ReplacedPosition:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()

    def attend(self, index: int, hidden: Tensor, past: Any) -> tuple[Tensor, None]:
        """Return the output of an attention layer, (batch, time, width), and no weights."""
        attention, family = self._attentions[index], self._family
        queries, keys, values = family.project(attention, hidden)
        if family.is_half_split:
            queries, keys = _interleaved(queries), _interleaved(keys)
        cache = None if past is None else _LayerOfCache(past, attention.layer_idx)
        attended = self._contexts[index].attend(hidden, queries, keys, values, cache)
        output = getattr(attention, family.output)(attended.transpose(1, 2).flatten(-2))
        if hasattr(attention, "resid_dropout"):
            output = attention.resid_dropout(output)
        return output, None

    def _prepare(self, base: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Prepare masks and tables for all layers, before the base model runs."""
        inputs = self._signature.bind_partial(base, *args, **kwargs).arguments
        inputs |= inputs.pop("kwargs", {})
        tokens = inputs.get("input_ids")
        if tokens is None:
            tokens = inputs["inputs_embeds"]
        past = inputs.get("past_key_values")
        layout = self._layout(
            tokens,
            0 if past is None else past.get_seq_length(),
            inputs.get("attention_mask"),
            inputs.get("position_ids"),
        )
        windows = [None] * len(self._attentions)
        self._contexts = layer_contexts(self.position, layout, windows, base.dtype)

    def _layout(
        self, tokens: Tensor, before: int, mask: Tensor | None, position_ids: Tensor | None
    ) -> TokenLayout:
        """Return the layout of new tokens after `before` cached ones."""
        time = tokens.shape[1]
        total = before + time
        documents, consecutive = None, True
        positions = torch.arange(total, device=tokens.device)[None]
        if mask is not None:
            if mask.shape != (len(tokens), total):
                raise ValueError(
                    f"attention_mask has the shape {tuple(mask.shape)}: with a replaced "
                    f"positional embedding it must be {(len(tokens), total)}"
                )
            if (padded := PaddedTokens.of(mask.to(tokens.device))) is not None:
                documents, positions, consecutive = padded
        new = slice(before, total)
        of_queries = None if documents is None else documents[:, new]
        if position_ids is not None and not are_equal(
            position_ids.to(tokens.device), positions[:, new], of_queries
        ):
            if before:
                raise ValueError(
                    "position_ids differ from those of the attention mask: with a replaced "
                    "positional embedding and a cache they cannot be chosen"
                )
            positions, consecutive = position_ids.to(tokens.device), False
        return TokenLayout(
            positions[:, new],
            positions,
            torch.arange(before, total, device=tokens.device),
            of_queries,
            documents,
            self._context_length or total,
            causal=True,
            consecutive=consecutive,
            trailing=True,
            self_attention=not before,
        )


class _AttentionForward:
    """The `forward` of an attention layer, as transformers' layers call it."""

    def __init__(self, replaced: ReplacedPosition, index: int) -> None:
        self.replaced, self.index = replaced, index

    def __call__(
        self, hidden_states: Tensor, *, past_key_values: Any = None, **others: Any
    ) -> tuple[Tensor, None]:
        return self.replaced.attend(self.index, hidden_states, past_key_values)


class _Zeros:
    """The `forward` of a table of positions that adds nothing."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        self.width, self.dtype = width, dtype

    def __call__(self, positions: Tensor) -> Tensor:
        return torch.zeros(*positions.shape, self.width, dtype=self.dtype, device=positions.device)


class _LayerOfCache:
    """A layer of transformers' cache, as wordorder's attention uses one."""

    rotated = False
    state = None

    def __init__(self, cache: Any, layer: int) -> None:
        self.cache, self.layer = cache, layer

    def append(self, keys: Tensor, values: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Append new tokens, and return the keys and values of all tokens."""
        expected = self.cache.get_seq_length(self.layer) + keys.shape[2]
        keys, values = self.cache.update(keys, values, self.layer)
        if keys.shape[2] != expected:
            raise ValueError(
                f"a {type(self.cache).__name__} returns more or fewer keys than there are tokens: "
                "with a replaced positional embedding use a DynamicCache"
            )
        return keys, values, state


def _interleaved(x: Tensor) -> Tensor:
    """Return heads with dimensions i and i + half next to each other: 0 1 2 3 -> 0 2 1 3."""
    return torch.stack(x.chunk(2, dim=-1), dim=-1).flatten(-2)
