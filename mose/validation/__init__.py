"""Strict types for options and configurations, and their error messages."""
