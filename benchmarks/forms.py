"""What each form of an update can write on one layer, and what it disturbs: a table and a figure.

The layer's weight is a model's, its second moment and the keys and values of its edits are those of
a finished run of `side: both` with memory (its checkpoint and moments.h5). All edits are one batch.
Every form minimises lambda tr((W' - W) C (W' - W)^T) + ||W' K - V||^2 over the matrices that it can
reach, for lambdas over seven orders of magnitude: any matrix (MEMIT), R W (published MOSE), and
R W Q by both solvers. W Q is left out: it needs targets of its own, in the space of keys.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mose.cli import programs
from mose.linalg.second_moment import SecondMoment
from mose.methods.editors import make_editor
from mose.methods.register import parse_variant
from mose.models.loading import load
from mose.report.figures import drawing
from mose.statistics import second_moments
from mose.storage import hdf5

BOTH = {"method": "mose", "side": "both", "memory": "accumulate"}
# By the labels of the results page.
FORMS: dict[str, dict[str, Any]] = {
    "memit": {"method": "memit"},
    "mose-both-weighted": {**BOTH, "solver": "weighted"},
    "mose-both-nearest": {**BOTH, "solver": "nearest"},
    "mose": {"method": "mose"},
}
LAMBDAS = np.logspace(0, 6, 13)


def measure(
    weight: Tensor, moment: SecondMoment, keys: Tensor, values: Tensor, lambdas: np.ndarray
) -> pd.DataFrame:
    """A row per form and lambda.

    weight: (d_out, d_in), float64. keys: (d_in, n); values: (d_out, n), the wanted ones.
    Columns: method (the form), lambda, attained, 1 less the missing part of the wanted change,
    disturbance, root mean square of (W' - W) k over the corpus as a share of W k's, norm and
    condition number as ratios.
    """
    wanted = values - weight @ keys
    usual = _disturbance(weight, moment)
    before = torch.linalg.svdvals(weight)
    rows = []
    for form, entry in FORMS.items():
        for value in lambdas:
            variant = parse_variant(
                {**entry, "layers": [0], "learning_rate": 0.5, "lambda": float(value)}
            )
            editor = make_editor(weight, moment, variant)
            editor.update(keys, wanted)
            after = editor.weight.double()
            missing = (values - after @ keys).norm() / wanted.norm()
            singular = torch.linalg.svdvals(after)
            rows.append(
                {
                    "method": form,
                    "lambda": value,
                    "attained": float(1 - missing),
                    "disturbance": _disturbance(after - weight, moment) / usual,
                    "norm_ratio": float(singular.norm() / before.norm()),
                    "condition_ratio": float(
                        (singular[0] / singular[-1]) / (before[0] / before[-1])
                    ),
                }
            )
    return pd.DataFrame(rows)


def _disturbance(matrix: Tensor, moment: SecondMoment) -> float:
    """Root mean square length of `matrix` k over the corpus."""
    return float((matrix @ moment.matrix * matrix).sum().clamp(min=0).sqrt())


@drawing.styled
def draw(table: pd.DataFrame) -> Figure:
    """Attained share against disturbance, and the norm's ratio against the attained share."""
    figure = Figure(figsize=(drawing.WIDTH, 2.9))
    left, right = figure.subplots(1, 2)
    styles = drawing.looks(table, list(FORMS))
    for look in styles:
        own = table[table["method"] == look.label].sort_values("lambda")
        left.plot(own["disturbance"], own["attained"], **look.line)
        right.plot(own["attained"], own["norm_ratio"], **look.line)
    left.set_xlabel(f"Disturbance of other text {drawing.LESS}")
    left.set_ylabel(f"Attained share of the wanted change {drawing.MORE}")
    right.set_xlabel("Attained share of the wanted change")
    right.set_ylabel("Norm, as a ratio")
    drawing.legend(figure, styles)
    return figure


def program(args: argparse.Namespace) -> None:
    lm = load(args.model, device="cpu")
    moment = second_moments.load(args.moments, [args.layer], lm.fingerprint)[args.layer]
    stored = hdf5.read(args.checkpoint, "checkpoint").arrays
    keys, values = (
        torch.from_numpy(stored[f"layers/{args.layer}/{name}"]).double().mT
        for name in ("keys", "values")
    )
    table = measure(lm.weight(args.layer).double(), moment, keys, values, LAMBDAS)
    programs.write_table(args.out, table.round(6))
    drawing.save(draw(table), Path(args.figure).with_suffix(""))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--model", required=True, help="manifest.json")
    parser.add_argument("--moments", required=True, help="moments.h5 of the run")
    parser.add_argument("--checkpoint", required=True, help="edits<n>.h5 of side: both, memory")
    parser.add_argument("--layer", type=int, required=True, help="an edited layer")
    parser.add_argument("--out", required=True, help="table to write (.csv)")
    parser.add_argument("--figure", required=True, help="figure to write (.png, .pdf)")
    programs.run(program, parser)
