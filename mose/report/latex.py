"""The summary as a LaTeX table with booktabs, for \\input in a paper."""

import math
import re
import unicodedata

import pandas as pd

from mose.report import pages, tables

HEAD = r"""% Made from summary.csv and summary_intervals.csv; a new run overwrites it.
% Needs \usepackage{booktabs}.
% Rel., Gen., Loc.: reliability, generalization, locality. Eff., Par., Nei.: efficacy, paraphrase,
% neighborhood success. PPL: perplexity. Norm, Cond.: Frobenius norm and condition number over the
% unedited matrix's, of the layer that moved most. One seed: mean over requests and its 95%
% bootstrap interval. Several: mean over seeds and their standard deviation. Bold: best mean.
"""
HEADINGS = {
    "reliability": "Rel.",
    "generalization": "Gen.",
    "locality": "Loc.",
    "efficacy": "Eff.",
    "paraphrase": "Par.",
    "neighborhood": "Nei.",
    "perplexity": "PPL",
    "frobenius_ratio": "Norm",
    "condition_ratio": "Cond.",
}
SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    # LaTeX reads these after \\ as options of the line break.
    "[": "{[}",
    "*": "{*}",
    **{character: f"\\{character}" for character in "{}$&#_%"},
}


def escape(text: str) -> str:
    """Any text as LaTeX that typesets it and runs no command.

    White space becomes one space; control and format characters are dropped. Letters beyond ASCII
    stay and need a font that has them.
    """
    line = " ".join(text.split())
    printable = "".join(c for c in line if not unicodedata.category(c).startswith("C"))
    escaped = "".join(SPECIAL.get(character, character) for character in printable)
    return re.sub(r"([-,])(?=\1)", r"\1{}", escaped)  # "--" would become a dash


def summary_table(summary: pd.DataFrame, intervals: pd.DataFrame) -> str:
    """A `tabular`: per model and data set the unedited model, then each method's last checkpoint.

    The best values are those of the methods that reach the last checkpoint of all.
    summary, intervals: of `tables.summarize` and `intervals.summary_intervals`.
    """
    lines = [
        f"\\begin{{tabular}}{{l{'r' * len(HEADINGS)}}}",
        r"\toprule",
        f"Method & {' & '.join(HEADINGS.values())} \\\\",
    ]
    bounds = intervals.set_index(tables.CHECKPOINT)
    for (model, dataset), part in summary.groupby(["model", "dataset"], sort=False):
        rows = pages.last_checkpoints(part)
        means = pd.DataFrame({name: group[[*HEADINGS]].mean() for name, group in rows.items()}).T
        edits = part["edits"].max()
        ended = [name for name, group in rows.items() if group["edits"].max() == edits]
        best = _best(means.loc[ended])
        where = f"{escape(str(dataset))}, {escape(str(model))}, {edits} edits"
        lines += [r"\midrule", f"\\multicolumn{{{len(HEADINGS) + 1}}}{{l}}{{{where}}} \\\\"]
        for name, group in rows.items():
            cells = [
                _cell(group, column, bounds, name in best.get(column, ())) for column in HEADINGS
            ]
            earlier = name != pages.UNEDITED and name not in ended
            label = f"{name} ({group['edits'].max()} edits)" if earlier else name
            lines.append(f"{escape(label)} & {' & '.join(cells)} \\\\")
    return HEAD + "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _best(means: pd.DataFrame) -> dict[str, list[str]]:
    """Per column, the methods whose rounded mean is best; none if all are equal."""
    best = {}
    for column in means:
        values = means[column]
        if column in tables.RATIOS:
            values = (1 - values).abs()
        elif column in tables.SCORES:
            values = -values
        shown = means[column].map(lambda value, column=column: _number(value, column))
        if values.notna().any() and shown.nunique() > 1:
            best[str(column)] = list(shown.index[shown == shown[values.idxmin()]])
    return best


def _cell(group: pd.DataFrame, column: str, bounds: pd.DataFrame, bold: bool) -> str:
    """Mean over the seeds of one method; with its spread or, for one seed, its interval."""
    values = group[column]
    if values.isna().all():
        return "--"
    mean = _number(values.mean(), column)
    shown = f"\\mathbf{{{mean}}}" if bold else mean
    if len(values) > 1:
        return f"${shown} \\pm {_number(values.std(), column)}$"
    at = tuple(group.iloc[0][tables.CHECKPOINT])
    if f"{column}_low" not in bounds or at not in bounds.index:
        return f"${shown}$"
    low, high = (_number(bounds.loc[at, f"{column}_{end}"], column) for end in ("low", "high"))
    return f"${shown}_{{[{low}, {high}]}}$"


def _number(value: float, column: str) -> str:
    """A number in math mode, with as many digits as in `pages`."""
    if not math.isfinite(value):
        return "\\mathrm{nan}" if math.isnan(value) else "\\infty" if value > 0 else "-\\infty"
    if abs(value) >= 1e4:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{digits} \\cdot 10^{{{int(exponent)}}}"
    return pages.DIGITS.get(column, "{:.3f}").format(value)
