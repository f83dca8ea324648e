"""Updates and rotations against plain ones: the pairs of `run.py` that need no model."""

import math
import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import plain
import torch
from pairs import agree, pair

from mose.linalg import second_moment
from mose.linalg.low_rank_polar import RotationSolver
from mose.linalg.orthogonal import orthogonality_error, procrustes, procrustes_objective
from mose.methods.alphaedit import alphaedit_delta
from mose.methods.emmet import emmet_delta
from mose.methods.memit import memit_delta
from mose.models.causal_lm import CausalLM


@cache
def problem() -> tuple[second_moment.SecondMoment, torch.Tensor, torch.Tensor]:
    """A second moment with a wide spectrum, keys and residuals: d_out 2048, d_in 8192, n 10."""
    d_out, d_in = 2048, 8192
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    leading = draw(d_in, 256)
    spectrum = torch.logspace(0, -2, d_in, dtype=torch.float64)
    moment = second_moment.SecondMoment(leading @ leading.mT / 256 + torch.diag(spectrum))
    moment.solve(leading[:, :1])  # factors C, as editors do once per layer and run
    return moment, draw(d_in, 10), draw(d_out, 10)


def solve(ours: Callable[[], torch.Tensor], theirs: Callable[[], torch.Tensor]) -> dict[str, Any]:
    """Compare two ways to compute an update."""
    difference = agree("update", ours(), theirs(), 1e-8)
    fast, slow = pair(ours, theirs, 3)
    return {"seconds": fast, "plain_seconds": slow, "difference": difference, "goal": 20.0}


def memit_solve(_: CausalLM) -> dict[str, Any]:
    """MEMIT's update of a batch of 10."""
    moment, keys, residuals = problem()
    return solve(
        lambda: memit_delta(keys, residuals, moment, 100.0),
        lambda: plain.memit_delta(keys, residuals, moment.matrix, 100.0),
    )


def emmet_solve(_: CausalLM) -> dict[str, Any]:
    """EMMET's update of a batch of 10."""
    moment, keys, residuals = problem()
    return solve(
        lambda: emmet_delta(keys, residuals, moment, 1000.0, 0.1),
        lambda: plain.emmet_delta(keys, residuals, moment.matrix, 1000.0, 0.1),
    )


def alphaedit_solve(_: CausalLM) -> dict[str, Any]:
    """AlphaEdit's update of a batch of 10, half of all directions protected."""
    moment, keys, residuals = problem()
    # The time does not depend on which half.
    protected, _ = torch.linalg.qr(moment.matrix[:, : len(keys) // 2])
    projector = torch.eye(len(protected), dtype=torch.float64) - protected @ protected.mT
    return solve(
        lambda: alphaedit_delta(keys - protected @ (protected.mT @ keys), residuals, 10.0),
        lambda: plain.alphaedit_delta(keys, residuals, projector, 10.0),
    )


def rotation_problem(size: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Retained matrix H with a spectrum over three decades, source and target vectors."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    leading = draw(size, 64)
    spectrum = torch.logspace(1, -2, size, dtype=torch.float64)
    retained = leading @ leading.mT / 64 + torch.diag(spectrum)
    source = leading @ draw(64, count) / 8
    return retained, source, source + source.norm(dim=0) / size**0.5 * draw(size, count)


def rotate(size: int, count: int, repeats: int, goal: float) -> dict[str, Any]:
    """One batch's rotation against the full singular value decomposition."""
    retained, source, target = rotation_problem(size, count)
    solver = RotationSolver(retained)
    started = time.perf_counter()
    rotation = solver.solve(source, target)
    with_eigenbasis = time.perf_counter() - started
    plain_rotations: list[torch.Tensor] = []
    fast, slow = pair(
        lambda: solver.solve(source, target),
        lambda: plain_rotations.append(procrustes(retained, source, target)),
        repeats,
    )
    plain_rotation = plain_rotations[0]
    difference = agree(f"rotation {size}", rotation, plain_rotation, 1e-6)
    ours, theirs = (
        procrustes_objective(r, retained, source, target) for r in (rotation, plain_rotation)
    )
    if not abs(ours / theirs - 1) < 1e-10:
        raise RuntimeError(f"rotation {size}: objectives {ours} and {theirs} differ")
    return {
        "seconds": fast,
        "plain_seconds": slow,
        "difference": difference,
        "goal": goal,
        "eigenbasis_once_seconds": with_eigenbasis - fast,
        "objective_difference": ours / theirs - 1,
        "orthogonality_error": orthogonality_error(rotation),
    }


def rotation_output(_lm: CausalLM) -> dict[str, Any]:
    """d_out 4096, 100 edits. growth: exponent of d in the time for d / 40 edits, 512 to 4096."""
    row = rotate(4096, 100, 1, 5.0)
    times = {}
    for size in (512, 1024, 2048, 4096):
        retained, source, target = rotation_problem(size, size // 40)
        solver = RotationSolver(retained)
        solver.solve(source, target)
        started = time.perf_counter()
        solver.solve(source, target)
        times[size] = time.perf_counter() - started
    logs = [[math.log(value) for value in part] for part in (times.keys(), times.values())]
    row["growth"] = statistics.linear_regression(*logs).slope
    return row


def rotation_input(_lm: CausalLM) -> dict[str, Any]:
    """d_in 8192, 10 edits."""
    return rotate(8192, 10, 1, 10.0)
