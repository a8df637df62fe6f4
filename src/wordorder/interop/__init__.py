"""Exports to other programs: exact or refused, never close."""
