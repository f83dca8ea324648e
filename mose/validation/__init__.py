"""Strict types of options and configurations, and refusals in one line that name the key."""
