"""The editing methods: options and register without torch, one file per update rule."""
