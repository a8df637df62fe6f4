"""A wordorder model as a model of transformers: `forward`, `generate`, `Trainer` and pipelines.

The model itself is `LanguageModel`, unchanged; the classes below translate transformers' arguments
to a batch with positions and documents, and its results to transformers' outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    MaskedLMOutput,
)

from wordorder.batch import Batch
from wordorder.interop.huggingface.own_code.configuration_wordorder import WordorderConfig
from wordorder.interop.huggingface.padding import PaddedTokens, are_equal
from wordorder.model.cache import Cache
from wordorder.model.config import EMBEDDING_STD
from wordorder.model.context import AttentionRecord, Recorder
from wordorder.model.language_model import LanguageModel


class WordorderCache(Cache):
    """The model's cache with the methods that transformers' `generate` calls."""

    is_compileable = False

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of cached tokens."""
        return self.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Replace the sequences of the batch by some of them, (sequences,) int64."""
        self.select(beam_idx)


class WordorderPreTrainedModel(PreTrainedModel):
    """What the three models share: the weights, and how inputs are read.

    Attributes:
        model: the language model.
        gradient_checkpointing: layers are computed again in the backward pass.
    """

    config_class = WordorderConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _supports_sdpa = True
    supports_gradient_checkpointing = True
    # Assisted generation would shorten the cache, and the states of some embeddings are sums.
    _is_stateful = True
    gradient_checkpointing = False

    def __init__(self, config: WordorderConfig) -> None:
        super().__init__(config)
        self.model = LanguageModel(config.model_config())
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw the weights of a module that are not loaded, as wordorder's training does.

        Args:
            module: of the model, or a table or an output layer for another number of tokens.
        """
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        new = [each for each in own if not _is_loaded(each)]
        if not new or new[0].is_meta:
            return
        loaded = [(p, p.clone()) for p in module.parameters(recurse=False) if _is_loaded(p)]
        for each in new:  # the bias of an output layer, and those of the choice of experts
            each.zero_()
        if any(module is each for each in self.model.modules()):
            device = new[0].device
            module.to("cpu")
            self.model.draw_weights(int(torch.randint(1 << 31, (), device="cpu")), module)
            module.to(device)
        else:
            nn.init.normal_(module.weight, std=EMBEDDING_STD)
        for parameter, value in loaded:
            parameter.copy_(value)

    def _set_gradient_checkpointing(
        self, enable: bool = True, *others: Any, every_n_layers: int = 1, **options: Any
    ) -> None:
        """Set which layers are computed again in the backward pass, always without reentry."""
        self.gradient_checkpointing = enable
        for i, block in enumerate(self.model.blocks):
            block.recompute = enable and i % every_n_layers == 0

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.embedding = value

    def read(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        past_key_values: Any,
        inputs_embeds: Tensor | None,
        use_cache: bool,
        context_length: int,
        recorder: _Watch,
    ) -> tuple[Tensor, WordorderCache | None]:
        """Return the final hidden states (batch, time, width), and the cache or None."""
        if input_ids is None or inputs_embeds is not None:
            raise ValueError("this model reads input_ids, not inputs_embeds")
        device = input_ids.device.type
        autocast = torch.is_autocast_enabled(device)
        self.model.compute_dtype = torch.get_autocast_dtype(device) if autocast else self.dtype
        cache = self._cache(past_key_values, use_cache, context_length, input_ids.shape[1])
        batch = self._batch(input_ids, attention_mask, position_ids, cache)
        if cache is None:  # a cache knows its own
            batch = batch._replace(context_length=context_length)
        return self.model.hidden(batch, cache, recorder if recorder.is_wanted else None), cache

    def _cache(
        self, past: Any, use_cache: bool, context_length: int, time: int
    ) -> WordorderCache | None:
        if isinstance(past, WordorderCache):
            return past
        if past is not None and past.get_seq_length():
            raise ValueError(
                f"past_key_values is a {type(past).__name__}: pass what an earlier call returned"
            )
        if not (use_cache and self.config.causal):
            return None
        model = self.model
        return WordorderCache(
            model.position,
            model.config.position,
            model.config.causal,
            context_length=context_length or max(time, model.config.trained_length),
        )

    def _batch(
        self,
        tokens: Tensor,
        mask: Tensor | None,
        position_ids: Tensor | None,
        cache: WordorderCache | None,
    ) -> Batch:
        """Return the batch of some tokens, whose padding is a document of its own.

        Positions are counted from the first token that is not padding.
        """
        time = tokens.shape[1]
        documents, consecutive = None, True
        if cache is not None and cache.length:
            positions = cache.next_positions(tokens)
        else:
            positions = torch.arange(time, device=tokens.device)[None]
        if mask is not None:
            total = time if cache is None else cache.length + time
            if mask.shape != (len(tokens), total):
                raise ValueError(
                    f"attention_mask has the shape {tuple(mask.shape)}: this model reads "
                    f"{(len(tokens), total)}, which covers cached and new tokens"
                )
            if (padded := PaddedTokens.of(mask.to(tokens.device))) is not None:
                documents, positions, consecutive = padded.last(time)
        if position_ids is not None:
            position_ids = position_ids.to(tokens.device)
            if not are_equal(position_ids, positions, documents):
                positions, consecutive = position_ids, False
        return Batch(tokens, documents=documents, positions=positions, consecutive=consecutive)


class WordorderModel(WordorderPreTrainedModel):
    """The model without its output layer."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        context_length: int = 0,
        **options: Any,
    ) -> Any:
        """Return the final hidden states.

        Args:
            input_ids: (batch, time) int64.
            attention_mask: (batch, cached and new tokens), 0 where a token is padding.
            position_ids: (batch or 1, time); by default counted from the first token that is not
                padding.
            past_key_values: earlier tokens, from an earlier call.
            use_cache: return a cache. By default there is none.
            context_length: the length that length-dependent scaling uses; 0: the number of
                tokens, and for a new cache at least the trained length. `generate` passes the
                largest length that it may reach.
        """
        watch = _Watch(self.config, output_attentions, output_hidden_states)
        hidden, cache = self.read(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            inputs_embeds,
            bool(use_cache),
            context_length,
            watch,
        )
        output = BaseModelOutputWithPast(
            last_hidden_state=hidden,
            past_key_values=cache,
            **watch.outputs(hidden),
        )
        return output if returns_dict(self, return_dict) else output.to_tuple()


class _WithOutputLayer(WordorderPreTrainedModel):
    """What the two models with an output layer share.

    Attributes:
        output_class: transformers' output; that of masked models has no cache.
    """

    output_class: Any

    def get_output_embeddings(self) -> nn.Module | None:
        """Return the output layer; None where it is the embedding table itself."""
        return self.model.head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.model.head = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        context_length: int = 0,
        **options: Any,
    ) -> Any:
        """Return logits, and the loss if there are labels; other arguments as in `WordorderModel`.

        Args:
            labels: (batch, time) int64, the tokens themselves, which are shifted here where the
                model is causal; -100 is ignored.
            logits_to_keep: compute the logits of so many last tokens, or of these indices; 0: all.
        """
        watch = _Watch(self.config, output_attentions, output_hidden_states)
        hidden, cache = self.read(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            inputs_embeds,
            bool(use_cache),
            context_length,
            watch,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.model.logits(hidden[:, kept])
        loss = None
        if labels is not None:
            vocabulary = self.config.vocab_size
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=vocabulary, **options
            )
        cached = {} if cache is None else {"past_key_values": cache}
        output = self.output_class(loss=loss, logits=logits, **cached, **watch.outputs(hidden))
        return output if returns_dict(self, return_dict) else output.to_tuple()


class WordorderForCausalLM(_WithOutputLayer, GenerationMixin):
    """The model that predicts the next token."""

    output_class = CausalLMOutputWithPast

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """Return False: `forward` makes the cache, which holds more than keys and values."""
        return False

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *others: Any
    ) -> None:
        """Fix the length that length-dependent scaling uses, with a cache and without."""
        model_kwargs.setdefault("context_length", generation_config.max_length)


class WordorderForMaskedLM(_WithOutputLayer):
    """The model that fills in masked tokens."""

    output_class = MaskedLMOutput


def _is_loaded(tensor: Tensor) -> bool:
    """Return whether transformers has read a weight from a file."""
    return bool(getattr(tensor, "_is_hf_initialized", False))


def returns_dict(model: WordorderPreTrainedModel, return_dict: bool | None) -> bool:
    """Return whether a call returns a named output instead of a tuple."""
    return bool(model.config.return_dict if return_dict is None else return_dict)


class _Watch(Recorder):
    """Records hidden states and attention weights where they are wanted.

    Args:
        config: has the defaults of the other two arguments.
    """

    def __init__(
        self, config: WordorderConfig, attentions: bool | None, states: bool | None
    ) -> None:
        self.wants_attentions = config.output_attentions if attentions is None else attentions
        self.wants_states = config.output_hidden_states if states is None else states
        self.attentions: list[Tensor] = []
        self.states: list[Tensor] = []

    @property
    def is_wanted(self) -> bool:
        """Whether it records anything; a layer that is recorded is not computed again."""
        return bool(self.wants_attentions or self.wants_states)

    def residual(self, layer: int, x: Tensor) -> None:
        if self.wants_states:
            self.states.append(x)

    def attention(self, record: AttentionRecord) -> None:
        if self.wants_attentions:
            self.attentions.append(record.weights()[0])

    def outputs(self, hidden: Tensor) -> dict[str, Any]:
        """Return these fields of transformers' outputs; the last state is the final one."""
        outputs: dict[str, Any] = {}
        if self.wants_states:
            outputs["hidden_states"] = (*self.states[:-1], hidden)
        if self.wants_attentions:
            outputs["attentions"] = tuple(self.attentions)
        return outputs
