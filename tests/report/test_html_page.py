"""The report in a real browser: it opens without a network, sorts, searches, and escapes."""

import base64

import browser
import pandas as pd
import pytest

from mose.report import html_page
from mose.report.catalog import Entry

# One pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
HOSTILE = (
    "</td></script><script>heard.push('ran')</script><img src=http://x.org/a.png> & \"$title\""
)
SCORES = [0.5, 1e-05, None, 10.25, 9.0]
TABLE = pd.DataFrame({"request": ["b", "a", HOSTILE, "D", "e"], "score": SCORES})


def overview(**changed):
    keys = pd.DataFrame([("m", "d", "memit", 0, 0), ("m", "d", "memit", 0, 20)])
    keys.columns = html_page.KEYS
    summary = keys.assign(
        reliability=[0.0, 0.75], perplexity=[12.5, 13.0], frobenius_ratio=1.0, condition_ratio=1.0
    )
    intervals = keys.assign(reliability_low=[None, 0.5], reliability_high=[None, 1.0])
    given = {
        "experiment": "demo",
        "question": f"Which forgets? {HOSTILE}",
        "facts": [("edits", "20")],
        "methods": pd.DataFrame({"label": ["memit"]}),
        "configuration": f"a: {HOSTILE}\n",
        "stages": pd.DataFrame({"stage": ["edit"], "seconds": [90.0]}),
        "times": PIXEL,
        "summary": html_page.with_intervals(summary, intervals),
    }
    return html_page.Overview(**{**given, **changed})


def page(table=TABLE):
    shown = [
        html_page.Shown(
            Entry("shares", "shares", "Edits", "Its caption <1>."), "a.png", PIXEL, "m"
        ),
        html_page.Shown(Entry("records", "records", "Other", HOSTILE), "records.csv", table),
    ]
    return html_page.page(overview(), shown)


@pytest.fixture
def visit(tmp_path):
    def on(script, text=None):
        found, heard = browser.visit(text or page(), script, tmp_path)
        assert heard == []
        return found

    return on


COLUMN = """
const column = (table, i) => [...table.tBodies[0].rows].filter(row => !row.hidden)
  .map(row => row.cells[i].textContent);
const tables = [...document.querySelectorAll("table")], records = tables.at(-1);
"""


def test_it_opens_without_errors_and_every_figure_is_loaded(visit):
    assert "http:" not in page().replace("http://x.org", "").replace("http-equiv", "")
    found = visit(
        "return [...document.images].map(i => [i.complete && i.naturalWidth, i.alt, "
        "i.closest('figure').querySelector('figcaption').textContent])"
    )
    assert "Together 0.03 hours" in page()
    times = [1, "Seconds an edit", html_page.TIMES_CAPTION]
    assert found == [times, [1, "shares: m", "Its caption <1>. File: a.png"]]


def test_the_browser_hears_of_what_is_wrong(tmp_path):
    """The oracle of the other tests: a broken figure, a script's error and a fetch are reported."""
    broken = "image/png;base64,AAAA".join(page().rsplit("image/png;base64,", 1))
    _, heard = browser.visit(broken, "return 1", tmp_path)
    assert [said[:11] for said in heard] == ["not loaded:"]
    outside = page().replace(
        "<h1>", "<img src=https://example.org/a.png><script>nothing()</script><h1>"
    )
    _, heard = browser.visit(outside, "return 1", tmp_path)
    assert any("nothing is not defined" in said for said in heard)
    assert any(said.startswith("refused: https://example.org") for said in heard)


def test_texts_are_shown_as_they_are(visit):
    found = visit(
        COLUMN + "return [document.querySelector('p').textContent, column(records, 0),"
        "document.querySelector('pre').textContent, document.scripts.length, document.title]"
    )
    scripts = 3  # the page's, and two of this test
    expected = [f"Which forgets? {HOSTILE}", list(TABLE["request"]), f"a: {HOSTILE}\n", scripts]
    assert found == [*expected, "Knowledge editing: demo"]


def test_tables_sort_by_numbers_and_by_texts_and_the_missing_stay_below(visit):
    found = visit(
        COLUMN + "const [text, number] = records.querySelectorAll('button'), said = [];"
        "for (const button of [number, number, text]) { button.click();"
        "said.push(column(records, button === text ? 0 : 1)); } return said"
    )
    up = ["1e-05", "0.5", "9", "10.25"]
    texts = sorted(TABLE["request"], key=str.lower)
    assert found == [[*up, ""], [*up[::-1], ""], texts]


def test_a_search_leaves_the_rows_with_all_words(visit):
    found = visit(
        COLUMN + "const field = [...document.querySelectorAll('input')].at(-1), said = [];"
        "for (const words of ['TITLE script', 'd', 'nowhere', '']) { field.value = words;"
        "field.dispatchEvent(new Event('input')); said.push(column(records, 0)); } return said"
    )
    assert found == [[HOSTILE], [HOSTILE, "D"], [], list(TABLE["request"])]


def test_the_summary_has_intervals_and_sorts_by_the_mean(visit):
    found = visit(
        COLUMN + "const head = [...tables[0].tHead.rows[0].cells];"
        "const place = head.findIndex(cell => cell.textContent === 'reliability');"
        "head[place].firstChild.click(); head[place].firstChild.click();"
        "return [head[place].getAttribute('aria-sort'), column(tables[0], place)]"
    )
    assert found == ["descending", ["0.750 (0.500 to 1.000)", "0.000"]]


def test_a_very_long_table_is_named_only():
    text = page(pd.DataFrame({"a": range(html_page.MOST_ROWS + 1)}))
    assert f"{html_page.MOST_ROWS + 1} rows: too many" in text
    assert len(text) < 20_000
