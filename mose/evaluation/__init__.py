"""Effects of edits: prompt scores, stability of the weights, downstream tasks."""
