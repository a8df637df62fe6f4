"""Experiments: many runs that differ in one thing, and what may be concluded from them."""
