"""Language models: loading, tokens, and passes through a part of the blocks."""
