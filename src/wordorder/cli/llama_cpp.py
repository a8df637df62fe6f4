"""Finds what `wordorder generate --engine llama.cpp` runs: a GGUF file, or a run exported to one.

A run folder is exported to a temporary folder and compared each time: a file that is kept could be
that of an earlier checkpoint.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wordorder.cli.opened import open_run
from wordorder.cli.options.generate import GenerateOptions
from wordorder.errors import BadInput
from wordorder.interop.export import export
from wordorder.interop.gguf.export import LLAMA_CPP
from wordorder.text.user_text import user_path

if TYPE_CHECKING:
    from wordorder.interop.gguf.engine import GgufFile


@contextmanager
def gguf_file(options: GenerateOptions) -> Iterator[GgufFile]:
    """Yield the file to run.

    Raises:
        BadInput: an option that llama.cpp lacks; no such file or run.
        Refused: the run's export is not exact.
    """
    _check_options(options)
    LLAMA_CPP.check_installed()
    from wordorder.interop.gguf.engine import GgufFile

    path = user_path(options.run)
    if path.is_file() or (path.is_dir() and any(path.glob("*.gguf"))):
        yield GgufFile(path)
        return
    run = open_run(options.run, trust=options.trust)
    run.check_next_token("generate")
    with tempfile.TemporaryDirectory() as folder:
        exported = export(run, LLAMA_CPP, Path(folder) / "gguf")
        keep = f"wordorder export {shlex.quote(options.run)} --to gguf"
        keep += " --trust" if options.trust else ""
        print(f"{exported.written.holder} holds the run; to keep the file: {keep}", file=sys.stderr)
        for note in exported.written.notes:
            print(f"note: {note}", file=sys.stderr)
        yield GgufFile(exported.folder)


def _check_options(options: GenerateOptions) -> None:
    without = {
        "--no-cache": not options.cache,
        "--window": options.window > 0,
        "--sinks": options.sinks > 0,
        "--compile yes": options.compile == "yes",
        f"--device {options.device}": options.device not in ("auto", "cpu"),
    }
    for name, is_given in without.items():
        if is_given:
            raise BadInput(
                f"--engine llama.cpp has no {name}: leave it out, or use --engine wordorder",
                code="cli.generate-engine-option",
            )
