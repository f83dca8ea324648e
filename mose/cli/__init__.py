"""What the programs in scripts/ share."""
