"""The `wordorder` command line: dispatches to a command and turns errors into exit codes.

Nothing here imports torch, NumPy or tyro, so that `wordorder --help` and a mistyped command respond
at once. The module of a command is imported when it runs; its help imports only its options.
"""

from __future__ import annotations

import difflib
import errno
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from wordorder import stopping
from wordorder.cli import output
from wordorder.control_characters import escaped
from wordorder.errors import BadInput, Failed, Note, Refused, of_embedding
from wordorder.version import __version__

# command -> (module with `main(arguments) -> exit code`, what it does)
COMMANDS = {
    "train": ("wordorder.cli.train", "train a language model on text, or resume a run"),
    "generate": ("wordorder.cli.generate", "continue a text with a trained model"),
    "eval": ("wordorder.cli.eval", "measure a model's loss, or score it on tasks"),
    "compare": ("wordorder.cli.compare", "compare positional embeddings statistically"),
    "tasks": ("wordorder.cli.tasks", "test length generalisation on algorithmic tasks"),
    "claims": ("wordorder.cli.claims", "test published claims about positional embeddings"),
    "probe": ("wordorder.cli.probe", "measure what a trained model knows about order"),
    "extend": ("wordorder.cli.extend", "extend a trained model to a longer context"),
    "export": ("wordorder.cli.export", "export a model to other programs, exactly or not at all"),
    "import": ("wordorder.cli.import_run", "import a model of transformers as a run"),
    "words": ("wordorder.cli.words", "explore word vectors, or train them"),
    "explain": ("wordorder.cli.explain", "show step by step how a model encodes order"),
    "positions": ("wordorder.cli.positions", "list the positional embeddings, or describe one"),
    "studio": ("wordorder.cli.studio", "open a page that shows order entering a model"),
    "check": ("wordorder.cli.check", "check the properties of a positional embedding"),
    "data": ("wordorder.cli.data", "describe a corpus before training on it"),
}

# Errors of the operating system that a file name given by the user causes.
FROM_FILE_NAMES = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)

# What other tools call what a command does.
USUAL_COMMANDS = {
    "chat": "wordorder generate RUN --chat",
    "sample": "wordorder generate RUN",
    "finetune": "wordorder train --init RUN --data TEXT",
    "fine-tune": "wordorder train --init RUN --data TEXT",
    "resume": "wordorder train --resume RUN",
    "convert": "wordorder export RUN --to hf, gguf or onnx",
    "serve": "wordorder studio RUN, or wordorder export RUN --to gguf for the server of llama.cpp",
}

FORMATTED = warnings.formatwarning
# Commands whose module imports no torch; the options of the others are in cli/options.
LIGHT = ("words", "data")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: what was typed after `wordorder`; None reads `sys.argv`.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_process()
    try:
        with stopping.handling():
            code = _dispatch(typed)
            sys.stdout.flush()
        return code
    except KeyboardInterrupt as error:
        if not stopping.is_reported(error):
            print("stopped", file=sys.stderr)
        return stopping.exit_code(error)
    except BrokenPipeError:  # see `output.end_with_reader`
        output.discard(sys.stdout.fileno())
        return 0
    except Exception as raised:
        message = of_embedding(raised)
        reported = raised if message is None else BadInput(message, code="cli.embedding-raised")
        exit_code = _exit_code(reported)
        if exit_code is None:
            raise
        print(f"error: {_one_line(reported)}", file=sys.stderr)
        return exit_code


def _prepare_process() -> None:
    """Make a command independent of the environment, and its warnings lines like its errors.

    Matplotlib draws to files, whatever backend is configured.
    """
    os.environ["MPLBACKEND"] = "agg"
    output.prepare_streams()
    warnings.formatwarning = _formatted


def _formatted(message: Any, category: type[Warning], *place: Any, **more: Any) -> str:
    if issubclass(category, Note):
        return f"note: {_one_line(message)}\n"
    return FORMATTED(message, category, *place, **more)


def _dispatch(typed: list[str]) -> int:
    if not typed or typed[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if typed else 2
    if typed[0] == "--version":
        print(f"wordorder {__version__}")
        return 0
    if typed[0] not in COMMANDS:
        raise _unknown(typed[0])
    module, _ = COMMANDS[typed[0]]
    if {"-h", "--help"}.intersection(typed[1:]) and typed[0] not in LIGHT:
        # Prints the help and exits, unless --help is the value of an option.
        import_module(options_module(typed[0])).read_options(typed[1:])
    run = import_module(module).main
    code: int = run(typed[1:])
    return code


def options_module(command: str) -> str:
    """Return the module with a command's options, which has the name of the command's module."""
    return COMMANDS[command][0].replace("wordorder.cli.", "wordorder.cli.options.")


def _help() -> str:
    lines = [
        "usage: wordorder COMMAND [OPTIONS]",
        "",
        "Train small language models with any positional embedding, and compare them.",
        "",
        "commands:",
        *(f"  {name:<11}{does}" for name, (_, does) in COMMANDS.items()),
        "",
        "wordorder COMMAND --help lists the options of a command; wordorder --version",
    ]
    return "\n".join(lines)


def _unknown(name: str) -> BadInput:
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(COMMANDS)}"
    if usual := USUAL_COMMANDS.get(name):
        hint = f"use {usual}"
    return BadInput(f"unknown command {name!r}: {hint}", code="cli.unknown-command")


def _exit_code(error: Exception) -> int | None:
    """Return the exit code of an error that is not a bug; None for a bug."""
    if isinstance(error, BadInput | Failed | Refused):
        return error.exit_code
    if isinstance(error, OSError):  # not handled elsewhere: a full disk, no permission
        return BadInput.exit_code if error.errno in FROM_FILE_NAMES else Failed.exit_code
    return None


def _one_line(error: Exception) -> str:
    line = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        line = f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        line += ": free some space"
    return escaped(line)


if __name__ == "__main__":
    sys.exit(main())
