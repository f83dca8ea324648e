"""Corpus windows, second moments, keys and context templates."""
