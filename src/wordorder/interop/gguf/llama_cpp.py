"""llama.cpp by its C interface, which the library of the package xllamacpp exports.

The package's own interface gives log-probabilities of one position a request; the C functions give
all logits. Logs are kept off stderr. The functions take structures by value, whose layout a version
may change: the defaults that the library fills in must be where this file expects them.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_float,
    c_int8,
    c_int32,
    c_uint32,
    c_void_p,
)
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from wordorder.errors import BadInput, Refused

ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
F32 = 0  # GGML_TYPE_F32
NO_FLASH_ATTENTION = 0
AT_ONCE = 256  # most tokens in one call, which bounds the memory of logits
BOOLEAN_TYPE, TEXT_TYPE = 2, 3  # LLAMA_KV_OVERRIDE_TYPE_BOOL and _STR
NO_OVERRIDES: Mapping[str, str | bool] = {}
SPARE = 1024  # bytes of later fields, which a copy of a structure must hold too

Log = CFUNCTYPE(None, c_int32, c_char_p, c_void_p)


class _ModelParameters(Structure):
    _fields_ = (
        ("devices", c_void_p),
        ("buffer_overrides", c_void_p),
        ("gpu_layers", c_int32),
        ("placement", c_char * 44),
        ("overrides", c_void_p),
        ("vocabulary_only", c_bool),
        ("spare", c_char * SPARE),
    )


class _Override(Structure):
    """A key of a file's metadata and the value to use instead."""

    _fields_ = (("type", c_int32), ("key", c_char * 128), ("gap", c_int32), ("value", c_char * 128))


class _ContextParameters(Structure):
    _fields_ = (
        ("context", c_uint32),
        ("batch", c_uint32),
        ("micro_batch", c_uint32),
        ("sequences", c_uint32),
        ("recurrent_snapshots", c_uint32),
        ("outputs", c_uint32),
        ("outputs_per_sequence", c_uint32),
        ("threads", c_int32),
        ("batch_threads", c_int32),
        ("context_type", c_int32),
        ("rope_scaling_type", c_int32),
        ("pooling_type", c_int32),
        ("attention_type", c_int32),
        ("flash_attention", c_int32),
        ("rope_base", c_float),
        ("rope_scale", c_float),
        ("yarn", c_float * 4),
        ("yarn_original_context", c_uint32),
        ("defragmentation", c_float),
        ("evaluation_callback", c_void_p),
        ("evaluation_data", c_void_p),
        ("key_type", c_int32),
        ("value_type", c_int32),
        ("spare", c_char * SPARE),
    )


class _Batch(Structure):
    _fields_ = (
        ("count", c_int32),
        ("tokens", POINTER(c_int32)),
        ("vectors", c_void_p),
        ("positions", POINTER(c_int32)),
        ("sequence_counts", POINTER(c_int32)),
        ("sequences", POINTER(POINTER(c_int32))),
        ("wants_logits", POINTER(c_int8)),
    )


# name -> (type of the result, types of the arguments)
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_log_set": (None, (Log, c_void_p)),
    "llama_backend_init": (None, ()),
    "llama_model_default_params": (_ModelParameters, ()),
    "llama_context_default_params": (_ContextParameters, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, _ModelParameters)),
    "llama_init_from_model": (c_void_p, (c_void_p, _ContextParameters)),
    "llama_free": (None, (c_void_p,)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_get_add_bos": (c_bool, (c_void_p,)),
    "llama_n_ctx_seq": (c_uint32, (c_void_p,)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_decode": (c_int32, (c_void_p, _Batch)),
    "llama_get_logits": (POINTER(c_float), (c_void_p,)),
    "llama_tokenize": (
        c_int32,
        (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool),
    ),
    "llama_token_to_piece": (c_int32, (c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool)),
}
_errors: list[str] = []


@Log
def _keep_errors(level: int, text: bytes, data: Any) -> None:
    if level == ERROR_LEVEL:
        _errors.append(text.decode(errors="replace").strip())


@cache
def library() -> Any:
    """Return the library, silenced.

    Raises:
        BadInput: xllamacpp is not installed, or its C interface is another one.
    """
    spec = find_spec("xllamacpp")
    folders = spec.submodule_search_locations if spec is not None else None
    files = [file for folder in folders or () for file in Path(folder).glob("xllamacpp*.*")]
    names = sorted(file for file in files if file.suffix in (".so", ".pyd", ".dylib"))
    if not names:
        raise BadInput(
            "llama.cpp needs xllamacpp: pip install 'wordorder[gguf]'", code="interop.no-llama-cpp"
        )
    try:
        functions = ctypes.CDLL(str(names[0]))
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(functions, name)
            function.restype, function.argtypes = result, arguments
    except (AttributeError, OSError):
        raise _other_interface() from None
    functions.llama_log_set(_keep_errors, None)
    if not _has_expected_layout(functions):
        raise _other_interface()
    functions.llama_backend_init()
    return functions


def _has_expected_layout(functions: Any) -> bool:
    model = functions.llama_model_default_params()
    context = functions.llama_context_default_params()
    sizes = (context.context, context.batch, context.micro_batch, context.sequences)
    unset = (
        context.rope_scaling_type,
        context.pooling_type,
        context.attention_type,
        context.flash_attention,
        context.defragmentation,
        *context.yarn,
        model.gpu_layers,
    )
    types = (context.key_type, context.value_type)
    as_expected = sizes == (512, 2048, 512, 1) and set(unset) == {-1} and types == (1, 1)
    return as_expected and not model.overrides and not model.vocabulary_only


def rounded_context(tokens: int) -> int:
    """Return the context length that llama.cpp allocates for a number of tokens."""
    return -(-tokens // 256) * 256


def _other_interface() -> BadInput:
    return BadInput(
        f"the C interface of xllamacpp {version('xllamacpp')} is not the one that wordorder uses: "
        "pip install 'xllamacpp==2026.10.11549'",
        code="interop.llama-cpp-interface",
    )


def _overrides(values: Mapping[str, str | bool]) -> Any:
    """Return an array of overrides; the last one has no key."""
    array = (_Override * (len(values) + 1))()
    for override, (key, value) in zip(array, values.items(), strict=False):
        override.key = key.encode()
        if isinstance(value, str):
            override.type, override.value = TEXT_TYPE, value.encode()
        else:
            override.type, override.value = BOOLEAN_TYPE, bytes([value])
    return array


class LlamaVocabulary:
    """The tokenizer of a GGUF file as llama.cpp reads it, without the model's weights.

    Args:
        path: the file, which may have no weights.
        overrides: values of the file's metadata to use instead, strings or booleans.

    Raises:
        BadInput: xllamacpp is not installed or not the expected one.
        Refused: llama.cpp cannot load the file.
    """

    def __init__(self, path: Path, overrides: Mapping[str, str | bool] = NO_OVERRIDES) -> None:
        self._load(path, vocabulary_only=True, overrides=overrides)

    def _load(
        self,
        path: Path,
        *,
        vocabulary_only: bool,
        overrides: Mapping[str, str | bool] = NO_OVERRIDES,
    ) -> None:
        self._functions = library()
        self._model = None
        # Every time, because others in this process may set it, such as a server of xllamacpp.
        self._functions.llama_log_set(_keep_errors, None)
        _errors.clear()
        model = self._functions.llama_model_default_params()
        model.gpu_layers = 0
        model.vocabulary_only = vocabulary_only
        values = _overrides(overrides)
        model.overrides = ctypes.cast(values, c_void_p)
        self._model = self._functions.llama_model_load_from_file(os.fsencode(path), model)
        if not self._model:
            raise self._not_loaded(path)
        self._vocabulary = self._functions.llama_model_get_vocab(self._model)
        self.vocabulary_size: int = self._functions.llama_vocab_n_tokens(self._vocabulary)

    def _not_loaded(self, path: Path) -> Refused:
        self.close()
        problem = " ".join((_errors or ["no reason given"])[0].split())[:200]
        return Refused(
            f"llama.cpp cannot load {path.name} ({problem})", code="interop.llama-cpp-cannot-load"
        )

    def close(self) -> None:
        """Free the memory."""
        if self._model:
            self._functions.llama_model_free(self._model)
        self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def adds_start(self) -> bool:
        """Whether llama.cpp puts a token before a text."""
        return bool(self._functions.llama_vocab_get_add_bos(self._vocabulary))

    def tokenize(self, text: str, *, start: bool = False, special: bool = False) -> list[int]:
        """Return the ids of a text.

        Args:
            start: with the token that llama.cpp puts before a text.
            special: read special tokens where their names stand; otherwise these are text.
        """
        data = text.encode()
        room = len(data) + 8  # beside a token for each byte, that of the start and a space's bytes
        ids = (c_int32 * room)()
        count = self._functions.llama_tokenize(
            self._vocabulary, data, len(data), ids, room, start, special
        )
        return list(ids[:count])

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, in which invalid UTF-8 is U+FFFD."""
        return b"".join(map(self.piece, tokens)).decode(errors="replace")

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token; none of a special one."""
        buffer = ctypes.create_string_buffer(1024)
        count = self._functions.llama_token_to_piece(
            self._vocabulary, token, buffer, len(buffer), 0, False
        )
        return buffer.raw[: max(count, 0)]


class LlamaCpp(LlamaVocabulary):
    """A GGUF file as llama.cpp runs it on the CPU, with a cache for one or more sequences.

    The cache is float32 and flash attention is off, so that logits are those of the weights.

    Args:
        path: the file.
        context: tokens that a sequence may have; llama.cpp rounds up to a multiple of 256.
        sequences: how many sequences the cache holds.
        threads: number of threads.

    Raises:
        BadInput: xllamacpp is not installed or not the expected one.
        Refused: llama.cpp cannot load the file.
    """

    def __init__(self, path: Path, *, context: int, sequences: int = 1, threads: int = 1) -> None:
        self._context = None
        self._load(path, vocabulary_only=False)
        parameters = self._functions.llama_context_default_params()
        parameters.context = rounded_context(context) * sequences
        parameters.batch = parameters.micro_batch = AT_ONCE
        parameters.sequences = sequences
        parameters.threads = parameters.batch_threads = threads
        parameters.flash_attention = NO_FLASH_ATTENTION
        parameters.key_type = parameters.value_type = F32
        self._context = self._functions.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise self._not_loaded(path)
        self.context_length: int = self._functions.llama_n_ctx_seq(self._context)

    def close(self) -> None:
        """Free the memory of the model and its cache."""
        if self._context:
            self._functions.llama_free(self._context)
        self._context = None
        super().close()

    def clear(self) -> None:
        """Forget all sequences."""
        self._functions.llama_memory_clear(self._functions.llama_get_memory(self._context), True)

    def read(
        self,
        tokens: Sequence[int],
        *,
        positions: Sequence[int],
        sequences: Sequence[int] | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Read tokens after those in the cache; return logits (tokens, vocabulary) float32.

        Args:
            tokens: token ids.
            positions: the position of each.
            sequences: the sequence of each; None: all of sequence 0.
            last_only: return the logits of the last token alone, (1, vocabulary).
        """
        sequences = sequences or [0] * len(tokens)
        parts = []
        for start in range(0, len(tokens), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            wanted = [not last_only or start + i == len(tokens) - 1 for i in range(AT_ONCE)]
            parts.append(self._decode(tokens[part], positions[part], sequences[part], wanted))
        return torch.cat(parts)

    def _decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        wanted: Sequence[bool],
    ) -> Tensor:
        count = len(tokens)
        integers = c_int32 * count
        each = [(c_int32 * 1)(sequence) for sequence in sequences]
        batch = _Batch(
            count,
            integers(*tokens),
            None,
            integers(*positions),
            integers(*[1] * count),
            (POINTER(c_int32) * count)(*(ctypes.cast(one, POINTER(c_int32)) for one in each)),
            (c_int8 * count)(*wanted[:count]),
        )
        if self._functions.llama_decode(self._context, batch):
            raise Refused(
                f"llama.cpp cannot read {count} tokens ({(_errors or ['no reason given'])[-1]})",
                code="interop.llama-cpp-cannot-read",
            )
        outputs = sum(wanted[:count])
        if not outputs:
            return torch.empty(0, self.vocabulary_size)
        logits = self._functions.llama_get_logits(self._context)
        array = np.ctypeslib.as_array(logits, (outputs, self.vocabulary_size))
        return torch.from_numpy(array.copy())
