"""Longer context: a trained model carried past the length it was trained on."""
