"""Methods of other packages: entry points of the group `mose.methods`.

An entry point's name is the method's, its object a row of the register. The register looks at the
names when it is first asked for one, and imports a package when its method is. Free of torch.
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
    """The library's own methods and, behind them, those of installed packages, by name."""

    def __init__(self, own: Mapping[str, Row], kind: type[Row]) -> None:
        """kind: the class that every row is of."""
        self.own, self.kind = dict(own), kind
        self._loaded: dict[str, Row] = {}

    def __getitem__(self, name: str) -> Row:
        """A row; raises KeyError, and ConfigError naming the package that cannot give its own."""
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
        """Entry points by name; a name that two packages claim is refused."""
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
        # Whatever another package's module raises, its name and not a traceback is what helps.
        except Exception as error:
            said = " ".join(str(error).split())
            raise ConfigError(
                f"{place} cannot be imported ({type(error).__name__}: {said}); repair or uninstall "
                "that package"
            ) from None
        if not isinstance(row, self.kind):
            raise ConfigError(
                f"{place} is of type {type(row).__name__}, expected {self.kind.__module__}."
                f"{self.kind.__name__}; repair or uninstall that package"
            )
        return row


def _owner(point: EntryPoint) -> str:
    """The distribution that an entry point belongs to."""
    return "unknown package" if point.dist is None else point.dist.name


def files_of_editor(editor: str) -> list[str]:
    """The files that an editor ("module:name") is written in.

    Relative to the folder of the library for its own; for another package's, absolute paths of all
    Python files of that package. Raises ConfigError where there is no such package.
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
