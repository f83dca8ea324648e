"""What is summed over text before an edit: corpus, second moments, keys, templates."""
