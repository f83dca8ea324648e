"""Matrices, without models: polar factors, spectra, second moments."""
