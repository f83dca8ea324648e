"""Refusals in one line: what was found, what is expected, and what was probably meant.

The words come from the JSON schema of the model that refused, so that docs/config.md and a refusal
say the same. Free of torch.
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
# Beside a schema's own keywords: what is expected, where these do not say it well.
WORDS = "x-expected"
SHOWN = 60  # characters of a value
# YAML 1.1 reads these as text; whoever writes them means a number.
EXPONENT = re.compile(r"([-+]?\d+)(\.\d*)?e([-+]?)(\d+)", re.IGNORECASE)
NAMES = {int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a mapping"}


class KeyRefused(ConfigError):
    """A refusal that knows its key, so that whoever reads the block can say where that is.

    key: dotted, as "shape.width"; empty for the whole block.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}" if key else reason)
        self.key, self.reason = key, reason

    def within(self, where: str) -> ConfigError:
        """The same of a block that is itself the key `where`."""
        return ConfigError(f"{where}.{self}" if self.key else f"{where}: {self}")


def refusal(error: ValidationError, kind: type) -> KeyRefused:
    """The one line for what pydantic found wrong in a block of the given kind.

    Of several mistakes the first is named. An unknown key comes before all others, since a
    misspelt key is missing elsewhere.
    """
    rank = {**dict.fromkeys(UNKNOWN, 0), **dict.fromkeys(MISSING, 2)}
    first = min(error.errors(include_url=False), key=lambda one: rank.get(one["type"], 1))
    keys, block, part, defs = _place(first["loc"], _schema(kind))
    if first["type"] in UNKNOWN:
        return KeyRefused(_dotted(keys[:-1]), unknown_key(keys[-1], block.get("properties", {})))
    if first["type"] in MISSING:
        what = expected(part, defs)
        return KeyRefused(_dotted(keys[:-1]), f"missing key {keys[-1]!r}, expected {what}")
    key = _dotted(keys)
    if first["type"] == "rule":
        return KeyRefused(key, first["ctx"]["said"])
    value = first["input"]
    said = f"found {_found(value, first['type'])}, expected {expected(part, defs)}"
    return KeyRefused(key, said + _hint(value, part, defs))


def unknown_key(key: Any, known: Iterable[str], whose: str = "") -> str:
    """What to say of a key that nothing reads; whose: such as " for method memit"."""
    known = list(known)
    close = difflib.get_close_matches(str(key), known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"unknown key {key!r}{whose}; {hint}"


def one_of(value: Any, allowed: Sequence[str]) -> str:
    """What to say of a value that is none of the allowed ones."""
    return f"found {shown(value)}, expected {either(allowed)}{_close(value, allowed)}"


def shown(value: Any) -> str:
    """A value as a refusal shows it: as YAML writes it, and not too long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def expected(part: JsonSchema, defs: JsonSchema) -> str:
    """In words, what a part of a JSON schema allows."""
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
    """The part that a reference names, or the part itself."""
    while "$ref" in part:
        part = {
            **defs[part["$ref"].rpartition("/")[2]],
            **{k: part[k] for k in part if k != "$ref"},
        }
    return part


def _schema(kind: type) -> JsonSchema:
    """The schema of a model, whose keys have both of their names: YAML's and Python's."""
    from pydantic import TypeAdapter  # of use only where something is refused

    adapter = TypeAdapter[Any](kind)
    schema = adapter.json_schema()
    by_name = adapter.json_schema(by_alias=False)
    return {**schema, "properties": {**by_name["properties"], **schema["properties"]}}


def _place(
    loc: Sequence[str | int], schema: JsonSchema
) -> tuple[list[str | int], JsonSchema, JsonSchema, JsonSchema]:
    """Keys of a place, the block around it, its own part of the schema, and the definitions.

    loc: pydantic's; beside keys it holds "[key]" after a key that is itself wrong, and the tags of
    unions (`mose.validation.strict.by_key`), which begin with "~".
    """
    defs = schema.get("$defs", {})
    keys: list[str | int] = []
    block, part = schema, schema
    for i, step in enumerate(loc):
        part = resolved(part, defs)
        if step == "[key]":
            del keys[-1]
        elif isinstance(step, str) and step.startswith("~"):
            # A mistake of the branch as a whole is one of the union.
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
    """What a mapping with keys of one's own holds; empty for other parts."""
    other = part.get("additionalProperties")
    patterns = list(part.get("patternProperties", {}).values())
    return other if isinstance(other, dict) else next(iter(patterns), {})


def branches_of(part: JsonSchema) -> Sequence[JsonSchema]:
    """The forms of a union, none for other parts."""
    return part.get("anyOf") or part.get("oneOf") or ()


def _branch(part: JsonSchema, tag: str, defs: JsonSchema) -> JsonSchema:
    """The branch of a union that a tag names: by its type, or by a key that it requires."""
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
    said = [f"{word} {part[name]:g}" for name, word in words.items() if name in part]
    return f" {' and '.join(said)}" if said else ""


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def either(words: Sequence[str]) -> str:
    """Words as "a, b or c"."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _found(value: Any, error: str) -> str:
    name = NAMES.get(type(value))
    return f"{shown(value)} ({name})" if error.endswith("_type") and name else shown(value)


def _hint(value: Any, part: JsonSchema, defs: JsonSchema) -> str:
    """What was probably meant."""
    parts = [part, *(resolved(branch, defs) for branch in branches_of(part))]
    number = EXPONENT.fullmatch(value) if isinstance(value, str) else None
    if number and any(one.get("type") == "number" for one in parts):
        whole, fraction, sign, exponent = number.groups()
        as_yaml = f"{whole}{fraction or '.0'}e{sign or '+'}{exponent}"
        return f"; YAML reads this as text, write {as_yaml}"
    return _close(value, [str(word) for one in parts for word in one.get("enum", ())])


def _close(value: Any, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(value), words, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
