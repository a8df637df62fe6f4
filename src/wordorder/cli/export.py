"""`wordorder export`: a trained model for another program, compared with the original."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from rich.console import Console

from wordorder.cli.options.export import read_options
from wordorder.interop.huggingface.card import comparison_table
from wordorder.interop.huggingface.export import export
from wordorder.training.run import Run


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = read_options(arguments)
    run = Run.load(options.run, trust=options.trust)
    exported = export(run, options.out, overwrite=options.overwrite)
    if options.json:
        values = asdict(exported) | {"largest_difference": exported.largest_difference}
        print(json.dumps({**values, "folder": str(exported.folder)}))
        return 0
    console = Console(highlight=False)
    console.print(comparison_table(exported.comparisons).terminal())
    print(
        f"{exported.class_name}: logits differ by at most {exported.largest_difference:.1e}; "
        f"the tokenizers agree on {exported.texts} texts"
    )
    for note in exported.notes:
        print(f"note: {note}", file=sys.stderr)
    print(exported.folder)
    return 0
