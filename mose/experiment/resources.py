"""What the stages need: memory, disk and time, counted from a model's shape.

Free of torch, so that a workflow can plan with it and a program refuse before it loads anything.
docs/scale.md has the arithmetic and how it compares with what was measured. Bytes, operations (a
multiplication and an addition are two) and seconds.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mose.editing.pass_size import target_tokens
from mose.methods.options import (
    MoseOptions,
    TargetOptions,
    TrainedOptions,
    TrainedRotationOptions,
    Variant,
)

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Python with torch and transformers; with CUDA's libraries and context (from others' reports: no
# GPU was at hand).
PROGRAM_BYTES = {"cpu": 420e6, "gpu": 3e9}
LIGHT_BYTES = 1e9  # what runs without a model
PASS_TOKENS = 2048  # of scoring and second moments
HEAD_ROWS = 384
# CounterFact in SmolLM2's tokens: before the subject's last token, from there to the target's end,
# and a whole prompt; context templates (the bare prompt among them).
BEFORE, AFTER, PROMPT, TEMPLATES = 15, 4.1, 19, 6
TASK_TOKENS = 100
# Operations a second: of one processor core (float64 and float32; half of what one large product
# reaches), and of a GPU in two bytes (a tenth of an H100's peak).
RATE = {"core": 60e9, "gpu": 100e12}
READ_BYTES = 200e6  # a second, from a disk: weights are read and hashed by every job
# A scheduler's limit, against the estimate. Under a scheduler a job's own Snakemake, which is two
# processes, counts as well.
TIME_FACTOR, TIME_FLOOR, MEMORY_FACTOR, SCHEDULED_BYTES = 4, 20 * 60, 1.2, 500e6
# A refusal leaves the estimate's own error out of account.
ESTIMATE_ERROR = 0.2


@dataclass(frozen=True)
class Shape:
    """What of a model its cost depends on.

    parameters: in all; blocks; width and mlp_width: d_out and d_in of the edited projections;
    vocabulary; dtype: of the files.
    """

    parameters: int
    blocks: int
    width: int
    mlp_width: int
    vocabulary: int
    dtype: str = "float32"

    @property
    def head(self) -> float:
        """Parameters of the head, which is also the embedding's size."""
        return self.vocabulary * self.width

    @property
    def block(self) -> float:
        """Parameters of a block (untied embeddings make it too large by a few per cent)."""
        return (self.parameters - self.head) / self.blocks

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> "Shape":
        """The shape that a model's manifest.json states."""
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
        """The shape of a directory of safetensors, from its config.json and the files' size; None
        where those do not tell."""
        files = list(directory.glob("*.safetensors"))
        path = directory / "config.json"
        if not files or not path.exists():
            return None
        said = json.loads(path.read_text(encoding="utf-8"))

        def first(*names: str) -> Any:
            return next((said[name] for name in names if said.get(name)), None)

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
    """What a job runs on: whether the model is on GPUs, what it runs in, and the job's cores."""

    gpu: bool = False
    dtype: str = "float32"
    threads: int = 1

    @property
    def kind(self) -> str:
        return "gpu" if self.gpu else "cpu"


@dataclass(frozen=True)
class Work:
    """What of a job its cost depends on, beside the model.

    layers: for second moments; variant: of an edit; tokens: of a corpus or a text; shards: that
    are added; requests: that are edited, or scored with `prompts` prompts each; batch: of edits;
    items: of tasks; sampled: rows of text that are sampled at a time, of `window` tokens.
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
    """Peak bytes of a job on the host and on the GPUs, bytes it leaves on disk, and its time."""

    host: float
    device: float = 0.0
    disk: float = 0.0
    seconds: float = 0.0

    def mem_mb(self, attempt: int = 1) -> int:
        """Snakemake's resource: a fifth more than the estimate, and more when tried again."""
        return math.ceil((self.host * MEMORY_FACTOR + SCHEDULED_BYTES) * attempt / 1e6)

    def runtime(self, attempt: int = 1) -> int:
        """Snakemake's resource, in minutes: far above the estimate, which assumes a rate."""
        return math.ceil((TIME_FLOOR + TIME_FACTOR * self.seconds) * attempt / 60)


LIGHT = Needs(LIGHT_BYTES, seconds=60)


def needs(stage: str, shape: Shape, machine: Machine, work: Work) -> Needs:
    """What one job of a stage (a rule's name, in STAGES) needs. What runs no model is LIGHT."""
    return STAGES[stage](shape, machine, work)


def _with_model(
    shape: Shape, machine: Machine, *, host: float = 0, running: float = 0, disk: float = 0,
    operations: float = 0, host_operations: float = 0,
) -> Needs:  # fmt: skip
    """Needs of a job that loads the model.

    host: bytes of what is solved, which stays in the host's memory; running: of the passes.
    operations: where the model runs; host_operations: of what is solved, float64.
    """
    weights = shape.parameters * ITEM_BYTES[machine.dtype]
    if machine.dtype != shape.dtype:
        host += shape.parameters * ITEM_BYTES[shape.dtype]  # the files, while they are cast
    core = RATE["core"] * machine.threads
    seconds = shape.parameters * ITEM_BYTES[shape.dtype] / READ_BYTES
    seconds += operations / (RATE["gpu"] if machine.gpu else core) + host_operations / core
    # The weights pass through the host's memory on their way to a GPU.
    both = PROGRAM_BYTES[machine.kind] + weights + host
    if machine.gpu:
        return Needs(both, weights + running, disk, seconds)
    return Needs(both + running, 0, disk, seconds)


def _pass_bytes(shape: Shape, machine: Machine, tokens: int) -> float:
    """Activations of one block, which a pass without gradients holds at a time."""
    return ITEM_BYTES[machine.dtype] * tokens * (8 * shape.width + 4 * shape.mlp_width)


def _model(shape: Shape, machine: Machine, work: Work) -> Needs:
    files = shape.parameters * ITEM_BYTES[shape.dtype]
    own = Machine(False, shape.dtype, machine.threads)
    return _with_model(shape, own, disk=files)


def _corpus(shape: Shape, machine: Machine, work: Work) -> Needs:
    # Keys and values of all blocks (less where heads share them), and a distribution in float64.
    cache = ITEM_BYTES[machine.dtype] * 2 * shape.width * shape.blocks * work.window
    running = _pass_bytes(shape, machine, PASS_TOKENS)
    running += work.sampled * (cache + 28 * shape.vocabulary)
    operations = 2 * shape.parameters * work.tokens if work.sampled else 0
    return _with_model(shape, machine, running=running, disk=4 * work.tokens, operations=operations)


def _second_moments(shape: Shape, machine: Machine, work: Work) -> Needs:
    sums = len(work.layers) * 8 * shape.mlp_width**2
    lower = max(work.layers) + 1
    operations = work.tokens * (
        2 * shape.block * lower + 1.1 * len(work.layers) * shape.mlp_width**2
    )
    # Blocks above are never read from the files, where they need neither be cast nor moved.
    unread = 0.0
    if not machine.gpu and machine.dtype == shape.dtype:
        unread = (shape.blocks - lower) * shape.block * ITEM_BYTES[shape.dtype]
    return _with_model(
        shape, machine, host=sums if machine.gpu else -unread, disk=sums / 2,
        operations=operations, running=sums + _pass_bytes(shape, machine, PASS_TOKENS),
    )  # fmt: skip


def _add_second_moments(shape: Shape, machine: Machine, work: Work) -> Needs:
    packed = 4 * len(work.layers) * shape.mlp_width**2
    # The sum so far and one shard.
    seconds = packed * work.shards / READ_BYTES
    return Needs(PROGRAM_BYTES["cpu"] + 2 * packed, 0, packed, seconds)


def _null_space(shape: Shape, machine: Machine, work: Work) -> Needs:
    square = 8 * shape.mlp_width**2
    layers = len(_layers(work))
    return _with_model(
        shape, machine, host=(2 * layers + 3) * square,
        running=_pass_bytes(shape, machine, PASS_TOKENS),
        operations=2 * shape.parameters * work.tokens,
        host_operations=layers * 9 * shape.mlp_width**3,
    )  # fmt: skip


def _layers(work: Work) -> Sequence[int]:
    return work.layers if work.variant is None else work.variant.edit.layers


def _state_bytes(shape: Shape, variant: Variant) -> float:
    """Of the edited matrices and what else a checkpoint holds, on disk."""
    options, layers = variant.edit, len(variant.edit.layers)
    if isinstance(options, MoseOptions) and options.memory == "none":
        side = shape.width if options.side == "output" else shape.mlp_width
        return layers * 8.0 * side**2
    return layers * 4.0 * shape.width * shape.mlp_width


def _solved_bytes(shape: Shape, variant: Variant) -> float:
    """What a method holds in the host's memory to solve its updates."""
    d, f, layers = shape.width, shape.mlp_width, len(variant.edit.layers)
    options = variant.edit
    if isinstance(options, TrainedOptions):
        return layers * 16 * d * f
    if isinstance(options, MoseOptions) and options.side == "output":
        # A second moment at a time; W0 and W in float64; some ten matrices of the rotation.
        return 8 * f**2 + layers * (16 * d * f + 80 * d**2)
    if isinstance(options, MoseOptions):
        return layers * (80 * f**2 + 16 * d * f)
    # Second moment and its factor (or the directions that AlphaEdit protects), matrix and update.
    return layers * (16 * f**2 + 8 * d * f)


def _solve_operations(shape: Shape, variant: Variant, work: Work) -> float:
    d, f, layers = shape.width, shape.mlp_width, len(variant.edit.layers)
    batches = math.ceil(work.requests / work.batch)
    options = variant.edit
    if isinstance(options, MoseOptions):
        side = d if options.side == "output" else f
        columns = work.batch if options.memory == "none" else max(work.requests, work.batch)
        nodes = 45
        solve = min(12 * side**2 * columns * nodes, 7 * side**3 + 4 * side * columns**2 * nodes)
        return layers * (batches * (solve + 5 * side**3 + 2 * d * f * side) + 9 * side**3)
    if isinstance(options, TargetOptions):
        return layers * (2 * f**2 * work.requests + f**3 / 3)
    if isinstance(options, TrainedRotationOptions):
        # Inverses and products of all blocks, forward and backward, at every step.
        block = f / options.blocks
        return layers * work.requests * options.steps * (8 * f * block**2 + 6 * d * f * block)
    return 0


def _edit(shape: Shape, machine: Machine, work: Work) -> Needs:
    if work.variant is None:
        raise ValueError("an edit has a variant")
    options = work.variant.edit
    last = max(options.layers)
    above = max(shape.blocks - 1 - last, 1)
    tokens: float = target_tokens(machine.kind, machine.threads)
    if not machine.gpu:
        # A GPU has no room beyond the estimate for targets that are longer than CounterFact's.
        tokens = min(tokens, work.batch * (TEMPLATES + 1) * AFTER)
    # Forward and backward of what is above, once per step; the head where a loss is read.
    steps = options.steps * (
        (TEMPLATES + 1) * AFTER * 4 * shape.block * above + TEMPLATES * 1.2 * 4 * shape.head
    )
    prefixes = (TEMPLATES + 1) * (BEFORE + AFTER) * 2 * shape.block * shape.blocks
    keys = (len(options.layers) + 1) * TEMPLATES * BEFORE * 2 * shape.block * (last + 1)
    running = ITEM_BYTES[machine.dtype] * tokens * above * (20 * shape.width + 4 * shape.mlp_width)
    # Every batch is scored right after it was written.
    scoring = work.prompts * PROMPT * 2 * shape.parameters
    return _with_model(
        shape, machine,
        host=_solved_bytes(shape, work.variant),
        running=max(running, _scoring_bytes(shape, machine)),
        disk=_state_bytes(shape, work.variant),
        operations=work.requests * (steps + prefixes + keys + scoring),
        host_operations=_solve_operations(shape, work.variant, work),
    )  # fmt: skip


def _target_norms(shape: Shape, machine: Machine, work: Work) -> Needs:
    edit = _edit(shape, machine, work)
    # Nothing is solved or kept.
    unsolved = 0 if work.variant is None else _solved_bytes(shape, work.variant)
    return Needs(edit.host - unsolved, edit.device, 0, edit.seconds)


def _scoring_bytes(shape: Shape, machine: Machine) -> float:
    return _pass_bytes(shape, machine, PASS_TOKENS) + 8 * HEAD_ROWS * shape.vocabulary


def _measure(shape: Shape, machine: Machine, work: Work) -> Needs:
    d, f = shape.width, shape.mlp_width
    layers = len(_layers(work))
    host = layers * 12.0 * d * f
    if work.variant is not None:
        # A rotation without memory is multiplied onto the matrix again.
        host += _state_bytes(shape, work.variant)
    scored = work.requests * work.prompts
    tokens = scored * PROMPT + work.tokens + work.items * TASK_TOKENS
    return _with_model(
        shape, machine, host=host, running=_scoring_bytes(shape, machine), disk=80 * scored,
        operations=2 * shape.parameters * tokens,
    )  # fmt: skip


def _layer_scores(shape: Shape, machine: Machine, work: Work) -> Needs:
    held = shape.blocks * (20 * shape.width + 4 * shape.mlp_width)
    tokens = work.requests * PROMPT
    return _with_model(
        shape, machine, running=ITEM_BYTES[machine.dtype] * PASS_TOKENS * held,
        operations=6 * shape.parameters * tokens,
    )  # fmt: skip


def _stability(shape: Shape, machine: Machine, work: Work) -> Needs:
    if work.variant is None:
        raise ValueError("what is measured has a variant")
    d, f = shape.width, shape.mlp_width
    layers = len(work.variant.edit.layers)
    # All layers' matrices, before and after, one's singular value decomposition, a rotation's
    # products.
    host = layers * 20 * d * f + 64 * d * f + 3 * _state_bytes(shape, work.variant)
    if isinstance(work.variant.edit, MoseOptions) and work.variant.edit.memory != "none":
        # The rotation itself is computed again, from its pairs.
        host += _solved_bytes(shape, work.variant)
    weights = shape.parameters * ITEM_BYTES[shape.dtype] / READ_BYTES
    operations = layers * 20 * d**2 * f
    return Needs(
        PROGRAM_BYTES["cpu"] + host, 0, 0, weights + operations / (RATE["core"] * machine.threads)
    )


STAGES = {
    "model": _model,
    "corpus": _corpus,
    "second_moments": _second_moments,
    "add_second_moments": _add_second_moments,
    "null_space": _null_space,
    "facts": _measure,
    "templates": _corpus,
    "edit": _edit,
    "stability": _stability,
    "measure": _measure,
    "measure_unedited": _measure,
    "perplexity_unedited": _measure,
    "tasks": _measure,
    "tasks_unedited": _measure,
    "layer_scores": _layer_scores,
    "target_norms": _target_norms,
}
