"""Editing a model: value targets, the sequence of batches, checkpoints."""
