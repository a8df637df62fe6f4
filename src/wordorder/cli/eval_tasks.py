"""`wordorder eval RUN --tasks`: scores of tasks of lm-evaluation-harness."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from wordorder.cli.opened import open_run
from wordorder.cli.options.eval import EvalOptions
from wordorder.cli.printed import screen
from wordorder.cli.progress import transient_progress
from wordorder.interop.harness.tasks import HarnessScore, HarnessScores, score_tasks
from wordorder.numerals import counted
from wordorder.table import Table
from wordorder.training.compute import pick_device
from wordorder.training.threads import use_free_cores


def score(options: EvalOptions) -> int:
    """Score the tasks, print them, and return the exit code."""
    run = open_run(options.run, trust=options.trust)
    use_free_cores()
    with transient_progress() as progress:
        bar = progress.add_task("", total=1.0)
        scored = score_tasks(
            run,
            options.task_names,
            folder=options.tasks_path,
            limit=options.limit,
            max_length=options.length,
            device=pick_device(options.device),
            progress=lambda stage, fraction: progress.update(
                bar, completed=fraction, description=stage
            ),
        )
    if options.json:
        print(json.dumps({"run": str(run.folder), **asdict(scored)}))
    else:
        screen().print(score_table(scored).terminal())
    if scored.truncated:
        print(
            f"note: {counted(scored.truncated, 'context')} lost the beginning, to fit in "
            f"{scored.max_length:,} tokens; --length sets another number",
            file=sys.stderr,
        )
    return 0


def score_table(scored: HarnessScores) -> Table:
    """Return the scores, with the members of a group below it, indented and without its name."""
    metrics = {each.metric for each in scored.scores}
    root, rows = "", []
    for each in scored.scores:
        root = root if each.depth else f"{each.task}_"
        name = each.task.removeprefix(root) if each.depth else each.task
        cells = [f"{' ' * each.depth}{name}", each.metric, _value(each), f"{each.examples:,}"]
        rows.append(cells if len(metrics) > 1 else [cells[0], *cells[2:]])
    note = (
        f"± is the standard error; lm-evaluation-harness {scored.harness}, "
        f"{counted(scored.max_length, 'token')} at once"
    )
    only = min(metrics, default="")
    columns = ["task", "metric", "value"] if len(metrics) > 1 else ["task", only]
    left = frozenset({0, 1} if len(metrics) > 1 else {0})
    return Table([*columns, "examples"], rows, note=note, left=left, wrap=frozenset({0}))


def _value(each: HarnessScore) -> str:
    error = "" if each.standard_error is None else f" ± {each.standard_error:.3f}"
    return f"{each.value:.3f}{error}"
