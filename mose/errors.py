"""One family of exceptions: each message is one line that says what, where and what to do."""


class MoseError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(MoseError):
    """A configuration that is misspelt, contradicts itself or asks for what does not exist."""


class StoreError(MoseError):
    """A file that is missing, damaged, foreign or of another version."""


class ModelError(MoseError):
    """A model that cannot be loaded, or whose architecture is unknown."""


class RequestError(MoseError):
    """An edit request, a data set or a corpus that cannot be used."""


class NumericalError(MoseError):
    """A computation whose result cannot be trusted."""


class ResourceError(MoseError):
    """A job does not fit the machine that it is about to run on."""


class ExtraMissing(MoseError, ImportError):
    """A part of this project needs a package that is installed with one of its extras only."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        """what: is to be done; package: is absent; extra: of pyproject.toml, which brings it."""
        super().__init__(
            f"{what} needs {package}, which is not installed; pip install 'mose[{extra}]'"
        )


def shortened(value: object, length: int = 160) -> str:
    """A value as text for a message, cut to `length` characters."""
    text = str(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
