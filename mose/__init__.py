"""MOSE: sequential knowledge editing in language models, and the measurement of what it does."""
