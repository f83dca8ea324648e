"""What an experiment is and needs: configuration, paths, resources, provenance; no torch."""
