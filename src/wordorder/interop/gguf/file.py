"""Writes a model and its tokenizer as one GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from wordorder.interop.weights import rounded
from wordorder.model import LanguageModel
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.user_text import printable

from . import architectures, tokenizer
from .card import SAMPLING

FILE_TYPES = {
    "f32": "ALL_F32",
    "f16": "MOSTLY_F16",
    "bf16": "MOSTLY_BF16",
    "q8_0": "MOSTLY_Q8_0",
}
DTYPES = tuple(FILE_TYPES)
NO_CHAT: Mapping[str, Any] = {}
BLOCK = 32  # numbers that q8_0 stores with one scale


def write_gguf(
    path: Path,
    model: LanguageModel,
    own_tokenizer: Tokenizer,
    name: str,
    *,
    algorithm: Mapping[str, Any],
    dtype: str,
    title: str,
    opens: bool = True,
    chat: Mapping[str, Any] = NO_CHAT,
) -> None:
    """Write a GGUF file.

    Args:
        name: the architecture.
        algorithm: of the tokenizer, as `algorithm_of` returns it.
        dtype: of matrices, one of DTYPES; vectors, and tables of positions, are float32.
        title: the name that programs show.
        opens: a token is put before a text.
        chat: the chat template's metadata, by keys after "tokenizer".
    """
    import gguf

    writer = gguf.GGUFWriter(path, name)
    writer.add_name(printable(title))
    writer.add_file_type(getattr(gguf.LlamaFileType, FILE_TYPES[dtype]))
    writer.add_sampling_temp(SAMPLING.temperature)
    writer.add_sampling_top_k(SAMPLING.top_k)
    writer.add_sampling_top_p(SAMPLING.top_p)
    writer.add_sampling_min_p(SAMPLING.min_p)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in architectures.metadata(model, name).items():
        _add(writer, f"{name}.{key}", value)
    _add_tokenizer(writer, own_tokenizer, model.config.vocabulary_size, algorithm, opens=opens)
    for key, value in chat.items():
        _add(writer, f"tokenizer.{key}", value)
    for tensor, value in architectures.tensors(model, name).items():
        _add_tensor(writer, tensor, value, dtype)
    _write(writer)


def write_vocabulary(path: Path, own_tokenizer: Tokenizer, algorithm: Mapping[str, Any]) -> None:
    """Write a GGUF file with a tokenizer and no weights."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    _add_tokenizer(writer, own_tokenizer, own_tokenizer.vocabulary_size, algorithm)
    _write(writer)


def _write(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(
    writer: Any,
    own_tokenizer: Tokenizer,
    vocabulary_size: int,
    algorithm: Mapping[str, Any],
    *,
    opens: bool = True,
) -> None:
    values = tokenizer.metadata(own_tokenizer, vocabulary_size, algorithm, opens=opens)
    for key, value in values.items():
        _add(writer, f"tokenizer.ggml.{key}", value)
    if not tokenizer.is_read_back(own_tokenizer):
        _add(writer, tokenizer.WHOLE, own_tokenizer.backend.to_str())


def _add(writer: Any, key: str, value: Any) -> None:
    kinds = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        str: writer.add_string,
        list: writer.add_array,
    }
    kinds[type(value)](key, value)


def _add_tensor(writer: Any, name: str, value: Tensor, dtype: str) -> None:
    import gguf

    is_matrix = value.ndim == 2 and not name.startswith("position_embd")
    kind = dtype if is_matrix else "f32"
    if kind == "q8_0" and value.shape[1] % BLOCK:
        kind = "f16"
    value = value.detach()
    if kind in ("f16", "bf16"):
        value = rounded(name, value, kind)
    quantization = getattr(gguf.GGMLQuantizationType, kind.upper())
    data = gguf.quants.quantize(value.float().contiguous().numpy(), quantization)
    writer.add_tensor(name, data, raw_dtype=quantization)
