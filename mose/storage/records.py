"""The one reader of records: JSON, JSON lines, CSV, TSV and Parquet files.

Text is UTF-8, with or without a byte order mark. Lines end in "\\n" alone, for a text may hold the
other characters that end a line for Python (U+2028, U+0085); a "\\r" before it goes. Empty lines
are skipped. Errors name the file and the line.
"""

import csv
import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mose.errors import ExtraMissing, RequestError, StoreError
from mose.storage import files

SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
JSON_SPACE = " \t\r\n"
# A cell that is quoted as a CSV file's are: quotation marks inside are doubled.
QUOTED = re.compile(r'"(?:[^"]|"")*"')

# The number of a row's line, and its cells.
Row = tuple[int, list[str]]


def is_records(path: str | Path) -> bool:
    """Whether the name's end says that a file holds records, not plain text."""
    return Path(path).suffix.lower() in SUFFIXES


def read(path: str | Path, key: str, values: bool = False) -> list[Any]:
    """All records of a file, a list of what `iterate` gives."""
    return list(iterate(path, key, values))


def iterate(path: str | Path, key: str, values: bool = False) -> Iterator[Any]:
    """The records of a file one by one: objects of named fields, unless a JSON file says otherwise.

    The name's end tells CSV, TSV and Parquet; all else is JSON (a list of records) or JSON lines,
    whichever the text is. The separator of a CSV or TSV file is told by its header.
    key: of the configuration, names what asks for a file that is not there.
    values: what cells of tables mean: empty ones are left out, and in CSV and TSV files lists and
    objects are JSON. Otherwise cells of CSV and TSV files are all kept, as text.
    Raises RequestError for a file that is missing, not UTF-8, or damaged.
    """
    path = Path(path)
    check_exists(path, key)
    reader = _TABLES.get(path.suffix.lower())
    if reader is None:
        yield from _json(path)
        return
    for record in reader(path):
        yield without_empty(record, reader is not _parquet) if values else record


def check_exists(path: Path, key: str) -> None:
    """Raise RequestError, naming the key that asks for it, where there is no such file."""
    if not path.is_file():
        raise RequestError(f"{path}: no such file ({key})")


def read_text(path: Path, key: str) -> str:
    """A file of plain text as it stands; key, errors: as of `iterate`."""
    check_exists(path, key)
    with opened(path) as file:
        return file.read()


def text_lines(path: Path, key: str) -> Iterator[str]:
    """The lines of a file of plain text with their "\n"; key, errors: as of `iterate`."""
    check_exists(path, key)
    with opened(path) as file:
        yield from (line.replace("\r\n", "\n") for line in file)


def write_jsonl(path: str | Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    files.write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read JSON lines that a stage of this project wrote; StoreError names the file and line."""
    if not Path(path).is_file():
        raise StoreError(f"{path}: no such file; run the stage that makes it")
    try:
        return list(_json(Path(path)))
    except RequestError as error:
        raise StoreError(f"{error}; delete it and run again") from None


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """A file of text, whose lines end in "\\n" alone, without its byte order mark."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            yield file
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from None


def _json(path: Path) -> Iterator[Any]:
    """Records of JSON lines, or of one list; the first sign of the text tells which."""
    with opened(path) as file:
        first = True
        for number, line in enumerate(file, 1):
            if not line.strip(JSON_SPACE):
                continue
            if first and line.lstrip(JSON_SPACE).startswith("["):
                yield from _loads(path, line + file.read(), number)
                return
            try:
                record = _loads(path, line.rstrip(JSON_SPACE), number)
            except RequestError:
                if first:
                    _refuse_object(path, line + file.read())
                raise
            yield record
            first = False


def _loads(path: Path, text: str, line: int) -> Any:
    """JSON that begins on a line of a file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}, line {line + error.lineno - 1}"
        reason = f"{error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:
        place, reason = f"{path}, line {line}", str(error)
    known = "" if is_records(path) else f"; only {', '.join(SUFFIXES[2:])} are other kinds"
    raise RequestError(f"{place}: not valid JSON ({reason}){known}")


def _refuse_object(path: Path, text: str) -> None:
    """Raise RequestError for a text that is one object over several lines."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return
    raise RequestError(
        f"{path}: one JSON object over several lines; expected a list of objects, or one a line"
    )


def _separated(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV or TSV file by the names in its first line."""
    with opened(path) as file:
        lines = itertools.dropwhile(lambda one: not one[1].strip(JSON_SPACE), enumerate(file, 1))
        first, head = next(lines, (1, ""))
        if not head:
            return
        separator = _separator(head, path)
        cut = _tabbed if separator == "\t" and path.suffix.lower() == ".tsv" else _quoted
        (number, names), *rows = cut(path, [head, *file], separator, first)
    names = _columns(path, number, names)
    for number, cells in rows:
        if any(cells[len(names) :]):
            raise RequestError(
                f"{path}, line {number}: {len(cells)} cells for {len(names)} columns; a cell that "
                f"holds {separator!r} needs quotation marks around it"
            )
        if any(cells):
            yield dict(zip(names, cells, strict=False))


def _separator(head: str, path: Path) -> str:
    """The first of the usual separators that the header has, outside quotation marks."""
    usual = "\t,;" if path.suffix.lower() == ".tsv" else ",;\t"
    plain = QUOTED.sub("", head)
    return next((sign for sign in usual if sign in plain), usual[0])


def _quoted(path: Path, lines: Sequence[str], separator: str, first: int) -> list[Row]:
    """Rows in which quotation marks are as in CSV; first: the number of the first line."""
    limit = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        return [(first - 1 + reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise RequestError(
            f"{path}, line {first - 1 + reader.line_num}: {error}; see to its quotation marks"
        ) from None
    finally:
        csv.field_size_limit(limit)


def _tabbed(path: Path, lines: Sequence[str], separator: str, first: int) -> list[Row]:
    """Rows of a TSV file. Quotation marks are text, unless the file was written with quoting.

    GLUE's files hold bare quotation marks, and spreadsheets write quoted cells. A file was written
    with quoting when it can be read so, and a quoted cell holds a doubled quotation mark or would
    otherwise be cut in two.
    """
    texts = (line.removesuffix("\n").removesuffix("\r") for line in lines)
    plain = [(n, text.split(separator)) for n, text in enumerate(texts, first) if text]
    cells = [cell for _, row in plain for cell in row if cell.startswith('"')]
    if not cells:
        return plain
    try:
        quoted = _quoted(path, lines, separator, first)
    except RequestError:
        return plain
    doubled = any('""' in cell[1:-1] for cell in cells)
    return quoted if _is_even(quoted) and (doubled or not _is_even(plain)) else plain


def _is_even(rows: Sequence[Row]) -> bool:
    """Whether all rows have as many cells as the first."""
    return len({len(cells) for _, cells in rows}) == 1


def _columns(path: Path, number: int, names: list[str]) -> list[str]:
    """The columns' names without spaces around them; one without a name is called by its place."""
    names = [name.strip() or f"column {place}" for place, name in enumerate(names, 1)]
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise RequestError(f"{path}, line {number}: two columns have the name {twice[0]!r}")
    return names


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    """Rows by Arrow's own types: pandas would make arrays of lists, and floats of whole numbers."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise ExtraMissing(str(path), "pyarrow", "workflow") from None
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (ValueError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(f"{path}: not a Parquet file that can be read ({reason})") from None
    yield from (without_nulls(row) for row in rows)


_TABLES: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    ".csv": _separated,
    ".tsv": _separated,
    ".parquet": _parquet,
}


def without_nulls(value: Any) -> Any:
    """A table's value without the fields that are null, at any depth; lists keep their length."""
    if isinstance(value, Mapping):
        return {str(k): without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def without_empty(record: Mapping[str, Any], parse: bool) -> dict[str, Any]:
    """A table's row without its empty cells; parse: take lists and objects in cells as JSON."""
    cells = {k: _parsed(v) if parse else v for k, v in record.items()}
    return {k: v for k, v in cells.items() if v != "" and not _is_nan(v)}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _parsed(cell: str) -> Any:
    # "{}" stands for the subject.
    if cell[:1] in ("[", "{") and cell.strip() != "{}":
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell
