"""Language models: loading, tokens, partial passes and sampling."""
