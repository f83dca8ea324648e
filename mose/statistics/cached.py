"""Second moments in the user's cache: made on first use, by model and corpus options.

A layer has a file of its own, so that methods which edit different layers share what is there.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mose.errors import RequestError
from mose.linalg.second_moment import SecondMoment
from mose.models.causal_lm import CausalLM
from mose.statistics import corpus, second_moments
from mose.storage import cache, files, hdf5
from mose.validation.strict import Checked, Count, Natural, Text

logger = logging.getLogger(__name__)

DEMO_TOKENS = 16384
ENOUGH = second_moments.ENOUGH_TOKENS_PER_DIMENSION


class CorpusOptions(Checked):
    """The text that second moments are computed on."""

    source: Text = Field(
        default="sampled",
        description="sampled (text that the model itself samples), or the path of a plain text or "
        "of records with a field `text`.",
    )
    tokens: Count | None = Field(
        default=None,
        description="Tokens. null: DEMO_TOKENS, or ENOUGH per dimension of a key where that is "
        "more.",
    )
    window: Annotated[int, Field(ge=2)] = Field(default=128, description="Tokens per window.")
    include_first: bool = Field(default=False, description="Count each window's first token.")
    seed: Natural = Field(default=0, description="Seed of sampled text.")

    def check_source(self) -> None:
        """Raise RequestError for a text that is not there."""
        if self.source != "sampled" and not Path(self.source).is_file():
            raise RequestError(
                f"corpus: {self.source}: no such file; give the path of a text, or 'sampled'"
            )

    def block(self) -> dict[str, Any]:
        """As the `corpus` block of a configuration, one shard and nothing held out."""
        source = self.source if self.source == "sampled" else {"file": self.source}
        return {**asdict(self), "source": source, "heldout": 0, "shards": 1}

    def digest(self) -> str:
        """Digest of the options and, for a file, of its contents."""
        source = self.source
        if source != "sampled":
            source = files.sha256_of_file(source)
        return files.digest_of({**asdict(self), "source": source})


@dataclass(frozen=True)
class Moments:
    """Second moments by layer, each read at first use, and a digest of them all."""

    by_layer: dict[int, SecondMoment]
    digest: str


def second_moments_of(lm: CausalLM, layers: Sequence[int], options: CorpusOptions) -> Moments:
    """Second moments of the unedited model's keys, from the cache or computed now.

    lm: with its unedited weights. layers: the edited ones. Raises ConfigError for layers out of
    range, RequestError for a text that is missing or too short.
    """
    lm.check_layers(layers, "layers")
    options.check_source()
    width = max(lm.weight(layer).shape[1] for layer in layers)
    options = replace(options, tokens=options.tokens or max(DEMO_TOKENS, ENOUGH * width))
    dtype = str(lm.model.dtype).removeprefix("torch.")
    folder = cache.of_statistics(lm.fingerprint, files.digest_of([options.digest(), dtype]))
    paths = {layer: folder / f"layer{layer}.h5" for layer in layers}
    missing = {layer: path for layer, path in paths.items() if not path.is_file()}
    if missing:
        logger.info("second moments of layers %s, kept in %s", [*missing], folder)
        _compute(lm, options, dtype, folder, missing)
    by_layer = {
        layer: second_moments.load(path, [layer], lm.fingerprint)[layer]
        for layer, path in paths.items()
    }
    digests = [hdf5.read(path, "moments", []).digest for path in paths.values()]
    return Moments(by_layer, files.digest_of(digests))


def _compute(
    lm: CausalLM, options: CorpusOptions, dtype: str, folder: Path, paths: dict[int, Path]
) -> None:
    """Write second moments to `paths`, by layer, in one pass over the corpus."""
    windows = folder / "windows.h5"
    if not windows.is_file():
        corpus.write_part(windows, lm, options.block(), "windows0")
    summed = second_moments.sum_windows(lm, windows, [*paths], options.include_first, dtype)
    for layer, path in paths.items():
        layer_sum = {layer: summed.sums.pop(layer)}
        second_moments.save(
            path, layer_sum, summed.tokens, summed.provenance, summed.windows, (0, 1)
        )
