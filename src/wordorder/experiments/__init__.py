"""Experiments: many runs that differ in one factor, and the statistics of their results."""
