"""Size of AlphaEdit's null space: its rank, and its share of the keys' energy."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mose.errors import ConfigError
from mose.methods.alphaedit import null_share, protected_directions
from mose.methods.options import AlphaEditOptions, EditOptions
from mose.models.causal_lm import CausalLM
from mose.statistics import second_moments

COLUMNS = ("layer", "width", "rank", "corpus_share", "heldout_share", "heldout_tokens")


def measure(
    lm: CausalLM, path: str | Path, windows: NDArray[np.integer], options: EditOptions
) -> list[dict[str, int | float]]:
    """One row (COLUMNS) per layer of the options.

    path: second moments of the corpus. windows: held-out token windows (n, T); their first position
    counts if it does in that file.
    Raises ConfigError for options of other methods than AlphaEdit.
    """
    if not isinstance(options, AlphaEditOptions):
        raise ConfigError(
            f"method: found {type(options).__name__}, expected AlphaEditOptions; only alphaedit, "
            "alone or as a wrapper's base, has a null space"
        )
    corpus = second_moments.load(path, options.layers, lm.fingerprint)
    sums, count = second_moments.accumulate(
        lm, windows, options.layers, second_moments.counts_first(path)
    )
    return [
        row_of(layer, corpus[layer].matrix, sums[layer] / count, count, options)
        for layer in options.layers
    ]


def row_of(
    layer: int, corpus: Tensor, heldout: Tensor, tokens: int, options: AlphaEditOptions
) -> dict[str, int | float]:
    """The row (COLUMNS) of one layer.

    corpus, heldout: second moments (d_in, d_in) per token; tokens: number behind `heldout`.
    """
    protected = protected_directions(corpus, options)
    width, count = protected.shape
    values = (
        *(layer, width, width - count),
        *(null_share(corpus, protected), null_share(heldout, protected), tokens),
    )
    return dict(zip(COLUMNS, values, strict=True))
