"""The options of the commands: --help needs no torch, and defaults are the library's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wordorder.cli import main as entry
from wordorder.cli.options.compare import CompareOptions, read_options
from wordorder.cli.options.eval import EvalOptions
from wordorder.cli.options.extend import ExtendOptions
from wordorder.cli.options.generate import GenerateOptions
from wordorder.cli.options.tasks import TasksOptions
from wordorder.errors import BadInput

HELP = """
import sys
from wordorder.cli.main import main
for command in sys.argv[1:]:
    try:
        main([command, "--help"])
    except SystemExit as leaving:
        assert not leaving.code
    if "torch" in sys.modules:
        sys.exit(f"{command} --help imported torch")
"""


def test_help_imports_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP, *entry.COMMANDS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    usages = [line for line in done.stdout.splitlines() if line.startswith("usage: ")]
    for command, usage in zip(entry.COMMANDS, usages, strict=True):
        assert usage.startswith(f"usage: wordorder {command}")


TRAIN = """
import sys
from wordorder.cli.main import main
assert main(sys.argv[1:]) == 0
sys.exit("torch._dynamo" in sys.modules)
"""


def test_training_imports_no_compiler(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The cat sees a dog.\n\n" * 40, encoding="utf-8")
    options = "--tokenizer bytes --width 16 --layers 1 --heads 2 --trained-length 16 --steps 2"
    typed = ["train", "--data", tmp_path / "text.txt", "--out", tmp_path / "run", *options.split()]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, *map(str, typed)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr or "the compiler was imported"


@pytest.mark.parametrize("option", ["--shard", "--no-causal", "--chat-template", "--objective"])
def test_compare_has_no_option_that_it_would_refuse(option: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_options([option])
    assert caught.value.code == "cli.unknown-option"


def test_defaults_that_are_written_out_are_those_of_the_library() -> None:
    from wordorder.evaluation.retrieval import DEPTHS, EXAMPLES
    from wordorder.experiments import compare, tasks
    from wordorder.extension.fine_tune import RATE
    from wordorder.extension.reach import MEASURED
    from wordorder.model.decoding import Sampling

    measured = EvalOptions("r")
    assert (measured.depths, measured.examples) == (DEPTHS, EXAMPLES)
    extended = ExtendOptions("r")
    assert (extended.rate, extended.retrieval) == (RATE, MEASURED)
    written = GenerateOptions("r")
    for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty"):
        assert getattr(written, name) == getattr(Sampling(), name), name
    asked = TasksOptions()
    assert (asked.tasks, asked.positions) == (tasks.DEFAULT_TASKS, tasks.POSITIONS)
    compared: CompareOptions = read_options([])
    assert (compared.positions, compared.lengths) == (compare.POSITIONS, compare.LENGTHS)
    assert compared.train.model.trained_length == compare.TRAINED_LENGTH
    assert compared.train.batch_size == compare.BATCH_SIZE
