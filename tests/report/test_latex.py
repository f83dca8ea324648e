"""The table for papers: read back by a reader that knows TeX's rules and not how it was made."""

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mose.report import latex, tables

# What LaTeX's own commands typeset (The LaTeX companion, tables of text symbols).
SYMBOLS = {
    "textbackslash": "\\", "textasciicircum": "^", "textasciitilde": "~", "textasciigrave": "`",
    "textquotesingle": "'", "textless": "<", "textgreater": ">", "textbar": "|",
}  # fmt: skip
ACTIVE = set("$&#^_%~")
# Pairs that a font turns into another sign.
LIGATURES = {"--", "``", "''", ",,", "<<", ">>", "?`", "!`"}


def typeset(source):
    """What TeX would print of a cell: an error if anything in it is more than a letter."""
    assert not source.startswith(("[", "*")), "after \\\\ this is an option"
    printed, at, depth, previous = "", 0, 0, ""
    while at < len(source):
        character = source[at]
        at += 1
        if character == "\\":
            end = at
            while end < len(source) and source[end].isascii() and source[end].isalpha():
                end += 1
            if end == at:  # a control symbol: one character
                assert source[at] in "{}$&#_%"
                printed, at = printed + source[at], at + 1
            elif source[at:end] == "char":
                digits = source[end:].partition("{}")[0]
                printed, at = printed + chr(int(digits)), end + len(digits)
            else:
                assert source[end : end + 2] == "{}", "spaces after a command are swallowed"
                printed, at = printed + SYMBOLS[source[at:end]], end
            previous = ""
        elif character in "{}":
            depth += 1 if character == "{" else -1
            assert depth >= 0
            previous = ""
        else:
            assert character not in ACTIVE
            assert previous + character not in LIGATURES
            assert character == " " or not character.isspace()
            printed, previous = printed + character, character
    assert depth == 0
    return printed


@given(
    st.text(alphabet=st.characters(exclude_categories=["C"])) | st.text("\\{}$&#^_%~-'`,<>|\"[*a")
)
@example(r"50% of A&B: $x_1^2$ #3 ~ {\input{/etc/passwd}}")
@example("---``''")
def test_any_text_is_typeset_as_it_is_and_obeyed_by_nothing(text):
    assert typeset(latex.escape(text)) == " ".join(text.split())


def test_what_prints_nothing_is_left_out_and_lines_stay_whole():
    assert latex.escape("a\n\n\\end\x00{b}\u200b\u202e\r\nc") == r"a \textbackslash{}end\{b\} c"


MEASURES = [*tables.SCORES, "perplexity", *tables.RATIOS]


def summary(methods, seeds):
    """Summary and intervals in which every measure of a method is its number."""
    rows, bounds = [], []
    for method, value in methods.items():
        for seed in seeds:
            for edits in (0, 10, 20):
                run = {"model": "m_1", "dataset": "A&B", "method": method, "seed": seed}
                at = {**run, "edits": edits}
                rows.append({**at, **dict.fromkeys(MEASURES, (value + seed) if edits else 0.5)})
                ends = {f"{name}_low": 0.25 for name in tables.SCORES}
                bounds.append({**at, **ends, **{f"{name}_high": 0.75 for name in tables.SCORES}})
    return pd.DataFrame(rows), pd.DataFrame(bounds)


def rows_of(table):
    """Cells by row, of the lines between the rules; and that the table is one."""
    body = [line for line in table.splitlines() if not line.startswith("%")]
    assert body[0] == r"\begin{tabular}{lrrrrrrrrr}"
    assert body[-1] == r"\end{tabular}"
    assert [body[i] for i in (1, 3, -2)] == [r"\toprule", r"\midrule", r"\bottomrule"]
    rows = []
    for line in body[4:-2]:
        assert line.endswith(r" \\")
        rows.append(line.removesuffix(r" \\").replace(r"\&", "\0").split(" & "))
    return rows


def test_each_method_is_a_row_at_its_last_checkpoint_with_its_interval_and_the_best_bold():
    rows = rows_of(latex.summary_table(*summary({"a_b": 0.6, "50%": 0.9, "c": 1.25}, [0])))
    assert rows[0] == ["\\multicolumn{10}{l}{A\0B, m\\_1, 20 edits}"]
    assert [row[0] for row in rows[1:]] == ["unedited", r"a\_b", r"50\%", "c"]
    assert rows[1][1] == "$0.500_{[0.250, 0.750]}$"
    assert rows[2][1] == "$0.600_{[0.250, 0.750]}$"
    assert rows[4][1] == "$\\mathbf{1.250}_{[0.250, 0.750]}$"
    assert [row[7] for row in rows[1:]] == ["$0.50$", "$\\mathbf{0.60}$", "$0.90$", "$1.25$"]
    assert [row[8] for row in rows[2:]] == ["$0.6000$", "$\\mathbf{0.9000}$", "$1.2500$"]


def test_a_method_that_stopped_earlier_says_so_and_is_not_compared():
    table, bounds = summary({"a": 0.9, "b": 0.6, "c": 0.3}, [0])
    table = table[(table["method"] != "a") | (table["edits"] < 20)]
    rows = rows_of(latex.summary_table(table, bounds))
    assert [row[0] for row in rows[1:]] == ["unedited", "a (10 edits)", "b", "c"]
    assert rows[2][1] == "$0.900_{[0.250, 0.750]}$"
    assert rows[3][1] == "$\\mathbf{0.600}_{[0.250, 0.750]}$"


def test_several_seeds_are_mean_and_deviation_as_on_the_page():
    rows = rows_of(latex.summary_table(*summary({"a": 1.0, "b": 0.0}, [0, 1, 2])))
    assert rows[2][1] == "$\\mathbf{2.000} \\pm 1.000$"
    assert rows[3][1] == "$1.000 \\pm 1.000$"
    assert rows[1][1] == "$0.500 \\pm 0.000$"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "--"),
        (float("inf"), "$\\infty$"),
        (123456.0, "$1.23 \\cdot 10^{5}$"),
        (41.876, "$41.88$"),
    ],
)
def test_numbers_that_are_missing_or_large(value, shown):
    frame, bounds = summary({"a": 1.0}, [0])
    frame.loc[frame["edits"] == 20, "perplexity"] = value
    assert rows_of(latex.summary_table(frame, bounds))[2][7] == shown
