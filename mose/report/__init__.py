"""Computes tables, figures and pages from scores, with pandas and matplotlib only."""
