"""The tests can fail: known mistakes are put into the code, and each must turn a test red.

    make mutants        or: python tests/mutants.py [--only NAME]

Each mutant is a mistake that some project really shipped, as edits to one file of a copy of
the package. The tests named with it run against the copy, and the table says which of them
caught it. A mutant that survives, or one whose place in the code is gone, ends with 1.
"""

# ruff: noqa: E501  (code is quoted as it stands)

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
READING = "tests/model/test_reading.py"
KIT = "tests/positions/test_conformance.py"
SCALINGS = "tests/parity/test_rotary_scalings.py"
CONTEXT = "tests/model/test_context_length.py"
EVICTION = "tests/model/test_eviction.py"
SELF_EXTEND = "tests/positions/test_self_extend.py"


@dataclass(frozen=True)
class Mutant:
    """One mistake: edits to a file, and the tests that may catch it."""

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "pairing swapped",
        "positions/rotary.py",
        (('{"interleaved": rotate, "half": rotate_halves}', '{"half": rotate, "interleaved": rotate_halves}'),),
        ("tests/positions/test_rotary.py", "tests/parity/test_qwen3.py"),
    ),
    Mutant(
        "base ignored",
        "positions/rotary.py",
        (("frequencies = self.base**-exponent", "frequencies = 10000.0**-exponent"),),
        ("tests/positions/test_rotary.py", KIT, "tests/parity/test_families.py"),
    ),
    Mutant(
        "cache keyed without the base",
        "positions/rotary.py",
        (
            ("frequencies = self.base**-exponent", "frequencies = KEPT.setdefault(len(exponent), self.base**-exponent)"),
            ("LAYOUTS = {", "KEPT: dict = {}\nLAYOUTS = {"),
        ),
        ("tests/positions/test_rotary.py", KIT),
    ),
    Mutant(
        "angles in bfloat16",
        "positions/rotary.py",
        (("(positions.double() * frequencies.to(device))", "(positions.bfloat16() * frequencies.to(device).bfloat16())"),),
        ("tests/positions/test_rotary.py", KIT),
    ),
    Mutant(
        "position offset by one",
        "model/cache.py",
        (("return self.positions[:, -1:] + 1 + steps", "return self.positions[:, -1:] + 2 + steps"),),
        (READING, "tests/model/test_decoding.py"),
    ),
    Mutant(
        "slopes reversed",
        "positions/alibi.py",
        (("for e in exponents]", "for e in reversed(exponents)]"),),
        ("tests/positions/test_alibi.py", "tests/parity/test_families.py"),
    ),
    Mutant(
        "sign flipped",
        "positions/alibi.py",
        (("return -slopes * distance.abs()", "return slopes * distance.abs()"),),
        ("tests/positions/test_alibi.py", KIT),
    ),
    Mutant(
        "bucket off by one",
        "positions/t5.py",
        (("borders, right=True", "borders, right=False"),),
        ("tests/positions/test_t5.py",),
    ),
    Mutant(
        "ramp inverted",
        "positions/rotary_scaling.py",
        (("frequencies * (1 - divided) + frequencies / factor * divided", "frequencies * divided + frequencies / factor * (1 - divided)"),),
        (SCALINGS, "tests/positions/test_rotary_scaling.py"),
    ),
    Mutant(
        "temperature twice",
        "positions/rotary.py",
        (("else sharper * self.shape.head_dim", "else sharper * sharper * self.shape.head_dim"),),
        (SCALINGS, "tests/positions/test_rotary_scaling.py", "tests/positions/test_rotary.py"),
    ),
    Mutant(
        "temperature forgotten",
        "positions/rotary.py",
        (("return None if sharper == 1 else", "return None if sharper != 1 else"),),
        (SCALINGS, "tests/positions/test_rotary_scaling.py"),
    ),
    Mutant(
        "exponent of NTK over the head",
        "positions/rotary_scaling.py",
        (("    last = max(len(frequencies) - 1, 1)", "    last = len(frequencies)"),),
        (SCALINGS, "tests/positions/test_rotary_scaling.py"),
    ),
    Mutant(
        "scaled by how far a text has come",
        "model/decoding.py",
        (
            ("context_length=self.context_length)", "context_length=0)"),
            ("length = len(prompt) + sampling.max_tokens", "length = len(prompt)"),
        ),
        (CONTEXT,),
    ),
    Mutant(
        "context length lost on the way",
        "model/language_model.py",
        (("context_length=context_length or tokens.shape[1]", "context_length=tokens.shape[1]"),),
        (CONTEXT,),
    ),
    Mutant(
        "keys kept rotated as contexts grow",
        "positions/rotary.py",
        (('self.static_rotation = "context_length" not in rotary_scaling.takes(scaling)', "self.static_rotation = True"),),
        (CONTEXT, "tests/positions/test_rotary_scaling.py"),
    ),
    Mutant(
        "positions not closed up",
        "model/cache.py",
        (
            ("            self.positions = steps.expand(len(self.positions), -1)", "            self.positions = _ends(self.positions, sinks, window)"),
            ("self.consecutive = self.documents is None", "self.consecutive = False"),
        ),
        (EVICTION,),
    ),
    Mutant(
        "values not evicted with their keys",
        "model/cache.py",
        (("            for buffer in (self.keys, self.values)\n", "            for buffer in (self.keys, self.keys)\n"),),
        (EVICTION,),
    ),
    Mutant(
        "one token more kept than a window",
        "model/decoding.py",
        (("return self.sinks + self.window + 1 - self.cache.length", "return self.sinks + self.window + 2 - self.cache.length"),),
        (EVICTION,),
    ),
    Mutant(
        "shift of far queries forgotten",
        "positions/self_extend.py",
        (("self.shift = self.near - self.near // group", "self.shift = 0"),),
        (SELF_EXTEND,),
    ),
    Mutant(
        "groups of slots",
        "positions/self_extend.py",
        (("positions = geometry.key_positions\n", "positions = torch.arange(geometry.key_positions.shape[1])[None]\n"),),
        (SELF_EXTEND, KIT),
    ),
    Mutant(
        "neighbours one too many",
        "positions/self_extend.py",
        ((">= self.near)", "> self.near)"),),
        (SELF_EXTEND,),
    ),
    Mutant(
        "original length from the context",
        "positions/rotary.py",
        (("return self.rescale(frequencies, context_length=context_length)", "return self.rescale(frequencies, context_length=context_length, original_length=max(2, context_length))"),),
        ("tests/positions/test_rotary_scaling.py", "tests/positions/test_rotary.py"),
    ),
    Mutant(
        "bias from the length of the cache",
        "model/bias.py",
        (
            ("queries = geometry.query_positions[:, rows, None]", "queries = geometry.query_slots[None, rows, None]"),
            ("queries - geometry.key_positions[:, None, seen]", "queries - torch.arange(self.keys)[None, None, seen]"),
        ),
        (READING, "tests/model/test_fast_paths.py"),
    ),
    Mutant(
        "packed documents see each other",
        "positions/base.py",
        (("(seen & same & (source >= 0)) | (behind == 0)", "(seen & (source >= 0)) | (behind == 0)"),),
        (READING, KIT),
    ),
)


def main() -> int:
    options = _options()
    chosen = [m for m in MUTANTS if not options.only or m.name in options.only]
    survivors = []
    for mutant in chosen:
        caught, problem = try_one(mutant)
        said = problem or ", ".join(f"{Path(f).name} ({n})" for f, n in caught.items())
        print(f"{mutant.name:<34}{said or 'SURVIVED'}", flush=True)
        if problem or not caught:
            survivors.append(mutant.name)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} caught")
    return 1 if survivors else 0


def try_one(mutant: Mutant) -> tuple[Counter[str], str]:
    """Return how many tests of each file caught a mutant, and what kept it from being tried."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        path = source / "wordorder" / mutant.file
        code = path.read_text(encoding="utf-8")
        for old, new in mutant.edits:
            if code.count(old) != 1:
                return Counter(), f"NOT TRIED: {mutant.file} holds {old!r} {code.count(old)} times"
            code = code.replace(old, new)
        path.write_text(code, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-m", "not slow", *mutant.tests]
        command += ["-p", "no:cacheprovider", "--hypothesis-profile=first-found"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    red = re.findall(r"^(?:FAILED|ERROR) ([^:\s]+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1):
        return Counter(), f"NOT TRIED: {done.stdout[-300:]} {done.stderr[-300:]}"
    return Counter(red), ""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[m.name for m in MUTANTS])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
