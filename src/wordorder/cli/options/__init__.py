"""The options of each command, apart from what it does: --help needs nothing else."""
