"""What a job needs of a machine: memory, disk and time, and what these depend on.

Free of torch: the workflow plans with it, and programs check it before they load anything. Units
are bytes, operations (a multiplication and an addition count as two) and seconds. `.stages` counts
the needs of each stage.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mose.methods.options import Variant

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
LIGHT_BYTES = 1e9  # of a job that loads no model
# A scheduler's limits over the estimates. A Slurm job also runs Snakemake, as two processes.
TIME_FACTOR, TIME_FLOOR, MEMORY_FACTOR, SCHEDULED_BYTES = 4, 20 * 60, 1.2, 500e6
# Relative error of the memory estimate. A job is refused only if it lacks more than this.
ESTIMATE_ERROR = 0.2


@dataclass(frozen=True)
class Shape:
    """Sizes of a model that decide what a job costs.

    parameters: total; blocks: number of transformer blocks; width, mlp_width: d_out and d_in of
    the edited projections; vocabulary: rows of the head; dtype: number format of the files.
    """

    parameters: int
    blocks: int
    width: int
    mlp_width: int
    vocabulary: int
    dtype: str = "float32"

    @property
    def head(self) -> float:
        """Parameters of the head; the embedding has as many."""
        return self.vocabulary * self.width

    @property
    def block(self) -> float:
        """Parameters of a block (a few per cent too many where embeddings are untied)."""
        return (self.parameters - self.head) / self.blocks

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> "Shape":
        """The shape in a model's manifest.json."""
        return cls(
            manifest["parameters"],
            manifest["layers"],
            manifest["d_out"],
            manifest["d_in"],
            manifest.get("vocabulary", 0),
            manifest.get("dtype", "float32"),
        )

    @classmethod
    def of_directory(cls, directory: Path) -> "Shape | None":
        """The shape of a directory of safetensors, from its config.json and the sizes of its files.

        None if either is missing, or config.json lacks a size.
        """
        files = list(directory.glob("*.safetensors"))
        path = directory / "config.json"
        if not files or not path.exists():
            return None
        model_config = json.loads(path.read_text(encoding="utf-8"))

        def first(*names: str) -> Any:
            return next((model_config[name] for name in names if model_config.get(name)), None)

        width = first("hidden_size", "n_embd")
        blocks, vocabulary = first("num_hidden_layers", "n_layer"), first("vocab_size")
        if width is None or blocks is None or vocabulary is None:
            return None
        mlp_width = first("intermediate_size", "n_inner", "ffn_dim") or 4 * width
        dtype = first("dtype", "torch_dtype") or "float32"
        stored = sum(file.stat().st_size for file in files)
        parameters = stored // ITEM_BYTES.get(dtype, 4)
        return cls(parameters, blocks, width, mlp_width, vocabulary, dtype)


@dataclass(frozen=True)
class Machine:
    """What a job runs on.

    gpu: whether the model is on GPUs; dtype: the model's number format; threads: CPU threads;
    solve_on: where updates are solved, "model" or "host".
    """

    gpu: bool = False
    dtype: str = "float32"
    threads: int = 1
    solve_on: str = "model"

    @property
    def kind(self) -> str:
        return "gpu" if self.gpu else "cpu"

    @property
    def solves_on_gpu(self) -> bool:
        return self.gpu and self.solve_on == "model"


@dataclass(frozen=True)
class Work:
    """Sizes of a job, beside the model's, that decide what it costs.

    layers: of the second moments. variant: method and options. tokens: of a corpus or text.
    shards: number to add. requests: number to edit, or to score with `prompts` prompts each.
    batch: requests per update. items: of tasks. sampled: texts sampled at a time, of `window`
    tokens each.
    """

    layers: Sequence[int] = ()
    variant: Variant | None = None
    tokens: int = 0
    shards: int = 1
    requests: int = 0
    prompts: int = 1
    batch: int = 1
    items: int = 0
    sampled: int = 0
    window: int = 0


@dataclass(frozen=True)
class Needs:
    """Peak bytes of a job on the host and on the GPUs, bytes it writes to disk, and seconds."""

    host: float
    device: float = 0.0
    disk: float = 0.0
    seconds: float = 0.0

    def mem_mb(self, attempt: int = 1) -> int:
        """Snakemake's resource, in MB: the estimate plus a fifth, times the attempt's number."""
        return math.ceil((self.host * MEMORY_FACTOR + SCHEDULED_BYTES) * attempt / 1e6)

    def runtime(self, attempt: int = 1) -> int:
        """Snakemake's resource, in minutes: four times the estimate, whose rates are assumed."""
        return math.ceil((TIME_FLOOR + TIME_FACTOR * self.seconds) * attempt / 60)


# Needs of a job that loads no model.
LIGHT = Needs(LIGHT_BYTES, seconds=60)
