"""The `wordorder` command: finds the command, runs it, turns errors into exit codes.

Nothing here imports torch, numpy or tyro, so that `wordorder --help` and a
mistyped command answer at once; a command's module is imported when it is run, and for the
help of a command its options alone.
"""

from __future__ import annotations

import difflib
import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from wordorder import stopping
from wordorder.errors import BadInput, Failed, Refused
from wordorder.version import __version__

# command -> (module with `main(arguments) -> exit code`, what it does)
COMMANDS = {
    "train": ("wordorder.cli.train", "train a language model on text, or --resume a run"),
    "generate": ("wordorder.cli.generate", "let a trained model continue a text"),
    "eval": ("wordorder.cli.eval", "measure a model's loss, in all and by position"),
    "compare": ("wordorder.cli.compare", "compare positional embeddings, with evidence"),
    "tasks": ("wordorder.cli.tasks", "test embeddings on algorithmic tasks past their length"),
    "claims": ("wordorder.cli.claims", "try what is said of embeddings, the article first"),
    "probe": ("wordorder.cli.probe", "find out what a model knows of order"),
    "extend": ("wordorder.cli.extend", "make a trained model reach past its trained length"),
    "export": ("wordorder.cli.export", "export a model to transformers, exact or not at all"),
    "words": ("wordorder.cli.words", "ask word vectors what is near what, or train them"),
    "explain": ("wordorder.cli.explain", "show how order gets into a model, number by number"),
    "positions": ("wordorder.cli.positions", "list the positional embeddings, or show one"),
    "check": ("wordorder.cli.check", "try what an embedding must hold, ours or your own"),
    "data": ("wordorder.cli.data", "show what a corpus holds before training on it"),
}

# Errors of the operating system that follow from a name that was given.
ASKED_FOR = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)

# Commands whose own module imports no torch; the options of the others stand in cli/options.
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
        print("stopped", file=sys.stderr)
        return stopping.exit_code(error)
    except BrokenPipeError:
        return _end_quietly()
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return code


def _prepare_process() -> None:
    """Let nothing in the process's surroundings end a command.

    An output that was closed (`>&-`) goes nowhere. A character that an output cannot encode is
    written as an escape. Pictures go to files, whatever backend was chosen.
    """
    os.environ["MPLBACKEND"] = "agg"
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _dispatch(typed: list[str]) -> int:
    if not typed or typed[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if typed else 2
    if typed[0] == "--version":
        print(f"wordorder {__version__}")
        return 0
    if typed[0] not in COMMANDS:
        raise BadInput(_unknown(typed[0]))
    module, _ = COMMANDS[typed[0]]
    if {"-h", "--help"}.intersection(typed[1:]) and typed[0] not in LIGHT:
        # Prints the help and leaves; goes on where the word was the value of an option.
        import_module(f"wordorder.cli.options.{typed[0]}").read_options(typed[1:])
    run = import_module(module).main
    code: int = run(typed[1:])
    return code


def _help() -> str:
    lines = [
        "usage: wordorder COMMAND [OPTIONS]",
        "",
        "Small language models with a sense of order.",
        "",
        "commands:",
        *(f"  {name:<11}{does}" for name, (_, does) in COMMANDS.items()),
        "",
        "wordorder COMMAND --help lists the options of one; wordorder --version",
    ]
    return "\n".join(lines)


def _unknown(given: str) -> str:
    near = difflib.get_close_matches(given, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(COMMANDS)}"
    return f"no command {given!r}: {hint}"


def _exit_code(error: Exception) -> int | None:
    """The exit code of an error that is not a bug; None where it is one."""
    if isinstance(error, BadInput | Failed | Refused):
        return error.exit_code
    if isinstance(error, OSError):  # of a file that nobody looked at: a full disk, no permission
        return BadInput.exit_code if error.errno in ASKED_FOR else Failed.exit_code
    # positions imports nothing of ours, so its error is its own. Whoever raised it has imported it.
    positions = sys.modules.get("wordorder.positions")
    if positions is not None and isinstance(error, positions.PositionError):
        return BadInput.exit_code
    return None


def _one_line(error: Exception) -> str:
    line = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        line = f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        line += ": make room"
    return line


def _end_quietly() -> int:
    """The reader went away (`| head`): what is still buffered has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
