"""Facts and edit requests: reading data sets and drawing requests."""
