"""Methods of other packages: entry points of the group `mose.methods`.

An entry point has the method's name and refers to a row of the register. The register reads the
names at its first use, and imports a package when its method is looked up. Free of torch.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from mose.errors import ConfigError

GROUP = "mose.methods"

Row = TypeVar("Row")


class Register(Mapping[str, Row]):
    """Methods by name: the library's own, then those of installed packages."""

    def __init__(self, own: Mapping[str, Row], kind: type[Row]) -> None:
        """kind: the class of every row."""
        self.own, self.kind = dict(own), kind
        self._loaded: dict[str, Row] = {}

    def __getitem__(self, name: str) -> Row:
        """A row; raises KeyError, or ConfigError naming a package whose row cannot be loaded."""
        others = self._others
        if name in self.own:
            return self.own[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(others[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._others or name in self.own

    def __iter__(self) -> Iterator[str]:
        yield from [*self.own, *self._others]

    def __len__(self) -> int:
        return len(self.own) + len(self._others)

    @cached_property
    def _others(self) -> dict[str, EntryPoint]:
        """Entry points by name. Raises ConfigError for a name that two packages use."""
        others: dict[str, EntryPoint] = {}
        for point in sorted(entry_points(group=GROUP), key=lambda one: (one.name, _owner(one))):
            if point.name in self.own:
                raise ConfigError(
                    f"{_owner(point)}: its method {point.name!r} has the name of one of mose's "
                    f"own; rename its entry point ({GROUP}), or uninstall it"
                )
            other = others.setdefault(point.name, point)
            if other is not point and (other.value, _owner(other)) != (point.value, _owner(point)):
                raise ConfigError(
                    f"{_owner(other)}, {_owner(point)}: both have a method {point.name!r}; "
                    "uninstall one of them"
                )
        return others

    def _load(self, point: EntryPoint) -> Row:
        place = f"{_owner(point)}: its method {point.name!r} ({point.value})"
        try:
            row = point.load()
        # An import may raise anything; the package's name helps more than a traceback.
        except Exception as error:
            message = " ".join(str(error).split())
            raise ConfigError(
                f"{place} cannot be imported ({type(error).__name__}: {message}); repair or "
                "uninstall that package"
            ) from None
        if not isinstance(row, self.kind):
            raise ConfigError(
                f"{place} is of type {type(row).__name__}, expected {self.kind.__module__}."
                f"{self.kind.__name__}; repair or uninstall that package"
            )
        return row


def _owner(point: EntryPoint) -> str:
    """Name of the distribution of an entry point."""
    return "unknown package" if point.dist is None else point.dist.name


def files_of_editor(editor: str) -> list[str]:
    """Source files of an editor ("module:name").

    For the library's own, the path relative to the folder that holds `mose`; for another package's,
    absolute paths of all its Python files. Raises ConfigError if that package is not installed.
    """
    module = editor.partition(":")[0]
    top = module.partition(".")[0]
    if top == "mose":
        return [f"{module.replace('.', '/')}.py"]
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        raise ConfigError(f"editor {editor}: no package {top}; install it again")
    if spec.submodule_search_locations is None:
        return [spec.origin]
    return sorted(str(path) for path in Path(spec.origin).parent.rglob("*.py"))
