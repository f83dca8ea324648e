"""Draws all figures of `mose.report.catalog` from an experiment's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from mose.report import abilities, catalog, retention
from mose.report.figures import details, overview, task_curves
from mose.report.figures.drawing import stamp

# Names of the tables that `figures` needs.
TABLES = (
    *("summary", "summary_intervals", "metrics", "means", "retention_matrix"),
    *("forgetting_curves", "edit_records", "stability"),
)


@dataclass(frozen=True)
class Drawing:
    """A figure of one model and data set. name: of the catalog, or "portability/by_kind"."""

    model: str
    dataset: str
    name: str
    figure: Figure


def figures(
    tables: Mapping[str, pd.DataFrame],
    models: Sequence[str],
    datasets: Sequence[str],
    methods: Sequence[str],
    checkpoints: Sequence[int],
) -> Iterator[Drawing]:
    """The figures of every model and data set that has measurements.

    tables: TABLES by name. methods: labels in the config's order.
    """
    for model in models:
        for dataset in datasets:
            own = {name: _part(table, model, dataset) for name, table in tables.items()}
            if not own["summary"].empty:
                for name, figure in _figures(own, methods, checkpoints).items():
                    yield _stamped(Drawing(model, dataset, name, figure))


def _figures(
    own: Mapping[str, pd.DataFrame], methods: Sequence[str], checkpoints: Sequence[int]
) -> dict[str, Figure]:
    """The figures of one model and data set, by name."""
    summary, intervals = own["summary"], own["summary_intervals"]
    matrix = own["retention_matrix"]
    reliability = matrix[matrix["metric"] == "reliability"]
    by_name = {
        "shares": overview.token_shares(summary, intervals, methods),
        "success": overview.success_rates(summary, intervals, methods),
        "stability": overview.stability(summary, methods),
        "perplexity": overview.perplexity(summary, methods),
        "tradeoff": details.tradeoff(summary, methods),
        "drift": details.drift(summary, own["stability"], methods),
        "attained": overview.attained(_at_checkpoints(own["edit_records"], checkpoints), methods),
        "forgetting": overview.forgetting(retention.forgetting(own["metrics"]), methods),
        "retention": overview.retention_map(reliability, methods),
    }
    if len(checkpoints) > 1:
        curves = own["forgetting_curves"]
        by_name[catalog.FORGETTING_CURVES.name] = details.forgetting_curves(curves, methods)
        by_name[catalog.FIRST_EDITS.name] = details.first_edits(matrix, methods)
    kinds = details.kinds_of(own["means"])
    if len(kinds):
        by_name[f"portability/{catalog.PORTABILITY.name}"] = details.portability(kinds, methods)
    return by_name


def _at_checkpoints(records: pd.DataFrame, checkpoints: Sequence[int]) -> pd.DataFrame:
    """`edit_records` with `edits`, the checkpoint at the end of the request's segment."""
    step = checkpoints[0]
    return records.assign(edits=(records["order"] // step + 1) * step)


def task_figures(
    table: pd.DataFrame,
    models: Sequence[str],
    datasets: Sequence[str],
    methods: Sequence[str],
) -> Iterator[Drawing]:
    """The figures of the downstream tasks of every model and data set. table: of `abilities`."""
    whole = abilities.unedited_rows(table)
    for model in models:
        for dataset in datasets:
            own = _part(whole, model, dataset)
            for name, draw in (
                ("abilities", task_curves.scores),
                ("retained", task_curves.retained),
            ):
                yield _stamped(Drawing(model, dataset, name, draw(own, methods)))


def _stamped(drawing: Drawing) -> Drawing:
    stamp(drawing.figure, drawing.model, drawing.dataset)
    return drawing


def _part(table: pd.DataFrame, model: str, dataset: str) -> pd.DataFrame:
    return table[(table["model"] == model) & (table["dataset"] == dataset)]
