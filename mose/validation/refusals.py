"""Validation errors as one line: the value found, what is expected, and the likely intention.

Expected values are worded from the JSON schema, as in docs/config.md. Does not import torch.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from mose.errors import ConfigError

JsonSchema = Mapping[str, Any]
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument", "invalid_key")
MISSING = ("missing", "missing_keyword_only_argument")
# Extra schema keyword: the expected value in words, where the standard keywords are unclear.
WORDS = "x-expected"
SHOWN = 60  # characters of a value in a message
# Numbers that YAML 1.1 reads as text, such as 1e-5.
EXPONENT = re.compile(r"([-+]?\d+)(\.\d*)?e([-+]?)(\d+)", re.IGNORECASE)
NAMES = {int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a mapping"}


class KeyRefused(ConfigError):
    """A ConfigError that holds its key, so that a caller can prefix the enclosing key.

    key: dotted, such as "shape.width"; empty for the whole block.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}" if key else reason)
        self.key, self.reason = key, reason

    def within(self, where: str) -> ConfigError:
        """The same error for a block under the key `where`."""
        return ConfigError(f"{where}.{self}" if self.key else f"{where}: {self}")


def refusal(error: ValidationError, kind: type) -> KeyRefused:
    """The one-line error for pydantic's errors in a block of type `kind`.

    Reports the first error. Unknown keys come before missing ones, because a misspelt key causes
    both.
    """
    rank = {**dict.fromkeys(UNKNOWN, 0), **dict.fromkeys(MISSING, 2)}
    first = min(error.errors(include_url=False), key=lambda detail: rank.get(detail["type"], 1))
    keys, block, part, defs = _locate(first["loc"], _schema(kind))
    if first["type"] in UNKNOWN:
        return KeyRefused(_dotted(keys[:-1]), unknown_key(keys[-1], block.get("properties", {})))
    if first["type"] in MISSING:
        what = expected(part, defs)
        return KeyRefused(_dotted(keys[:-1]), f"missing key {keys[-1]!r}, expected {what}")
    key = _dotted(keys)
    if first["type"] == "rule":
        return KeyRefused(key, first["ctx"]["reason"])
    value = first["input"]
    reason = f"found {_found(value, first['type'])}, expected {expected(part, defs)}"
    return KeyRefused(key, reason + _hint(value, part, defs))


def unknown_key(key: Any, known: Iterable[str], whose: str = "") -> str:
    """Message for an unknown key. whose: suffix such as " for method memit"."""
    known = list(known)
    close = difflib.get_close_matches(str(key), known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"unknown key {key!r}{whose}; {hint}"


def one_of(value: Any, allowed: Sequence[str]) -> str:
    """Message for a value that is not among the allowed ones."""
    return f"found {shown(value)}, expected {either(allowed)}{closest_of(value, allowed)}"


def shown(value: Any) -> str:
    """A value as messages show it: null, true and false as in YAML; at most SHOWN characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def expected(part: JsonSchema, defs: JsonSchema) -> str:
    """What a part of a JSON schema allows, in words. defs: the schema's `$defs`."""
    part = resolved(part, defs)
    if WORDS in part:
        return str(part[WORDS])
    if "const" in part:
        return _plain(part["const"])
    if "enum" in part:
        return either([_plain(value) for value in part["enum"]])
    if branches := branches_of(part):
        return either([expected(branch, defs) for branch in branches])
    kind = part.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(part)
    if kind == "array":
        items = part.get("items") or {}
        each = f" (each {expected(items, defs)})" if items else ""
        filled = " that is not empty" if part.get("minItems") else ""
        distinct = " without repetitions" if part.get("uniqueItems") else ""
        return f"a list{distinct}{filled}{each}"
    if kind == "object" and part.get("required"):
        return f"{{{', '.join(f'{name}: ...' for name in part['required'])}}}"
    return {
        "string": "text",
        "boolean": "true or false",
        "object": "a mapping",
        "null": "null",
    }.get(str(kind), "anything")


def resolved(part: JsonSchema, defs: JsonSchema) -> JsonSchema:
    """The part with its `$ref` replaced by the definition."""
    while "$ref" in part:
        part = {
            **defs[part["$ref"].rpartition("/")[2]],
            **{k: part[k] for k in part if k != "$ref"},
        }
    return part


def _schema(kind: type) -> JsonSchema:
    """The JSON schema of a model, with each property under both its alias and its Python name."""
    from pydantic import TypeAdapter  # needed for errors only

    adapter = TypeAdapter[Any](kind)
    schema = adapter.json_schema()
    by_name = adapter.json_schema(by_alias=False)
    return {**schema, "properties": {**by_name["properties"], **schema["properties"]}}


def _locate(
    loc: Sequence[str | int], schema: JsonSchema
) -> tuple[list[str | int], JsonSchema, JsonSchema, JsonSchema]:
    """Keys of a location, the enclosing block's schema, its own schema, and the definitions.

    loc: from pydantic. Besides keys it holds "[key]" after an invalid key, and tags of unions,
    which begin with "~" (`mose.validation.strict.by_key`).
    """
    defs = schema.get("$defs", {})
    keys: list[str | int] = []
    block, part = schema, schema
    for i, step in enumerate(loc):
        part = resolved(part, defs)
        if step == "[key]":
            del keys[-1]
        elif isinstance(step, str) and step.startswith("~"):
            # An error of a whole branch is reported for the union.
            if i < len(loc) - 1:
                part = _branch(part, step[1:], defs)
        else:
            for branch in branches_of(part):
                if resolved(branch, defs).get("type") in ("object", "array"):
                    part = resolved(branch, defs)
            block = part
            keys.append(step)
            part = _inside(part, step)
    return keys, block, resolved(part, defs), defs


def _dotted(keys: Sequence[str | int]) -> str:
    """Keys as "methods.a.layers[0]"."""
    steps = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return "".join(steps).removeprefix(".")


def _inside(part: JsonSchema, step: str | int) -> JsonSchema:
    if isinstance(step, int):
        return part.get("items") or {}
    known = part.get("properties", {})
    return known[step] if step in known else values_of(part)


def values_of(part: JsonSchema) -> JsonSchema:
    """Schema of the values of a mapping with free keys; empty for other parts."""
    additional = part.get("additionalProperties")
    patterns = list(part.get("patternProperties", {}).values())
    return additional if isinstance(additional, dict) else next(iter(patterns), {})


def branches_of(part: JsonSchema) -> Sequence[JsonSchema]:
    """The branches of a union; empty for other parts."""
    return part.get("anyOf") or part.get("oneOf") or ()


def _branch(part: JsonSchema, tag: str, defs: JsonSchema) -> JsonSchema:
    """The branch of a union with the tag as its type or as a required key."""
    for branch in branches_of(part):
        branch = resolved(branch, defs)
        if tag == branch.get("type") or tag in branch.get("required", ()):
            return branch
    return part


def _bounds(part: JsonSchema) -> str:
    words = {
        "exclusiveMinimum": "above", "minimum": "of at least",
        "exclusiveMaximum": "below", "maximum": "of at most",
    }  # fmt: skip
    bounds = [f"{word} {part[name]:g}" for name, word in words.items() if name in part]
    return f" {' and '.join(bounds)}" if bounds else ""


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def either(words: Sequence[str]) -> str:
    """Join words as "a, b or c"."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _found(value: Any, error: str) -> str:
    name = NAMES.get(type(value))
    return f"{shown(value)} ({name})" if error.endswith("_type") and name else shown(value)


def _hint(value: Any, part: JsonSchema, defs: JsonSchema) -> str:
    """Suggestion of the likely intended value, or ""."""
    parts = [part, *(resolved(branch, defs) for branch in branches_of(part))]
    number = EXPONENT.fullmatch(value) if isinstance(value, str) else None
    if number and any(option.get("type") == "number" for option in parts):
        whole, fraction, sign, exponent = number.groups()
        as_yaml = f"{whole}{fraction or '.0'}e{sign or '+'}{exponent}"
        return f"; YAML reads this as text, write {as_yaml}"
    return closest_of(value, [str(word) for option in parts for word in option.get("enum", ())])


def closest_of(value: Any, words: Sequence[str]) -> str:
    """Suggestion "; did you mean X?" of the most similar word, or ""."""
    close = difflib.get_close_matches(str(value), words, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
