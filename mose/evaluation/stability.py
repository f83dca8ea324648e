"""Effect of edits on a matrix: norms, spectrum, distance, orthogonality. Needs no model."""

from collections.abc import Mapping

from torch import Tensor, dtype, float64
from torch.linalg import matrix_norm, svdvals

from mose.editing.sequence import State
from mose.linalg.orthogonal import orthogonality_error
from mose.linalg.spectrum import effective_rank

Row = dict[str, int | float | None]
COLUMNS = (
    "layer",
    "frobenius",
    "spectral",
    "smallest",
    "condition",
    "effective_rank",
    "relative_change",
    "orthogonality_error",
    "frobenius_ratio",
    "condition_ratio",
)


def measure(layer: int, edited: Tensor, unedited: Tensor, rotation: Tensor | None) -> Row:
    """The row (COLUMNS) of one layer.

    edited, unedited: (d_out, d_in), rounded to the model's dtype. rotation: the orthogonal factor,
    or None. relative_change is ||W_n - W_0||_F / ||W_0||_F; ratios are to the unedited matrix.
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
        "orthogonality_error": None if rotation is None else orthogonality_error(rotation),
        "frobenius_ratio": frobenius / frobenius_before,
        "condition_ratio": condition / float(spectrum_before[0] / spectrum_before[-1]),
    }


def measure_state(state: State, unedited: Mapping[int, Tensor], runs_in: dtype) -> list[Row]:
    """One row (COLUMNS) per edited layer, of the matrices rounded to the model's dtype.

    unedited: (d_out, d_in) by layer. runs_in: the model's dtype.
    """
    return [
        measure(layer, editor.measured.to(runs_in), unedited[layer].to(runs_in), editor.rotation)
        for layer, editor in state.editors.items()
    ]
