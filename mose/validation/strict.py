"""Strict field types, and the base classes of configuration blocks and method options.

Each key is defined once, as a field with type, bounds, default and description. The check, its
error message, the JSON schema and docs/config.md follow from it. Does not import torch.
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

# Validators are built at first use: a program needs the options of one or two methods only.
STRICT = ConfigDict(
    strict=True, extra="forbid", validate_by_name=True, validate_by_alias=True, defer_build=True
)
NAME = "[A-Za-z0-9][A-Za-z0-9_-]*"


@dataclass(frozen=True, eq=False)  # hashable, which unions need
class Rule:
    """An additional check of a field, beyond pydantic's own.

    holds: whether a value is valid. expected: what the error message says is expected. schema:
    keywords added to the JSON schema. meant: common wrong values, and what to suggest for each.
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
        reason = f"found {shown(value)}, expected {self.expected}{hint}"
        raise PydanticCustomError("rule", "{reason}", {"reason": reason})


@dataclass(frozen=True, eq=False)
class Like:
    """Validates a field as the type `kind`, such as a TypedDict for a plain mapping."""

    kind: Any

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return handler.generate_schema(self.kind)


def pattern(text: str, expected: str, **meant: str) -> Rule:
    """Rule: the whole text matches a regular expression. expected, meant: as in `Rule`."""
    compiled = re.compile(text)
    return Rule(
        lambda value: compiled.fullmatch(value) is not None,
        expected,
        {"pattern": f"^(?:{text})$", WORDS: expected},
        meant,
    )


def _label(taken: str = "") -> Rule:
    """Rule: a name that becomes part of paths. taken: a reserved name."""
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
    """Check a number, but keep its type: an int stays an int when it is written again."""
    check(value)
    return value


# Use after the bounds: Annotated[float, Field(gt=0, lt=1), AS_WRITTEN].
AS_WRITTEN = WrapValidator(_as_written)
Positive = Annotated[float, Field(gt=0), AS_WRITTEN]
NonNegative = Annotated[float, Field(ge=0), AS_WRITTEN]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Label = Annotated[str, _label()]
VariantLabel = Annotated[str, _label("unedited")]
TaskLabel = Annotated[str, _label("mean")]
# For tuples, which YAML reads as lists: Annotated[tuple[int, ...], LISTED].
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
    """An optional field without a default: None, and left out of dumps, where not given."""
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
    """A function for pydantic's Discriminator that returns the tag of a value.

    Tags: "~string", "~array", or "~key" for the first of `keys` that the value has; else None.
    """

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
    """Base of the blocks of a configuration file, read by `read_block`."""

    model_config = ConfigDict(**STRICT, frozen=True)


def read_block(kind: type[BlockKind], block: Any, name: str) -> BlockKind:
    """Validate `block` as `kind`. name: of the block in errors.

    Raises ConfigError that names the key.
    """
    try:
        return kind.model_validate(block)
    except ValidationError as error:
        refused = refusal(error, kind)
        raise ConfigError(f"{name}: {refused.key or 'top level'}: {refused.reason}") from None


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
class _CheckedType(type):
    """Turns classes into pydantic dataclasses whose validation errors are ConfigErrors.

    Errors are converted in `__call__`, because pydantic replaces `__init__` when it builds a class
    at its first use.
    """

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        untyped: Any = cls  # mypy does not know it as a dataclass
        pydantic_dataclass(untyped, frozen=True, kw_only=True, config=STRICT)

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise refusal(error, cls) from None


class Checked(metaclass=_CheckedType):
    """Base of frozen dataclasses with keyword arguments and strictly checked fields.

    The constructor raises ConfigError (KeyRefused) for invalid values.
    """
