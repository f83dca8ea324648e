"""From scores to tables, figures and pages: pandas and matplotlib only."""
