"""Text: corpora, tokenizers, and deterministic, resumable batches of their tokens."""
