"""lm-evaluation-harness: its tasks on a run, offline and in this process."""
