"""Reader of records in JSON, JSON lines, CSV, TSV and Parquet files.

Text is UTF-8, with or without a byte order mark. Only "\\n" and "\\r\\n" end a line, because texts
may contain Python's other line separators (U+2028, U+0085). Empty lines are skipped. Errors name
the file and the line.
"""

import csv
import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mose.errors import ExtraMissing, RequestError, StoreError
from mose.storage import files

SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
JSON_SPACE = " \t\r\n"
# A quoted CSV cell; quotation marks inside are doubled.
QUOTED = re.compile(r'"(?:[^"]|"")*"')

# A row: number of its first line, and cells.
Row = tuple[int, list[str]]
# A record and its place in the file, in words.
Placed = tuple[str, Any]


def is_records(path: str | Path) -> bool:
    """Whether the file's suffix is one of SUFFIXES (else it is plain text)."""
    return Path(path).suffix.lower() in SUFFIXES


def read(path: str | Path, key: str, values: bool = False) -> list[Any]:
    """All records of a file as a list; arguments and errors as in `iterate`."""
    return list(iterate(path, key, values))


def iterate(path: str | Path, key: str, values: bool = False) -> Iterator[Any]:
    """Yield the records of a file; as `placed`, without their places."""
    return (record for _, record in placed(path, key, values))


def placed(path: str | Path, key: str, values: bool = False) -> Iterator[Placed]:
    """Yield the records of a file, each with its place in words: dictionaries, or whatever values
    a JSON file holds.

    The place is the line that the record begins at in tables and JSON lines ("line 3"), and the
    number of the record, from 0, in a JSON list or a Parquet file ("record 2").
    CSV, TSV and Parquet files are known by suffix. All others are JSON lists or JSON lines, known
    by their content. The separator of a CSV or TSV file is taken from its header.
    key: config key that names the file, for the error when it is missing.
    values: interpret cells of tables: drop empty ones, and parse JSON lists and objects in CSV and
    TSV cells. Otherwise all cells of CSV and TSV files are kept as text.
    Raises RequestError for a file that is missing, not UTF-8, or damaged; ExtraMissing for a
    Parquet file without pyarrow.
    """
    path = Path(path)
    check_exists(path, key)
    reader = _TABLES.get(path.suffix.lower())
    if reader is None:
        yield from _json(path)
        return
    for place, record in reader(path):
        yield place, without_empty(record, reader is not _parquet) if values else record


def check_exists(path: Path, key: str) -> None:
    """Raise RequestError if the file does not exist. key: config key, for the error."""
    if path.is_dir():
        raise RequestError(f"{path}: a folder, expected a file ({key}); give a file in it")
    if not path.is_file():
        raise RequestError(f"{path}: no such file ({key}); check the path")


def read_text(path: Path, key: str) -> str:
    """The text of a plain-text file, unchanged; key and errors as in `iterate`."""
    check_exists(path, key)
    with opened(path) as file:
        return file.read()


def text_lines(path: Path, key: str) -> Iterator[str]:
    """The lines of a plain-text file, with their "\n"; key and errors as in `iterate`."""
    check_exists(path, key)
    with opened(path) as file:
        yield from (line.replace("\r\n", "\n") for line in file)


def write_jsonl(path: str | Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records as JSON lines, atomically."""
    files.write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read JSON lines that a stage of this project wrote. Raises StoreError with file and line."""
    if not Path(path).is_file():
        raise StoreError(f"{path}: no such file; run the stage that makes it")
    try:
        return [record for _, record in _json(Path(path))]
    except RequestError as error:
        raise StoreError(f"{error}; delete it and run again") from None


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file: byte order mark removed, only "\\n" ends a line."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            yield file
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from None


def numbered(rows: Iterable[Any]) -> Iterator[Placed]:
    """Records that have no lines, each with its number from 0 as its place."""
    return ((f"record {number}", row) for number, row in enumerate(rows))


def _json(path: Path) -> Iterator[Placed]:
    """Records of JSON lines, or of one JSON list if the text starts with "["."""
    with opened(path) as file:
        first = True
        for number, line in enumerate(file, 1):
            if not line.strip(JSON_SPACE):
                continue
            if first and line.lstrip(JSON_SPACE).startswith("["):
                yield from numbered(_loads(path, line + file.read(), number))
                return
            try:
                record = _loads(path, line.rstrip(JSON_SPACE), number)
            except RequestError:
                if first:
                    _refuse_object(path, line + file.read())
                raise
            yield f"line {number}", record
            first = False


def _loads(path: Path, text: str, line: int) -> Any:
    """Parse JSON text that starts at line `line` of a file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}, line {line + error.lineno - 1}"
        reason = f"{error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:
        place, reason = f"{path}, line {line}", str(error)
    hint = "" if is_records(path) else f"; tables need a suffix {', '.join(SUFFIXES[2:])}"
    raise RequestError(f"{place}: not valid JSON ({reason}){hint}")


def _refuse_object(path: Path, text: str) -> None:
    """Raise RequestError if the text is one JSON object over several lines."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return
    raise RequestError(
        f"{path}: one JSON object over several lines; expected a list of objects, or one a line"
    )


def _separated(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV or TSV file as dictionaries by the names in its header."""
    with opened(path) as file:
        lines = itertools.dropwhile(lambda line: not line[1].strip(JSON_SPACE), enumerate(file, 1))
        first, header = next(lines, (1, ""))
        if not header:
            return
        separator = _separator(header, path)
        split = _tsv_rows if separator == "\t" and path.suffix.lower() == ".tsv" else _csv_rows
        (number, names), *rows = split(path, [header, *file], separator, first)
    names = _columns(path, number, names)
    for number, cells in rows:
        if any(cells[len(names) :]):
            raise RequestError(
                f"{path}, line {number}: {len(cells)} cells for {len(names)} columns; a cell that "
                f"holds {separator!r} needs quotation marks around it"
            )
        if any(cells):
            yield f"line {number}", dict(zip(names, cells, strict=False))


def _separator(header: str, path: Path) -> str:
    """The first usual separator that occurs in the header outside quotation marks."""
    usual = "\t,;" if path.suffix.lower() == ".tsv" else ",;\t"
    unquoted = QUOTED.sub("", header)
    return next((sign for sign in usual if sign in unquoted), usual[0])


def _csv_rows(path: Path, lines: Sequence[str], separator: str, first: int) -> list[Row]:
    """Rows with CSV quoting. first: number of the first line."""
    limit = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        rows, begin = [], first
        for cells in reader:
            if cells:
                rows.append((begin, cells))
            begin = first + reader.line_num
        return rows
    except csv.Error as error:
        raise RequestError(
            f"{path}, line {first - 1 + reader.line_num}: {error}; check its quotation marks"
        ) from None
    finally:
        csv.field_size_limit(limit)


def _tsv_rows(path: Path, lines: Sequence[str], separator: str, first: int) -> list[Row]:
    """Rows of a TSV file. Quotation marks are text, unless the file is quoted.

    GLUE's files contain unquoted quotation marks; spreadsheets write quoted cells. A file counts
    as quoted if it parses as such and a quoted cell holds a doubled quotation mark, or splitting
    at every separator gives rows of unequal length, or all of its quoted cells are closed and the
    header is one of them, or each of them holds a comma, for which Excel quotes it.
    """
    texts = (line.removesuffix("\n").removesuffix("\r") for line in lines)
    plain = [(n, text.split(separator)) for n, text in enumerate(texts, first) if text]
    cells = [cell for _, row in plain for cell in row if cell.startswith('"')]
    if not cells:
        return plain
    try:
        quoted = _csv_rows(path, lines, separator, first)
    except RequestError:
        return plain
    doubled = any('""' in cell[1:-1] for cell in cells)
    closed = all(len(cell) > 1 and cell.endswith('"') for cell in cells)
    written_so = plain[0][1][0].startswith('"') or all("," in cell for cell in cells)
    is_quoted = _equal_lengths(quoted) and (
        doubled or not _equal_lengths(plain) or (closed and written_so)
    )
    return quoted if is_quoted else plain


def _equal_lengths(rows: Sequence[Row]) -> bool:
    """Whether all rows have the same number of cells."""
    return len({len(cells) for _, cells in rows}) == 1


def _columns(path: Path, number: int, names: list[str]) -> list[str]:
    """Stripped column names; unnamed columns become "column <number>"."""
    names = [name.strip() or f"column {place}" for place, name in enumerate(names, 1)]
    repeated = [name for place, name in enumerate(names) if name in names[:place]]
    if repeated:
        raise RequestError(f"{path}, line {number}: two columns have the name {repeated[0]!r}")
    return names


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a Parquet file, with Arrow's types.

    pandas would turn lists into arrays, and integers with nulls into floats.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise ExtraMissing(str(path), "pyarrow", "hub") from None
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (ValueError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(f"{path}: not a Parquet file that can be read ({reason})") from None
    yield from numbered(without_nulls(row) for row in rows)


_TABLES: dict[str, Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]] = {
    ".csv": _separated,
    ".tsv": _separated,
    ".parquet": _parquet,
}


def without_nulls(value: Any) -> Any:
    """`value` without null fields of mappings, at any depth; lists keep their length."""
    if isinstance(value, Mapping):
        return {str(k): without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def without_empty(record: Mapping[str, Any], parse: bool) -> dict[str, Any]:
    """A table's row without empty cells and NaN. parse: parse JSON lists and objects in cells."""
    cells = {k: _parsed(v) if parse else v for k, v in record.items()}
    return {k: v for k, v in cells.items() if v != "" and not _is_nan(v)}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _parsed(cell: str) -> Any:
    # "{}" is the placeholder of the subject, not an empty object.
    if cell[:1] in ("[", "{") and cell.strip() != "{}":
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell
