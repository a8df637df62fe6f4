"""Statements about positional embeddings that could be false, each with its experiment."""
