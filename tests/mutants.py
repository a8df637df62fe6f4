"""The tests can fail: known mistakes are put into the code, and each must turn a test red.

    make mutants        or: python tests/mutants.py [--only NAME] [--count]

Each mutant of `mutations` is a mistake that projects ship, or easily would, as edits to one file
of a copy of the package. The tests named with it run against the copy until one catches it, as many
mutants at once as there are cores; with --count all of them run, and are counted by file. A mutant
that survives, or one whose place in the code is gone, ends with 1.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutations import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]


def main() -> int:
    options = _options()
    chosen = [m for m in MUTANTS if not options.only or m.name in options.only]
    survivors = []
    with ThreadPoolExecutor(os.cpu_count()) as at_once:
        outcomes = at_once.map(lambda mutant: try_one(mutant, count=options.count), chosen)
        for mutant, (caught, problem) in zip(chosen, outcomes, strict=True):
            by_file = (
                Path(f).name + (f" ({n})" if options.count else "") for f, n in caught.items()
            )
            print(f"{mutant.name:<48} {problem or ', '.join(by_file) or 'SURVIVED'}", flush=True)
            if problem or not caught:
                survivors.append(mutant.name)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} caught")
    return 1 if survivors else 0


def try_one(mutant: Mutant, *, count: bool) -> tuple[Counter[str], str]:
    """Return which files caught a mutant, with how many tests, and why it could not be tried."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source)  # with bytecode, which fits the files that stay
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
        command += [] if count else ["--exitfirst"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    red = re.findall(r"^(?:FAILED|ERROR) ([^:\s]+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1):
        return Counter(), f"NOT TRIED: {done.stdout[-300:]} {done.stderr[-300:]}"
    return Counter(red), ""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[m.name for m in MUTANTS])
    parser.add_argument("--count", action="store_true", help="run all tests of each")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
