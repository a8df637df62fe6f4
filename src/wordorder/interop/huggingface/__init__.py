"""Hugging Face: one file per family of models, and the comparison that an export must pass."""
