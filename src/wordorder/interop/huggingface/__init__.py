"""transformers: folders that its classes load, and its models with embeddings of wordorder."""

from .position_replacement import ReplacedPosition, replace_position

__all__ = ["ReplacedPosition", "replace_position"]
