"""The commands mose and mose-workflow, and shared code of the programs in scripts/."""
