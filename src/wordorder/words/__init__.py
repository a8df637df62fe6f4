"""Word vectors: neighbours, analogies, sentence vectors, and how positions enter a model."""
