"""Exports with a modelling file of their own, for what no stock class of transformers holds."""
