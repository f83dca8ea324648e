"""What configurations are made of: strict types, blocks of a file, options that check themselves.

A key is stated once, as a field with type, bounds, default and meaning. From the field follow the
check, the words of its refusal, the JSON schema for editors, and docs/config.md. Free of torch.
"""

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    ValidationError,
    WrapValidator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mose.errors import ConfigError
from mose.validation.refusals import WORDS, refusal, shown

BlockKind = TypeVar("BlockKind", bound="Block")

# Built at first use: of the methods' options a program needs one or two.
STRICT = ConfigDict(
    strict=True, extra="forbid", validate_by_name=True, validate_by_alias=True, defer_build=True
)
NAME = "[A-Za-z0-9][A-Za-z0-9_-]*"


@dataclass(frozen=True, eq=False)  # hashable, for unions
class Rule:
    """A check that pydantic has no word for.

    holds: whether a value passes. expected: what is said where it does not. schema: what the JSON
    schema says of it. meant: what people write, and what they mean by it.
    """

    holds: Callable[[Any], bool]
    expected: str
    schema: Mapping[str, Any]
    meant: Mapping[str, str] = field(default_factory=dict)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), **self.schema}

    def _check(self, value: Any) -> Any:
        if self.holds(value):
            return value
        meant = self.meant.get(value) if isinstance(value, str) else None
        hint = f"; did you mean {meant!r}?" if meant else ""
        said = f"found {shown(value)}, expected {self.expected}{hint}"
        raise PydanticCustomError("rule", "{said}", {"said": said})


@dataclass(frozen=True, eq=False)
class Like:
    """The checks of another type: of a TypedDict, for a value that stays a plain mapping."""

    kind: Any

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return handler.generate_schema(self.kind)


def pattern(text: str, expected: str, **meant: str) -> Rule:
    """Text that fits a regular expression as a whole."""
    compiled = re.compile(text)
    return Rule(
        lambda value: compiled.fullmatch(value) is not None,
        expected,
        {"pattern": f"^(?:{text})$", WORDS: expected},
        meant,
    )


def _label(taken: str = "") -> Rule:
    """A name that becomes part of paths; taken: one that is not free."""
    compiled = re.compile(NAME)
    expected = "a name of letters, digits, '-' and '_' that begins with a letter or digit"
    schema: dict[str, Any] = {"pattern": f"^{NAME}$", WORDS: expected}
    if taken:
        schema["not"] = {"const": taken}
        expected += f" ({taken!r} is taken)"
    return Rule(
        lambda value: compiled.fullmatch(value) is not None and value != taken, expected, schema
    )


def _as_written(value: Any, check: Callable[[Any], float]) -> Any:
    """A checked number as it is written: 100 stays 100 in what is written out again."""
    check(value)
    return value


# Behind a number's bounds: Annotated[float, Field(gt=0, lt=1), AS_WRITTEN].
AS_WRITTEN = WrapValidator(_as_written)
Positive = Annotated[float, Field(gt=0), AS_WRITTEN]
NonNegative = Annotated[float, Field(ge=0), AS_WRITTEN]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Label = Annotated[str, _label()]
VariantLabel = Annotated[str, _label("unedited")]
TaskLabel = Annotated[str, _label("mean")]
# Of tuples, which YAML gives as lists: Annotated[tuple[int, ...], LISTED].
LISTED = Strict(False)
DISTINCT = Rule(
    lambda values: all(value not in values[:i] for i, value in enumerate(values)),
    "a list without repetitions",
    {"uniqueItems": True},
)
ASCENDING = Rule(
    lambda values: all(a < b for a, b in itertools.pairwise(values)),
    "a list of whole numbers that ascend, at least one",
    {"uniqueItems": True, WORDS: "a list of whole numbers that ascend, at least one"},
)


def absent(description: str) -> Any:
    """The field of a key that has no default: where it is not given, it is not there."""
    return Field(
        default=None,
        exclude_if=lambda value: value is None,
        json_schema_extra=_without_null,
        description=description,
    )


def _without_null(schema: dict[str, Any]) -> None:
    del schema["default"]
    (form,) = (form for form in schema.pop("anyOf") if form.get("type") != "null")
    schema.update(form)


def by_key(*keys: str) -> Callable[[Any], str | None]:
    """Which form of a union a value has: "~string", "~array", or the first of `keys` that it has,
    as "~key". For pydantic's Discriminator; None where it has no form."""

    def form(value: Any) -> str | None:
        if isinstance(value, str):
            return "~string"
        if isinstance(value, list | tuple):
            return "~array"
        if isinstance(value, Mapping):
            return next((f"~{key}" for key in keys if key in value), None)
        return next((f"~{key}" for key in keys if hasattr(value, key)), None)

    return form


class Block(BaseModel):
    """A block of a file, read by `read_block`."""

    model_config = ConfigDict(**STRICT, frozen=True)


def read_block(kind: type[BlockKind], block: Any, name: str) -> BlockKind:
    """A checked block; `name` is what the whole of it is called in errors.

    Raises ConfigError: one line that names the key.
    """
    try:
        return kind.model_validate(block)
    except ValidationError as error:
        refused = refusal(error, kind)
        raise ConfigError(f"{name}: {refused.key or 'top level'}: {refused.reason}") from None


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
class _CheckedType(type):
    """Makes a class a pydantic dataclass, and its refusals ConfigErrors.

    The refusals are turned here and not in `__init__`, which pydantic sets anew when it builds a
    class at its first use.
    """

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        checked_class: Any = cls  # whose type is not known to be a dataclass yet
        pydantic_dataclass(checked_class, frozen=True, kw_only=True, config=STRICT)

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise refusal(error, cls) from None


class Checked(metaclass=_CheckedType):
    """A frozen dataclass, constructed by keywords, whose fields are checked strictly.

    What does not fit is refused as a ConfigError of one line, wherever it is constructed.
    """
