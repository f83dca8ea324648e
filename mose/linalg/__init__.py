"""Linear algebra: polar factors, rotations, second moments, spectra."""
