"""Training: the loop, optimizers, schedules, checkpoints, and the folder a run leaves."""
