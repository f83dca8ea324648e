"""Editing a model: value targets, training, the sequence of batches, checkpoints."""
