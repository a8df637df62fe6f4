"""`wordorder claims`: tests published claims about positional embeddings."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import torch

from wordorder.claims.catalogue import find
from wordorder.claims.claim import HOLDS, Claim, ClaimPlan
from wordorder.claims.run import as_json, run_claims, within
from wordorder.claims.table import for_terminal, listing, markdown, markdown_listing
from wordorder.cli.options.claims import ClaimsOptions, read_options
from wordorder.cli.printed import screen
from wordorder.cli.runs_bar import RunsBar
from wordorder.errors import BadInput, Failed
from wordorder.experiments.cluster import launcher_of
from wordorder.numerals import counted, first_of
from wordorder.text.data_names import mixture_of
from wordorder.text.sharded.folder import is_store
from wordorder.text.user_text import user_path
from wordorder.training.config import seconds, whole_paths

STRICT_EXIT = 3
MOST_NAMED = 5  # of the claims that a budget leaves out


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    plan, asked = _plan(options), find(options.only)
    show, folder = RunsBar(), user_path(options.out)
    cluster = launcher_of(options.launcher, options.slurm_options, folder)
    at_once = cluster.at_once if cluster else torch.get_num_threads()
    few = [f"{c.name} ({c.seeds_needed})" for c in asked if c.plan(plan).seeds < c.seeds_needed]
    if few:
        show.say(
            f"not testable with --seeds {plan.seeds} (the number they need): {', '.join(few)}; "
            "without --seeds each claim uses the number it needs"
        )
    claims = _within_budget(asked, plan, options, at_once, show)
    if options.list:
        _list(claims, plan, options)
        return 0
    out, overwrite = options.out, options.overwrite
    with show.closing(folder, cluster.after_stopping if cluster else ""):
        verdicts = run_claims(
            claims, plan, out=out, overwrite=overwrite, show=show, cluster=cluster
        )
    if options.json:
        command = shlex.join(["wordorder", "claims", *arguments])
        records = [as_json(verdict) for verdict in verdicts]
        print(json.dumps({"command": command, "folder": str(folder), "claims": records}))
    elif options.markdown:
        print(markdown(verdicts), end="")
    else:
        screen().print(for_terminal(verdicts))
    if failed := list(dict.fromkeys(job for verdict in verdicts for job in verdict.failed)):
        raise Failed(
            f"{counted(len(failed), 'job')} failed; the first is {failed[0]}: the same command "
            "tries again",
            code="cli.claims-failed",
        )
    held = all(verdict.word == HOLDS for verdict in verdicts)
    return STRICT_EXIT if options.strict and not held else 0


def _within_budget(
    claims: list[Claim], plan: ClaimPlan, options: ClaimsOptions, at_once: int, show: RunsBar
) -> list[Claim]:
    """Return the claims that fit into the budget, if there is one, and name some that do not."""
    if options.budget is None:
        return claims
    chosen = within(claims, plan, seconds(options.budget), at_once)
    left_out = [claim.name for claim in claims if claim not in chosen]
    if not chosen:
        raise BadInput(
            f"no claim fits into --budget {options.budget}: give more time, or fewer --seeds",
            code="cli.claims-budget",
        )
    if left_out:
        names = first_of(left_out, MOST_NAMED)
        show.say(f"skipped, because they exceed --budget {options.budget}: {names}")
    return chosen


def _list(claims: list[Claim], plan: ClaimPlan, options: ClaimsOptions) -> None:
    if options.json:
        listed = [
            {**c.described(), "seeds": c.plan(plan).seeds, "seconds": round(c.seconds(plan))}
            for c in claims
        ]
        print(json.dumps({"claims": listed}))
    elif options.markdown:
        print(markdown_listing(claims, plan), end="")
    else:
        screen().print(listing(claims, plan))


def _plan(options: ClaimsOptions) -> ClaimPlan:
    if options.languages and len(options.languages) != 2:
        raise BadInput(
            f"--languages has {len(options.languages)} files: give two, with the same sentences "
            "line by line",
            code="cli.claims-languages",
        )
    if stores := [name for name in options.data if is_store(name)]:
        raise BadInput(
            f"claims read text, and {stores[0]} is a store: give the files that it was made of",
            code="cli.claims-store",
        )
    if mixture_of(options.data):
        raise BadInput(
            f"claims train on one text, and --data {' '.join(options.data)} is a mixture: leave "
            "out the weights",
            code="cli.claims-mixture",
        )
    questions = (options.questions,) if options.questions else ()
    for name in (*options.languages, *options.words, *questions):
        if not Path(name).exists():
            raise BadInput(f"no such file: {name}: check the path", code="cli.claims-no-file")
    return ClaimPlan(
        seeds=options.seeds or ClaimPlan.seeds,
        data=whole_paths(options.data),
        steps=options.steps,
        languages=whole_paths(options.languages),
        words=whole_paths(options.words),
        questions=whole_paths(questions)[0] if questions else ClaimPlan.questions,
        as_needed=options.seeds is None,
    )
