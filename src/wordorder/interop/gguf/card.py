"""What stands beside a GGUF file: a Modelfile for Ollama, and a model card."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from wordorder.interop.comparison import LogitComparison, comparison_table
from wordorder.model.decoding import Sampling
from wordorder.training.run import Run
from wordorder.version import __version__

SAMPLING = Sampling(max_tokens=200)  # of `wordorder generate`
PROMPT = "The"
MODEL = "my-model"
NOT_IN_NAMES = re.compile(r"[^a-z0-9._]+")  # of Ollama's models


def modelfile(file: str, run: Run) -> str:
    """Return Ollama's Modelfile of a base model: the prompt as it is, sampled as wordorder does."""
    parameters = {
        "temperature": SAMPLING.temperature,
        "top_k": SAMPLING.top_k,
        "top_p": SAMPLING.top_p,
        "min_p": SAMPLING.min_p,
        "repeat_penalty": SAMPLING.repetition_penalty,
        "num_predict": SAMPLING.max_tokens,
        "num_ctx": run.model_config.trained_length,
    }
    lines = [f"FROM ./{file}", 'TEMPLATE """{{ .Prompt }}"""']
    lines += [f"PARAMETER {name} {value}" for name, value in parameters.items()]
    name = run.tokenizer.backend.id_to_token
    lines += [f'PARAMETER stop "{name(index)}"' for index in run.tokenizer.ends_of_text]
    return "\n".join(lines) + "\n"


def commands(folder: str, file: str, name: str) -> list[str]:
    """Return how to run a file, for a shell: by wordorder, llama.cpp and Ollama.

    Args:
        folder: where the file is.
        name: what Ollama calls the model, but for characters that its names cannot have.
    """
    name = NOT_IN_NAMES.sub("-", name.lower()).strip("-._") or MODEL
    path, modelfile = shlex.quote(f"{folder}/{file}"), shlex.quote(f"{folder}/Modelfile")
    return [
        f'wordorder generate {shlex.quote(folder)} "{PROMPT}" --engine llama.cpp',
        f'llama-completion -m {path} -p "{PROMPT}" -n {SAMPLING.max_tokens}',
        f"ollama create {name} -f {modelfile}",
    ]


def model_card(
    name: str,
    file: str,
    run: Run,
    architecture: str,
    comparisons: Sequence[LogitComparison],
    *,
    opens: bool,
    notes: Sequence[str],
) -> str:
    """Return README.md.

    Args:
        name: of the folder.
        architecture: llama.cpp's name of it.
        comparisons: with the run's own model.
        opens: llama.cpp puts a token before a text.
        notes: what a user of llama.cpp must know, one sentence each.
    """
    config = run.model_config
    lines = [
        f"# {name}",
        "",
        f"A language model of {run.model.parameter_counts()['total']:,} parameters with the "
        f"positional embedding `{config.position}`, {run.origin} and exported by "
        f"wordorder {__version__} for llama.cpp as `{architecture}`.",
        "",
        "```sh",
        *commands(".", file, MODEL),
        "```",
        "",
        "The file names the token that stands before a text, as in wordorder."
        if opens
        else "No token stands before a text, as in the model that was imported.",
        "",
        "Largest differences of llama.cpp's logits from those of the model that was trained (at "
        f"most {max(each.tolerance for each in comparisons):.2g} is allowed):",
        "",
        comparison_table(comparisons).markdown(),
        *(f"\nNote: {note}." for note in notes),
    ]
    return "\n".join(lines) + "\n"
