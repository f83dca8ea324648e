"""Memory, disk and time of each stage, counted from the model's shape.

docs/scale.md has the arithmetic and compares it with measurements. Units as in `.resources`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from mose.editing.pass_size import target_tokens
from mose.experiment.resources import ITEM_BYTES, Machine, Needs, Shape, Work
from mose.methods.context_options import InContextOptions
from mose.methods.options import IterativeOptions, LeastSquaresOptions, TargetOptions, Variant
from mose.methods.register import target_variant
from mose.methods.rotation_options import MoseOptions
from mose.methods.signal_options import SignalOptions, StableEditOptions
from mose.methods.trained_options import TrainedOptions, TrainedRotationOptions
from mose.methods.wrapper_options import ALIGNED

# Python with torch and transformers; on a GPU with CUDA's libraries and context (2.05 GB measured
# on an H100).
PROGRAM_BYTES = {"cpu": 420e6, "gpu": 3e9}
PASS_TOKENS = 2048  # tokens per pass of scoring and second moments
HEAD_ROWS = 384  # positions whose logits are held at a time
# Mean token counts of CounterFact with SmolLM2's tokenizer: before the subject's last token, from
# there to the end of the target, in a whole prompt; number of context templates, the bare prompt
# included.
BEFORE, AFTER, PROMPT, TEMPLATES = 15, 4.1, 19, 6
TASK_TOKENS = 100  # tokens per task item
# Operations per second: of one processor core (float32 and float64; half of what a large product
# reaches), and of a GPU with two-byte numbers (for value targets an H100 reached 53e12 in batches
# of ten and 264e12 in batches of a hundred) and with float64 (a tenth of its peak; not measured).
RATE = {"core": 60e9, "gpu": 100e12, "gpu float64": 6e12}
READ_BYTES = 200e6  # bytes per second from a disk: every job reads and hashes the weights


def needs(stage: str, shape: Shape, machine: Machine, work: Work) -> Needs:
    """Needs of one job of a stage (a key of STAGES: a rule's name)."""
    return STAGES[stage](shape, machine, work)


def _with_model(
    shape: Shape, machine: Machine, *, host: float = 0, running: float = 0, disk: float = 0,
    operations: float = 0, host_operations: float = 0, solve_operations: float = 0,
) -> Needs:  # fmt: skip
    """Needs of a job that loads the model.

    host: bytes always in the host's memory; running: bytes where the model runs.
    operations: of passes; host_operations: of the host's linear algebra, in float64;
    solve_operations: of such where the model runs.
    """
    weights = shape.parameters * ITEM_BYTES[machine.dtype]
    if machine.dtype != shape.dtype:
        host += shape.parameters * ITEM_BYTES[shape.dtype]  # the files' copy, during the cast
    core = RATE["core"] * machine.threads
    seconds = shape.parameters * ITEM_BYTES[shape.dtype] / READ_BYTES
    seconds += operations / (RATE["gpu"] if machine.gpu else core) + host_operations / core
    seconds += solve_operations / (RATE["gpu float64"] if machine.gpu else core)
    # The weights pass through the host's memory on their way to a GPU.
    both = PROGRAM_BYTES[machine.kind] + weights + host
    if machine.gpu:
        return Needs(both, weights + running, disk, seconds)
    return Needs(both + running, 0, disk, seconds)


def _pass_bytes(shape: Shape, machine: Machine, tokens: int) -> float:
    """Bytes of one block's activations: a pass without gradients holds one block at a time."""
    return ITEM_BYTES[machine.dtype] * tokens * (8 * shape.width + 4 * shape.mlp_width)


def _model(shape: Shape, machine: Machine, work: Work) -> Needs:
    files = shape.parameters * ITEM_BYTES[shape.dtype]
    host = Machine(False, shape.dtype, machine.threads)
    return _with_model(shape, host, disk=files)


def _corpus(shape: Shape, machine: Machine, work: Work) -> Needs:
    # Keys and values of all blocks (grouped heads need less), and a distribution in float64.
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
    # Weights are mapped from the files: blocks above the last edited one are never read, unless a
    # cast or a move to a GPU reads them.
    unread = 0.0
    if not machine.gpu and machine.dtype == shape.dtype:
        unread = (shape.blocks - lower) * shape.block * ITEM_BYTES[shape.dtype]
    return _with_model(
        shape, machine, host=sums if machine.gpu else -unread, disk=sums / 2,
        operations=operations, running=sums + _pass_bytes(shape, machine, PASS_TOKENS),
    )  # fmt: skip


def _add_second_moments(shape: Shape, machine: Machine, work: Work) -> Needs:
    packed = 4 * len(work.layers) * shape.mlp_width**2
    seconds = packed * work.shards / READ_BYTES
    # The running sum and one shard are in memory.
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
    """The edited layers: of the variant, if there is one."""
    return work.layers if work.variant is None else work.variant.edit.layers


def _state_bytes(shape: Shape, variant: Variant) -> float:
    """Bytes of a checkpoint on disk."""
    options, layers = variant.edit, len(variant.edit.layers)
    if isinstance(options, InContextOptions):
        return 0.0
    if isinstance(options, MoseOptions) and options.side == "both":
        return layers * 8.0 * shape.width * shape.mlp_width
    if isinstance(options, MoseOptions) and options.memory == "none":
        side = shape.width if options.side == "output" else shape.mlp_width
        return layers * 8.0 * side**2
    if isinstance(options, StableEditOptions):
        return layers * (4.0 * shape.width * shape.mlp_width + 8.0 * shape.width**2)
    # Aligned wrappers hold the base's solution and the weight as written.
    matrices = 2 if isinstance(variant.options, ALIGNED) else 1
    return layers * matrices * 4.0 * shape.width * shape.mlp_width


def _solved_bytes(shape: Shape, variant: Variant) -> float:
    """Bytes of host memory that a method's linear algebra takes."""
    d, f, layers = shape.width, shape.mlp_width, len(variant.edit.layers)
    options = variant.edit
    if isinstance(options, (TrainedOptions, SignalOptions, InContextOptions)):
        whitening = 32 * d**2 if isinstance(options, StableEditOptions) else 0
        return layers * (16 * d * f + whitening)
    if isinstance(options, MoseOptions) and options.side == "both":
        # Second moment, its factor and a triangular copy; about twelve matrices of W's size.
        # protect: the basis of the other directions, the second moment in it and its factor.
        protected = layers * 24 * f**2 if options.protect else 0
        return layers * (16 * f**2 + 24 * d * f) + 8 * f**2 + 100 * d * f + protected
    if isinstance(options, MoseOptions) and options.side == "output":
        # One second moment at a time; W0 and W in float64; about ten matrices of the rotation.
        return 8 * f**2 + layers * (16 * d * f + 80 * d**2)
    if isinstance(options, MoseOptions):
        return layers * (80 * f**2 + 16 * d * f)
    # Second moment and its factor (AlphaEdit: its projection), weight and update.
    return layers * (16 * f**2 + 8 * d * f)


def _solve_operations(shape: Shape, variant: Variant, work: Work) -> float:
    d, f, layers = shape.width, shape.mlp_width, len(variant.edit.layers)
    batches = math.ceil(work.requests / work.batch)
    options = variant.edit
    if isinstance(options, MoseOptions) and options.side == "both":
        # protect: a full singular value decomposition, and the second moment in another basis.
        once = f**3 / 3 + (14 * f**3 if options.protect else 0)
        return layers * (
            batches * two_sided_operations(d, f, _columns(options, work), options) + once
        )
    if isinstance(options, MoseOptions):
        side = d if options.side == "output" else f
        columns = _columns(options, work)
        nodes = 45
        solve = min(12 * side**2 * columns * nodes, 7 * side**3 + 4 * side * columns**2 * nodes)
        return layers * (batches * (solve + 5 * side**3 + 2 * d * f * side) + 9 * side**3)
    if isinstance(options, StableEditOptions):
        return layers * batches * 9 * d**3
    if isinstance(options, TargetOptions):
        return layers * (2 * f**2 * work.requests * _keys_per_request(options) + f**3 / 3)
    if isinstance(options, TrainedRotationOptions):
        # Per step: inverses and products of all diagonal blocks, forward and backward.
        block = f / options.blocks
        return layers * work.requests * options.steps * (8 * f * block**2 + 6 * d * f * block)
    return 0


def _keys_per_request(options: TargetOptions) -> int:
    each = isinstance(options, LeastSquaresOptions) and options.contexts == "each"
    return TEMPLATES if each else 1


def _columns(options: MoseOptions, work: Work) -> int:
    """Columns of the least squares of one update."""
    requests = work.batch if options.memory == "none" else max(work.requests, work.batch)
    return requests * _keys_per_request(options)


def two_sided_operations(d: int, f: int, columns: int, options: MoseOptions) -> float:
    """Of one update by a rotation of both sides: a layer (d, f), as many keys as columns."""
    projection = 9 * d**3 + 6 * d**2 * f
    additive = 2 * f**2 * columns + 4 * d * f * columns
    # `weighted` has two products with the second moment for its starts, and takes 2 to 8 steps,
    # each with one solve and, in the mean, one and a half trials of its length.
    trial = projection + 2 * d**3 + 2 * d**2 * f
    step = 2 * d * f**2 + 6 * d**2 * f + 1.5 * trial
    weighted = 4 * d * f**2 + 5 * step if options.solver == "weighted" else 0
    basis = 4 * d * f**2 + 4 * d**2 * f if options.protect else 0
    return additive + basis + 2 * projection + weighted


def _edit(shape: Shape, machine: Machine, work: Work) -> Needs:
    if work.variant is None:
        raise ValueError("edit needs a variant")
    # Targets of the unedited model are another stage's.
    return _write(shape, machine, work, seeks_targets=target_variant(work.variant) is None)


def _write(shape: Shape, machine: Machine, work: Work, seeks_targets: bool) -> Needs:
    if work.variant is None:
        raise ValueError("edits need a variant")
    options = work.variant.edit
    last = max(options.layers)
    above = max(shape.blocks - 1 - last, 1)
    tokens: float = target_tokens(machine.kind, machine.threads)
    if not machine.gpu:
        # On a GPU the full pass is counted: targets may be longer than CounterFact's.
        tokens = min(tokens, work.batch * (TEMPLATES + 1) * AFTER)
    # Per step: forward and backward of the blocks above; the head at positions with a loss. Methods
    # by gradients take one.
    evaluations = options.steps if isinstance(options, IterativeOptions) else 1
    steps = evaluations * (
        (TEMPLATES + 1) * AFTER * 4 * shape.block * above + TEMPLATES * 1.2 * 4 * shape.head
    )
    if not seeks_targets:
        steps = 0
    prefixes = (TEMPLATES + 1) * (BEFORE + AFTER) * 2 * shape.block * shape.blocks
    # Keys of each next layer: the blocks from the one just written on.
    blocks = (last + 1) + sum(last - layer + 1 for layer in options.layers)
    keys = TEMPLATES * BEFORE * 2 * shape.block * blocks
    running = ITEM_BYTES[machine.dtype] * tokens * above * (20 * shape.width + 4 * shape.mlp_width)
    # Each batch is scored right after its edit.
    scoring = work.prompts * PROMPT * 2 * shape.parameters
    running = max(running, _scoring_bytes(shape, machine))
    solved = _solved_bytes(shape, work.variant)
    solving = _solve_operations(shape, work.variant, work)
    on_gpu = machine.solves_on_gpu and isinstance(options, TargetOptions)
    return _with_model(
        shape, machine,
        # One second moment at a time passes through the host's memory on its way to a GPU.
        host=8.0 * shape.mlp_width**2 if on_gpu else solved,
        running=running + solved if on_gpu else running,
        disk=_state_bytes(shape, work.variant),
        operations=work.requests * (steps + prefixes + keys + scoring),
        host_operations=0 if on_gpu else solving,
        solve_operations=solving if on_gpu else 0,
    )  # fmt: skip


def _target_norms(shape: Shape, machine: Machine, work: Work) -> Needs:
    edit = _write(shape, replace(machine, solve_on="host"), work, seeks_targets=True)
    # Value targets only: no linear algebra, no checkpoint.
    unsolved = 0 if work.variant is None else _solved_bytes(shape, work.variant)
    return Needs(edit.host - unsolved, edit.device, 0, edit.seconds)


def _scoring_bytes(shape: Shape, machine: Machine) -> float:
    return _pass_bytes(shape, machine, PASS_TOKENS) + 8 * HEAD_ROWS * shape.vocabulary


def _measure(shape: Shape, machine: Machine, work: Work) -> Needs:
    d, f = shape.width, shape.mlp_width
    layers = len(_layers(work))
    host = layers * 12.0 * d * f
    if work.variant is not None:
        # A rotation without memory is multiplied onto the unedited matrix again.
        host += _state_bytes(shape, work.variant)
    scored = work.requests * work.prompts
    tokens = scored * PROMPT + work.tokens + work.items * TASK_TOKENS
    return _with_model(
        shape, machine, host=host, running=_scoring_bytes(shape, machine), disk=80 * scored,
        operations=2 * shape.parameters * tokens,
    )  # fmt: skip


def _exported(shape: Shape, machine: Machine, work: Work) -> Needs:
    return replace(_measure(shape, machine, work), disk=shape.parameters * ITEM_BYTES[shape.dtype])


def _layer_scores(shape: Shape, machine: Machine, work: Work) -> Needs:
    held = shape.blocks * (20 * shape.width + 4 * shape.mlp_width)
    tokens = work.requests * PROMPT
    return _with_model(
        shape, machine, running=ITEM_BYTES[machine.dtype] * PASS_TOKENS * held,
        operations=6 * shape.parameters * tokens,
    )  # fmt: skip


def _stability(shape: Shape, machine: Machine, work: Work) -> Needs:
    if work.variant is None:
        raise ValueError("stability needs a variant")
    d, f = shape.width, shape.mlp_width
    layers = len(work.variant.edit.layers)
    # Matrices of all layers, before and after; one layer's singular value decomposition; products
    # of a rotation.
    host = layers * 20 * d * f + 64 * d * f + 3 * _state_bytes(shape, work.variant)
    if isinstance(work.variant.edit, MoseOptions) and work.variant.edit.memory != "none":
        # The rotation is computed again from its pairs of vectors.
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
    "exported": _exported,
    "next_tokens_of": _measure,
    "layer_scores": _layer_scores,
    "target_norms_of": _target_norms,
    "targets": _target_norms,
}
