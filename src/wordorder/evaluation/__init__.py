"""Measurements of trained models: loss by position and context, use of order, retrieval."""
