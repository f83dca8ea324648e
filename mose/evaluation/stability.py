"""Effect of edits on a matrix: norms, spectrum, distance, orthogonality. Needs no model."""

import math
from collections.abc import Mapping

from torch import Tensor, dtype, float64
from torch.linalg import matrix_norm, svdvals

from mose.editing.sequence import State
from mose.linalg.orthogonal import orthogonality_error
from mose.linalg.spectrum import (
    effective_rank,
    hyperspherical_energy,
    leading_subspaces,
    subspace_similarity,
)
from mose.methods.base import Rotations

Row = dict[str, int | float | None]
COLUMNS = (
    "layer",
    "frobenius",
    "spectral",
    "smallest",
    "condition",
    "effective_rank",
    "relative_change",
    "output_orthogonality",
    "input_orthogonality",
    "rotation_error",
    "frobenius_ratio",
    "condition_ratio",
    "left_similarity",
    "right_similarity",
    "energy_ratio",
)
LEADING = 0.1  # share of the singular directions whose subspaces are compared


def measure(layer: int, edited: Tensor, unedited: Tensor, rotations: Rotations | None) -> Row:
    """The row (COLUMNS) of one layer.

    edited, unedited: W_n, W_0 (d_out, d_in), rounded to the model's dtype. rotations: R and Q with
    W_n = R W_0 Q before that rounding, or None for methods that do not rotate.
    relative_change is ||W_n - W_0||_F / ||W_0||_F; output_orthogonality ||R^T R - I||_F,
    input_orthogonality ||Q Q^T - I||_F; rotation_error ||R W_0 Q - W_n||_F / ||W_n||_F; ratios are
    to the unedited matrix. left_similarity, right_similarity: of the singular subspaces of the
    leading tenth; energy_ratio: of the rows' hyperspherical energy.
    """
    now, before = edited.to(float64), unedited.to(float64)
    spectrum, spectrum_before = svdvals(now), svdvals(before)
    frobenius, frobenius_before = float(matrix_norm(now)), float(matrix_norm(before))
    condition = float(spectrum[0] / spectrum[-1])
    return {
        "layer": layer,
        "frobenius": frobenius,
        "spectral": float(spectrum[0]),
        "smallest": float(spectrum[-1]),
        "condition": condition,
        "effective_rank": effective_rank(spectrum),
        "relative_change": float(matrix_norm(now - before)) / frobenius_before,
        **_rotation_errors(rotations, now),
        "frobenius_ratio": frobenius / frobenius_before,
        "condition_ratio": condition / float(spectrum_before[0] / spectrum_before[-1]),
        **_directions(now, before),
    }


def _directions(now: Tensor, before: Tensor) -> Row:
    count = math.ceil(LEADING * min(now.shape))
    pairs = zip(leading_subspaces(now, count), leading_subspaces(before, count), strict=True)
    left, right = (subspace_similarity(*pair) for pair in pairs)
    energy = hyperspherical_energy(now) / hyperspherical_energy(before)
    return {"left_similarity": left, "right_similarity": right, "energy_ratio": energy}


def _rotation_errors(rotations: Rotations | None, now: Tensor) -> Row:
    if rotations is None:
        return dict.fromkeys(("output_orthogonality", "input_orthogonality", "rotation_error"))
    output, input_, product = rotations.output, rotations.input, rotations.product
    return {
        "output_orthogonality": None if output is None else orthogonality_error(output),
        "input_orthogonality": None if input_ is None else orthogonality_error(input_),
        "rotation_error": float(matrix_norm(product - now) / matrix_norm(now)),
    }


def measure_state(state: State, unedited: Mapping[int, Tensor], runs_in: dtype) -> list[Row]:
    """One row (COLUMNS) per edited layer, of the matrices rounded to the model's dtype.

    unedited: (d_out, d_in) by layer. runs_in: the model's dtype.
    """
    return [
        measure(layer, editor.measured.to(runs_in), unedited[layer].to(runs_in), editor.rotations)
        for layer, editor in state.editors.items()
    ]
