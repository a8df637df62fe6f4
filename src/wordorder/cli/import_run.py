"""`wordorder import`: a model of transformers as a run, compared with the original."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict

from wordorder.cli.options.import_run import read_options
from wordorder.cli.printed import screen
from wordorder.interop.comparison import comparison_table
from wordorder.interop.huggingface.import_folder import import_folder


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = read_options(arguments)
    command = shlex.join(["wordorder", "import", *arguments])
    imported = import_folder(
        options.folder, options.out, overwrite=options.overwrite, command=command
    )
    if options.json:
        values = asdict(imported) | {"largest_difference": imported.largest_difference}
        print(json.dumps(values, default=str))
        return 0
    if imported.comparisons:
        screen().print(comparison_table(imported.comparisons).terminal())
    print(
        f"{imported.class_name}: {imported.parameters:,} parameters, position {imported.position}, "
        f"sequences of {imported.trained_length:,} tokens"
    )
    if imported.largest_difference is not None:
        what = "logits" if imported.has_head else "hidden states"
        print(f"{what} differ from transformers' by at most {imported.largest_difference:.1e}")
    for note in imported.notes:
        print(f"note: {note}", file=sys.stderr)
    print(imported.folder)
    return 0
