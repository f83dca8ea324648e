"""One reader of records: what is written is read, and other people's files are read as meant."""

import csv
import io
import json

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mose.errors import RequestError, StoreError
from mose.storage import records

VALUES = st.text() | st.integers() | st.booleans() | st.none() | st.lists(st.text(), max_size=3)
ROWS = [{"a": "x", "b": "one, two; three\tfour"}, {"a": 'the "Boot"', "b": "é"}]


def hypotheses(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


@hypotheses(60)
@given(given=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=4))
@example(given=[{"text": "one\u2028two\u2029three\x85four\x0b\x0c\x1c\r\n\ufeff"}])
def test_what_is_written_as_json_lines_is_read(tmp_path, given):
    records.write_jsonl(tmp_path / "r.jsonl", given)
    assert records.read_jsonl(tmp_path / "r.jsonl") == given
    assert records.read(tmp_path / "r.jsonl", "key") == given


CELLS = st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"]), max_size=8)


@hypotheses(60)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS.filter(bool)), max_size=4),
    separator=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
)
def test_a_table_is_read_as_pythons_own_writer_wrote_it(tmp_path, rows, separator, end, mark):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("first", "second"), *rows])
    path = tmp_path / "t.csv"
    path.write_bytes(text.getvalue().encode("utf-8-sig" if mark else "utf-8"))
    expected = [{"first": one, "second": other} for one, other in rows]
    assert records.read(path, "key") == expected


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.data", "r.JSON"])
@pytest.mark.parametrize("form", ["list", "indented", "lines"])
def test_a_list_and_lines_of_json_are_told_by_content(tmp_path, form, name, end, mark):
    text = json.dumps(ROWS, indent=1 if form == "indented" else None)
    if form == "lines":
        text = "\n" + "\n\n".join(json.dumps(row) for row in ROWS) + "\n \n"
    (tmp_path / name).write_bytes((mark + text.replace("\n", end)).encode())
    assert records.read(tmp_path / name, "key") == ROWS


@pytest.mark.parametrize(
    ("name", "separator"),
    [
        ("r.csv", ","),
        ("r.csv", ";"),
        ("r.csv", "\t"),
        ("r.tsv", "\t"),
        ("r.tsv", ";"),
        ("R.TSV", ","),
    ],
)
def test_separators_are_told_by_the_header(tmp_path, name, separator):
    pd.DataFrame(ROWS).to_csv(tmp_path / name, sep=separator, index=False)
    assert records.read(tmp_path / name, "key") == ROWS


def test_a_separator_inside_a_quoted_name_is_none(tmp_path):
    (tmp_path / "r.csv").write_text('"a, b";c\n1;2,5\n')
    assert records.read(tmp_path / "r.csv", "key") == [{"a, b": "1", "c": "2,5"}]


def test_bare_quotation_marks_between_tabs_are_text(tmp_path):
    path = tmp_path / "r.tsv"
    path.write_text('a\tb\n"so he said\ty\n"all of it"\t"x ""y"" z"\n')
    rows = [{"a": '"so he said', "b": "y"}, {"a": '"all of it"', "b": '"x ""y"" z"'}]
    assert records.read(path, "key") == rows
    path.write_text('a\tb\n"all of it"\ty\n')
    assert records.read(path, "key") == [{"a": '"all of it"', "b": "y"}]


@pytest.mark.parametrize("text", ['a\tb\n"x, y"\tz\n', '"a"\t"b"\n"x, y"\t"z"\n'])
def test_what_excel_and_pandas_quote_between_tabs_is_read_without(tmp_path, text):
    """Excel quotes a cell for its comma; pandas, asked to, quotes all."""
    (tmp_path / "r.tsv").write_text(text)
    assert records.read(tmp_path / "r.tsv", "key") == [{"a": "x, y", "b": "z"}]


def test_a_tsv_file_that_was_written_with_quoting_is_read_without(real_data):
    """RTE's file comes out of a spreadsheet: Python's reader, which takes quotes, is the oracle."""
    path = real_data / "tasks" / "rte.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        assert records.read(path, "key") == list(csv.DictReader(file, delimiter="\t"))


def test_empty_rows_and_surplus_empty_cells_of_a_sheet_are_left_out(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("\n,a , b,,\n0,x,y,,\n,,,,\n\n1,z\n")
    rows = [
        {"column 1": "0", "a": "x", "b": "y", "column 4": "", "column 5": ""},
        {"column 1": "1", "a": "z"},
    ]
    assert records.read(path, "key") == rows
    without = [{"column 1": "0", "a": "x", "b": "y"}, {"column 1": "1", "a": "z"}]
    assert records.read(path, "key", values=True) == without


def test_cells_are_text_unless_their_values_are_asked_for(tmp_path):
    path = tmp_path / "r.csv"
    row = {
        "a": '["x", "y"]',
        "b": '{"c": 1}',
        "d": "{} is",
        "e": "{}",
        "f": "NA",
        "g": "[x]",
        "h": "",
    }
    pd.DataFrame([row]).to_csv(path, index=False)
    assert records.read(path, "key") == [row]
    values = {"a": ["x", "y"], "b": {"c": 1}, "d": "{} is", "e": "{}", "f": "NA", "g": "[x]"}
    assert records.read(path, "key", values=True) == [values]


def test_parquet_keeps_its_types_and_leaves_nulls_out(tmp_path):
    rows = [
        {"n": 3, "texts": ["a", None], "inner": {"x": "1", "y": None}, "empty": ""},
        {"n": None, "texts": None, "inner": None, "empty": "e"},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "r.parquet")
    first = {"n": 3, "texts": ["a", None], "inner": {"x": "1"}, "empty": ""}
    assert records.read(tmp_path / "r.parquet", "key") == [first, {"empty": "e"}]
    assert type(records.read(tmp_path / "r.parquet", "key")[0]["n"]) is int
    del first["empty"]
    assert records.read(tmp_path / "r.parquet", "key", values=True)[0] == first


def test_a_cell_may_be_long(tmp_path):
    (tmp_path / "r.csv").write_text("a\n" + "x" * 200_000 + "\n")
    assert len(records.read(tmp_path / "r.csv", "key")[0]["a"]) == 200_000
    assert csv.field_size_limit() < 200_000, "the limit of the process is as it was"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.json", b'[{"a": 1},\n {"a"}]', r"r\.json, line 2: not valid JSON"),
        ("r.json", b"\n\n[{", r"r\.json, line 3: not valid JSON"),
        ("r.jsonl", b'{"a": 1}\n\n{"a"\n', r"r\.jsonl, line 3: not valid JSON"),
        ("r.json", b'{\n "a": 1\n}\n', r"r\.json: one JSON object over several lines; expected a"),
        ("r.json", b'{"a": ' + b"1" * 5000 + b"}", r"r\.json, line 1: not valid JSON"),
        ("r.json", b"[" * 100_000, r"r\.json, line 1: not valid JSON"),
        ("r.txt", b"a,b\n1,2\n", r"r\.txt, .*; tables need a suffix \.csv, \.tsv, \.parquet"),
        ("r.csv", "é".encode("latin-1"), r"r\.csv: not UTF-8 text .*; save it as UTF-8"),
        ("r.json", "[]".encode("utf-16"), r"r\.json: not UTF-8 text"),
        ("r.csv", b"\na,b\n1,2\n1,2,3\n", r"r\.csv, line 4: 3 cells for 2 columns; a cell that"),
        ("r.tsv", b"a\tb\n1\t2\t3\n", r"r\.tsv, line 2: 3 cells for 2 columns"),
        ("r.csv", b"a,b\n1,2\n1,2\n\"x,3\n", r"r\.csv, line 4: unexpected end of data; check its"),
        ("r.csv", b"a,b,a\n", r"r\.csv, line 1: two columns have the name 'a'"),
        ("r.parquet", b"PAR1", r"r\.parquet: not a Parquet file that can be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message) as error:
        records.read(tmp_path / name, "key")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["r.json", "r.csv", "r.tsv", "r.parquet"])
def test_a_file_that_is_not_there_is_named_with_who_asks_for_it(tmp_path, name):
    with pytest.raises(RequestError, match=rf"{name}: no such file \(datasets\.\*\.source\)"):
        records.read(tmp_path / name, "datasets.*.source")
    with pytest.raises(StoreError, match=r"x\.jsonl: no such file; run the stage that makes it"):
        records.read_jsonl(tmp_path / "x.jsonl")


@pytest.mark.parametrize("name", ["r.json", "r.csv", "r.tsv"])
def test_an_empty_file_holds_no_record(tmp_path, name):
    (tmp_path / name).write_text("\ufeff\n \n")
    assert records.read(tmp_path / name, "key") == []


def test_plain_text_is_as_it_stands(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffone\u2028two\r\nthree\n".encode())
    assert records.read_text(path, "key") == "one\u2028two\r\nthree\n"
    assert list(records.text_lines(path, "key")) == ["one\u2028two\n", "three\n"]
    assert not records.is_records(path)
    assert records.is_records("x.CSV")
