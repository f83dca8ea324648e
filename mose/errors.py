"""Exceptions of this package. Each message is one line: what is wrong, where, and what to do."""


class MoseError(Exception):
    """Base class of all errors that this package raises."""


class ConfigError(MoseError):
    """An invalid configuration or argument: unknown key, wrong value, or contradiction."""


class StoreError(MoseError):
    """A file that is missing, damaged, of another program, or of another format version."""


class ModelError(MoseError):
    """A model that cannot be loaded, or whose architecture is unknown."""


class RequestError(MoseError):
    """An invalid edit request, data set or corpus."""


class NumericalError(MoseError):
    """A computation without a reliable result: not finite, singular, or not unique."""


class ResourceError(MoseError):
    """A job that needs more memory or disk space than the machine has."""


class ExtraMissing(MoseError, ImportError):
    """A package is absent that only one of this project's extras installs."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        """what: the action that needs the absent `package`; extra: the one that installs it."""
        super().__init__(
            f"{what} needs {package}, which is not installed; pip install 'mose[{extra}]'"
        )


def shortened(value: object, length: int = 160) -> str:
    """`value` as text, cut to `length` characters."""
    text = str(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
