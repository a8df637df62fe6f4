"""The fields of a config.json: each must be read, have no effect, or have its default value.

A field that import ignored could change every logit without an error. So a family reads each field
of its class, states the only value that wordorder supports (`fixed`), or leaves it to the list of
fields without effect; `check_unread` raises an error for any other that the class may read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from wordorder.errors import BadInput
from wordorder.model import LanguageModel
from wordorder.settings import formatted

# Of every family: names, tokens, what training or generation reads, and what published files have
# although no class of transformers reads it.
WITHOUT_EFFECT = frozenset(
    "_attn_implementation _attn_implementation_autoset _commit_hash _name_or_path _num_labels "
    "activation_dropout architectures "
    "attention_dropout attention_probs_dropout_prob attn_pdrop bias_dropout_fusion bos_token_id "
    "cache_implementation "
    "chunk_size_feed_forward classifier_dropout directionality dropout dtype embd_pdrop "
    "embed_dropout emb_pdrop "
    "eos_token_id finetuning_task gradient_checkpointing hidden_dropout hidden_dropout_prob "
    "id2label init_device init_std "
    "initializer_range is_llama_config label2id layerdrop mask_token_id max_length model_type "
    "n_special output_attentions "
    "output_hidden_states output_past pad_token_id pooler_fc_size pooler_num_attention_heads "
    "pooler_num_fc_layers pooler_size_per_head pooler_type predict_special_tokens "
    "pretraining_tp problem_type resid_dropout resid_pdrop return_dict "
    "sep_token_id cls_token_id summary_activation summary_first_dropout summary_proj_to_labels "
    "summary_type summary_use_proj task_specific_params tokenizer_class torch_dtype "
    "transformers_version transformers.js_config unk_index unsloth_fixed unsloth_version "
    "use_cache".split()
)
# A field of exports alone, which transformers keeps and does not read.
TRAINED_LENGTH = "trained_length"


class StoredWeights(Protocol):
    """How a class stores the weights of a model."""

    def write(self, model: LanguageModel) -> dict[str, Tensor]:
        """Return the weights of a model under the class's names."""

    def read(
        self, tensors: Mapping[str, Tensor], model: LanguageModel
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights of a model by their names in its state."""

    def copies(self, model: LanguageModel) -> list[tuple[str, str]]:
        """Return names of weights that files may hold again, each with the name of its copy."""


class Imported(NamedTuple):
    """The model that a family reads from a config.json.

    Args:
        options: of ModelConfig.
        weights: how the class stores the weights.
        notes: what is left out, one sentence each.
        has_head: the class has an output layer.
        longest: tokens up to which the class computes logits that can be compared; None: any.
        left_out: regular expression of the names of weights that are left out; None: none.
    """

    options: dict[str, Any]
    weights: StoredWeights
    notes: tuple[str, ...] = ()
    has_head: bool = True
    longest: int | None = None
    left_out: str | None = None


class Fields:
    """The fields of a config.json, and which of them have been read.

    Args:
        values: the fields.
        where: the file, or the field that holds them, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where
        self.unread = set(values) - WITHOUT_EFFECT

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field of any type; the default where it is null or missing."""
        self.unread.discard(name)
        value = self.values.get(name)
        return default if value is None else value

    def integer(self, name: str, default: int | None = None) -> int:
        """Return a field that is a whole number above 0."""
        value = self._needed(name, default)
        if type(value) is not int or value < 1:
            raise self._wrong(name, value, "a whole number above 0")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a field that is a positive number."""
        value = self._needed(name, default)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise self._wrong(name, value, "a positive number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return a field that is true or false."""
        value = self.get(name, default)
        if type(value) is not bool:
            raise self._wrong(name, value, "true or false")
        return value

    def choice(self, name: str, meanings: Mapping[str, Any], default: str | None = None) -> Any:
        """Return what the value of a field means."""
        value = self._needed(name, default)
        if not isinstance(value, str) or value not in meanings:
            raise self._wrong(name, value, " or ".join(sorted(meanings)))
        return meanings[value]

    def class_name(self, allowed: Sequence[str]) -> str:
        """Return the class that wrote the file; the first of those allowed if it has none."""
        names = self.get("architectures", [])
        name = names[0] if isinstance(names, list) and names else allowed[0]
        if name not in allowed:
            raise self._wrong("architectures", names, f"one of {', '.join(allowed)}")
        return str(name)

    def sequence(self, name: str, length: int, allowed: Sequence[Any]) -> list[Any] | None:
        """Return a list with one of the allowed values for each layer; None if it is missing."""
        value = self.get(name)
        if value is None:
            return None
        if (
            not isinstance(value, list)
            or len(value) != length
            or any(v not in allowed for v in value)
        ):
            raise self._wrong(name, value, f"{length} values of {', '.join(map(str, allowed))}")
        return value

    def part(self, name: str) -> Fields:
        """Return the fields of a field that is an object; none where it is missing."""
        value = self.get(name, {})
        if not isinstance(value, dict):
            raise self._wrong(name, value, "an object")
        return Fields(value, f"{name} in {self.where}")

    def fixed(self, **only: Any) -> None:
        """Check that fields have the only value that wordorder computes, or are missing.

        Raises:
            BadInput: one has another.
        """
        for name, expected in only.items():
            if (value := self.get(name, expected)) != expected:
                raise self._wrong(name, value, f"{formatted(expected)}, all that is supported")

    def check_unread(self, may_matter: Callable[[str], bool] = lambda name: True) -> list[str]:
        """Check that nothing is left that could have an effect.

        Args:
            may_matter: returns whether transformers may read a field.

        Returns:
            The fields that are left, none of which matters.

        Raises:
            BadInput: a field that no family reads has a value.
        """
        left = []
        for name in sorted(self.unread):
            value = self.values[name]
            if value is not None and value is not False and value not in ("", [], {}):
                if not may_matter(name):
                    left.append(name)
                    continue
                raise BadInput(
                    f"{self.where}: {name} = {formatted(value)} is not a field that "
                    "import knows, and it may change the model: remove it if it does not",
                    code="interop.unknown-field",
                )
        return left

    def _needed(self, name: str, default: Any) -> Any:
        value = self.get(name, default)
        if value is None:
            raise BadInput(
                f"{self.where}: {name} is missing: restore the file", code="interop.missing-field"
            )
        return value

    def _wrong(self, name: str, value: Any, allowed: str) -> BadInput:
        return BadInput(
            f"{self.where}: {name} = {formatted(value)} cannot be imported: it must be {allowed}",
            code="interop.unsupported-field",
        )


def pattern(values: Sequence[Any]) -> list[Any]:
    """Return the shortest list whose repetition begins with these values."""
    for period in range(1, len(values) + 1):
        if all(value == values[i % period] for i, value in enumerate(values)):
            return list(values[:period])
    return []
