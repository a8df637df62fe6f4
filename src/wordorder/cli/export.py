"""`wordorder export`: a trained model for another program, compared with the original."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from wordorder.cli.opened import open_run
from wordorder.cli.options.export import read_options
from wordorder.cli.printed import screen
from wordorder.errors import BadInput
from wordorder.interop.comparison import comparison_table
from wordorder.interop.export import export
from wordorder.interop.huggingface.export import HUGGING_FACE, OWN_CODE_TARGET
from wordorder.interop.targets import TARGETS


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = read_options(arguments)
    run = open_run(options.run, trust=options.trust)
    target = TARGETS[options.to].with_dtype(options.dtype)
    if options.own_code:
        if options.to != HUGGING_FACE.name:
            raise BadInput(
                f"--own-code writes a modelling file for transformers: use --to hf, not "
                f"--to {options.to}, or leave out --own-code",
                code="cli.own-code-without-hf",
            )
        target = OWN_CODE_TARGET.with_dtype(options.dtype)
    exported = export(run, target, options.out, overwrite=options.overwrite)
    written = exported.written
    if options.json:
        values = asdict(written) | {"largest_difference": written.largest_difference}
        print(json.dumps({"folder": str(exported.folder), "export": exported.target, **values}))
        return 0
    console = screen()
    console.print(comparison_table(written.comparisons).terminal())
    print(
        f"{written.holder}: logits differ by at most {written.largest_difference:.1e}; "
        f"the tokenizers agree on {written.texts} texts"
    )
    for note in written.notes:
        print(f"note: {note}", file=sys.stderr)
    print(exported.folder)
    for command in target.commands(exported.folder):
        print(f"to run it: {command}", file=sys.stderr)
    return 0
