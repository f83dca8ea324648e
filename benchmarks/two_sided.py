"""Cost of an update by a rotation of both sides, against MEMIT with memory on the same problem.

One layer with random weights, keys of earlier edits in memory, one new batch: seconds of MEMIT's
update, of `solver: nearest` and of `solver: weighted`, and what the spectrum costs either in the
objective that all three minimise. C is factored beforehand, as it is once per layer and run.
Seconds are a processor's. The share is of operations counted from shapes, in a second, in those of
one large product in float64 in the same run.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mose.cli import programs
from mose.experiment.stages import two_sided_operations
from mose.linalg.isospectral import decomposed
from mose.linalg.least_squares import RegularisedLeastSquares
from mose.linalg.second_moment import SecondMoment
from mose.methods.memit import memit_delta
from mose.methods.register import parse_variant
from mose.methods.two_sided import TwoSidedRotation
from mose.storage import files

RETENTION = 500.0
BATCH = 10
SOLVERS = ("nearest", "weighted")


def problem(d_out: int, d_in: int, edits: int) -> tuple[Tensor, SecondMoment, Tensor, Tensor]:
    """W (d_out, d_in), second moment, keys (d_in, edits), wanted changes (d_out, edits).

    The spectra are of the kind of SmolLM2-135M's: singular values over a factor of 20, eigenvalues
    of C over a factor of 300; changes of half the value's length.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows = torch.logspace(0, -1.3, d_out, dtype=torch.float64)[:, None]
    weight = rows * draw(d_out, d_in) * 10 / d_in**0.5
    scale = torch.logspace(0, -1.25, d_in, dtype=torch.float64) * 2
    sample = draw(d_in, 64) / 8
    moment = SecondMoment((sample @ sample.mT + torch.eye(d_in).double()) * scale * scale[:, None])
    keys = scale[:, None] * (sample @ draw(64, edits) + draw(d_in, edits))
    values, change = weight @ keys, draw(d_out, edits)
    return weight, moment, keys, change * values.norm(dim=0) / change.norm(dim=0) / 2


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, which other work beside changes less than a clock's, and the result."""
    started = time.process_time()
    result = function()
    return time.process_time() - started, result


def rate(dtype: torch.dtype, side: int = 1024) -> float:
    """Operations a processor second of one large product, the best of five."""
    factor = torch.randn(side, side, dtype=dtype)
    return 2 * side**3 / min(timed(lambda: factor @ factor)[0] for _ in range(5))


def measure(d_out: int, d_in: int, edits: int, solvers: Sequence[str] = SOLVERS) -> dict[str, Any]:
    """Seconds of one update with `edits` keys in memory, and the objectives reached."""
    per_second = rate(torch.float64, 2048)
    weight, moment, keys, wanted = problem(d_out, d_in, edits)
    factoring, _ = timed(lambda: moment.solve(keys[:, :1]))
    seconds, delta = timed(lambda: memit_delta(keys, wanted, moment, RETENTION))
    additive = weight + delta
    fit = RegularisedLeastSquares(moment, RETENTION, keys)
    least = fit.least(wanted)
    row: dict[str, Any] = {
        "d_out": d_out, "d_in": d_in, "edits": edits, "threads": torch.get_num_threads(),
        "product_operations_per_second": per_second,
        "factor_moment_seconds": factoring, "memit_seconds": seconds,
        "memit_norm_ratio": float(additive.norm() / weight.norm()),
    }  # fmt: skip
    spectrum, _ = timed(lambda: decomposed(weight))
    row["unedited_decomposition_seconds"] = spectrum
    earlier = edits - BATCH
    for solver in solvers:
        options = parse_variant(
            {"method": "mose", "side": "both", "memory": "accumulate", "solver": solver,
             "layers": [0], "lambda": RETENTION, "learning_rate": 1}
        ).options  # fmt: skip
        editor = TwoSidedRotation(weight, moment, options)
        values = weight @ keys + wanted
        editor.load(
            {"weight": weight, "keys": keys[:, :earlier].mT, "values": values[:, :earlier].mT}
        )
        _ = editor._solver._unedited  # once per layer and run, as the factor of C
        new = keys[:, earlier:]
        residuals = values[:, earlier:] - weight @ new
        row[f"{solver}_seconds"], _ = timed(lambda e=editor, k=new, r=residuals: e.update(k, r))
        row[f"{solver}_ratio"] = row[f"{solver}_seconds"] / seconds
        counted = two_sided_operations(d_out, d_in, edits, options)
        row[f"{solver}_share"] = counted / row[f"{solver}_seconds"] / per_second
        missed = editor.weight - additive
        row[f"{solver}_excess"] = float((fit.times(missed) * missed).sum()) / least
    return row


def program(args: argparse.Namespace) -> None:
    files.write_json(args.out, measure(args.d_out, args.d_in, args.edits, args.solvers))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--d-out", type=int, default=4096, help="rows of W")
    parser.add_argument("--d-in", type=int, default=14336, help="columns of W")
    parser.add_argument("--edits", type=int, default=1000, help="keys in memory, with the batch")
    parser.add_argument(
        "--solvers", nargs="+", choices=SOLVERS, default=SOLVERS, help="those to measure"
    )
    parser.add_argument("--threads", type=int, default=1, help="number of CPU threads")
    parser.add_argument("--out", required=True, help="JSON to write")
    programs.run(program, parser)
