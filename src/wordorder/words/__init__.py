"""Words as vectors: what is near what, analogies, sentences, and how positions are added."""
