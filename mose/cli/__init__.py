"""Shared code of the programs in scripts/, and the command mose-workflow."""
