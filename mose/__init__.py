"""MOSE: sequential knowledge editing in language models, and the measurement of what it does.

Importing the package imports nothing else; docs/design.md lists its packages.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
