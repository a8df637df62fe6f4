"""GGUF: one file that llama.cpp and Ollama run, and the comparison that an export must pass."""
