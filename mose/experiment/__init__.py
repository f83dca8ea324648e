"""Experiments: configuration, paths, resources, provenance. Imports no torch."""
