"""Texts larger than memory: tokens in shards on disk, made by several processes."""
