"""The programs that runs are exported to, by what `--to` calls them."""

from __future__ import annotations

from .export import Target
from .gguf.export import LLAMA_CPP
from .huggingface.export import HUGGING_FACE
from .onnx.export import ONNX

TARGETS: dict[str, Target] = {target.name: target for target in (HUGGING_FACE, LLAMA_CPP, ONNX)}
