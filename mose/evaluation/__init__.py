"""What the edits did: prompt scores, stability of the weights, downstream tasks."""
