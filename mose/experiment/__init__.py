"""What an experiment consists of and needs: configuration, resources, provenance. No torch."""
