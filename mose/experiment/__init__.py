"""What an experiment consists of and what it needs: configuration, resources, provenance. No torch."""
