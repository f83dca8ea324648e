"""How an edit's time and memory grow: with the edits in memory, the model's size, and the batch.

Processor seconds of this process (user and system), which other work on the machine changes less
than a clock's. Beside each stand the operations counted from shapes (docs/scale.md), at the rate
of one large matrix product in the same run. Models are random; keys and wanted changes of the first
curve are random vectors on one layer.
"""

import argparse
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from long_sequence import state_bytes
from matplotlib.figure import Figure
from run import REQUESTS, SHAPE, TEMPLATES, model
from two_sided import problem, rate, timed

from mose.cli import programs
from mose.editing import sequence, writing
from mose.editing.targets import ESSENCE
from mose.experiment.stages import two_sided_operations
from mose.facts.requests import EditRequest
from mose.linalg.second_moment import SecondMoment
from mose.methods.editors import make_editor
from mose.methods.options import Variant
from mose.methods.register import parse_variant
from mose.methods.rotation_options import MoseOptions
from mose.models.causal_lm import CausalLM
from mose.models.tokens import encode_edit
from mose.report import pages
from mose.storage import files

BATCH = 10
NODES = 45  # of the quadrature of a rotation: 30 to 60
COMMON = {"layers": [0], "lambda": 100.0, "learning_rate": 0.5}
MEMORIES: dict[str, dict[str, Any]] = {
    "memit": {"method": "memit", "memory": "keys"},
    "mose, output side": {"method": "mose", "memory": "accumulate"},
    "mose, input side": {
        "method": "mose", "side": "input", "targets": "reachable", "memory": "accumulate",
    },
    "mose, both sides, nearest": {
        "method": "mose", "side": "both", "solver": "nearest", "memory": "accumulate",
    },
    "mose, both sides": {"method": "mose", "side": "both", "memory": "accumulate"},
}  # fmt: skip
COLUMNS = (
    *("curve", "of", "size", "cpu_ms_per_edit", "memory_MB", "operations_per_edit"),
    "ms_by_operations",
)
LABELS = {
    "memory": "edits in memory",
    "model": "parameters, millions",
    "batch": "edits a batch",
}


@dataclass(frozen=True)
class Size:
    """What is measured. shape: d_out and d_in of one layer; models: by name; steps: of targets."""

    shape: tuple[int, int]
    memory: Sequence[int]
    models: dict[str, dict[str, Any]]
    batches: Sequence[int]
    steps: int
    requests: int


FULL = Size(
    shape=(576, 1536),
    memory=(10, 100, 500, 2000),
    # Of SmolLM2-135M, Gemma-3-270M and Qwen2.5-0.5B.
    models={
        "135M": dict(SHAPE),
        "270M": {
            **SHAPE, "vocab_size": 262144, "hidden_size": 640, "intermediate_size": 2048,
            "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1,
        },
        "500M": {
            **SHAPE, "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
            "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        },
    },
    batches=(1, 3, 10),
    steps=2,
    requests=3,
)  # fmt: skip


def solve_operations(of: str, variant: Variant, d: int, f: int, keys: int) -> float:
    """Operations of one update with this many keys, the new ones among them."""
    if isinstance(variant.edit, MoseOptions) and variant.edit.side == "both":
        return two_sided_operations(d, f, keys, variant.edit)
    if of == "memit":
        return 2 * f**2 * keys + 4 * f * keys**2 + keys**3 / 3 + 2 * d * f * keys
    side = f if of == "mose, input side" else d
    dense = 2 * side**2 * keys + 22 * side**3
    sparse = 12 * side**2 * keys * NODES
    dense = min(dense, 7 * side**3 + 4 * side * keys**2 * NODES + 5 * side**3)
    product = 2 * side**2 * (d if side == f else f)
    return min(dense, sparse) + product


def memory_curve(size: Size) -> Iterator[dict[str, Any]]:
    """Time of one update of BATCH edits and bytes of state, by the number of edits in memory."""
    per_second = rate(torch.float64)
    d, f = size.shape
    weight, moment, keys, wanted = problem(d, f, max(size.memory))
    for of, options in MEMORIES.items():
        for count in size.memory:
            variant = parse_variant({**options, **COMMON})
            own = SecondMoment(moment.matrix)
            editor = make_editor(weight, own, variant)
            generator = torch.Generator().manual_seed(count)
            turned = torch.randn(f, count, generator=generator, dtype=torch.float64)
            residuals = 0.3 * turned if of == "mose, input side" else wanted
            # What is factored once a run is factored by the first update.
            earlier = max(1, count - BATCH)
            editor.update(keys[:, :earlier], residuals[:, :earlier])
            editor.weight  # noqa: B018  (computed when asked for)
            new = slice(earlier, count)

            def update(editor: Any = editor, new: slice = new, r: Any = residuals) -> None:
                editor.update(keys[:, new], r[:, new])
                editor.weight  # noqa: B018

            seconds, _ = timed(update)
            operations = solve_operations(of, variant, d, f, count)
            yield {
                "curve": "memory", "of": of, "size": count,
                "cpu_ms_per_edit": seconds / (count - earlier) * 1e3,
                "memory_MB": state_bytes(editor) / 1e6,
                "operations_per_edit": operations / BATCH,
                "ms_by_operations": operations / BATCH / per_second * 1e3,
            }  # fmt: skip


def edit_operations(lm: CausalLM, requests: Sequence[EditRequest], layer: int, steps: int) -> float:
    """Operations of value targets, their prefixes and the keys of a batch (docs/scale.md)."""
    block = sum(p.numel() for p in lm.blocks[0].parameters())
    head = lm.model.get_output_embeddings().weight.numel()
    after = before = losses = cut_rows = 0
    for request in requests:
        for template in TEMPLATES:
            cut = encode_edit(
                lm.tokenizer, template, request.prompt, request.subject, request.target_new
            )
            after, before = after + len(cut.suffix), before + len(cut.prefix)
            losses += len(cut.target)
            cut_rows += len(cut.prefix) + 1
        essence = encode_edit(lm.tokenizer, "{}", ESSENCE, request.subject)
        after, before, losses = after + 1, before + len(essence.prefix), losses + 1
    above = lm.n_layers - layer - 1
    targets = steps * (4 * block * above * after + 4 * head * losses)
    return targets + 2 * block * lm.n_layers * (after + before) + 4 * block * (layer + 1) * cut_rows


def written(lm: CausalLM, requests: Sequence[EditRequest], steps: int) -> tuple[float, float]:
    """Processor seconds and counted operations of writing one batch by MEMIT, a layer."""
    layer = lm.n_layers * 8 // 30
    width = lm.weight(layer).shape[1]
    moment = SecondMoment(torch.eye(width, dtype=torch.float64))
    moment.solve(torch.zeros(width, 1, dtype=torch.float64))  # factored once a run
    variant = parse_variant(
        {"method": "memit", **COMMON, "layers": [layer], "steps": steps, "stop_loss": 0.0}
    )
    before = lm.weight(layer).clone()
    editors = sequence.make_editors({layer: before}, {layer: moment}, variant)
    seconds, _ = timed(lambda: writing.write_batch(lm, editors, variant, requests, TEMPLATES))
    lm.write(layer, before)
    return seconds, edit_operations(lm, requests, layer, steps)


def peak() -> int:
    """Most resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def pass_curves(size: Size) -> Iterator[dict[str, Any]]:
    """Time of an edit and the process's peak, by the model's size (ascending) and by the batch."""
    per_second = rate(torch.float32)

    def row(
        lm: CausalLM, curve: str, of: str, at: float, requests: Sequence[EditRequest]
    ) -> dict[str, Any]:
        seconds, operations = written(lm, requests, size.steps)
        count = len(requests)
        return {
            "curve": curve, "of": of, "size": at, "cpu_ms_per_edit": seconds / count * 1e3,
            "memory_MB": peak() / 1e6, "operations_per_edit": operations / count,
            "ms_by_operations": operations / count / per_second * 1e3,
        }  # fmt: skip

    for place, (name, shape) in enumerate(size.models.items()):
        lm = model(shape)
        millions = sum(p.numel() for p in lm.model.parameters()) / 1e6
        yield row(lm, "model", name, round(millions, 1), REQUESTS[: size.requests])
        for count in size.batches if place == 0 else ():
            yield row(lm, "batch", name, count, REQUESTS[:count])
        del lm


def measure(size: Size) -> pd.DataFrame:
    """A row (COLUMNS) per point of the three curves."""
    return pd.DataFrame([*memory_curve(size), *pass_curves(size)], columns=list(COLUMNS))


def draw(table: pd.DataFrame) -> Figure:
    """The three curves; dashed: counted operations at the rate of a large product."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, (curve, label) in zip(figure.subplots(1, 3), LABELS.items(), strict=True):
        for of, rows in table[table.curve == curve].groupby("of" if curve == "memory" else "curve"):
            rows = rows.sort_values("size")
            (line,) = axes.plot(rows["size"], rows.cpu_ms_per_edit, marker="o", ms=3, label=of)
            axes.plot(rows["size"], rows.ms_by_operations, "--", color=line.get_color())
        axes.set(xlabel=label, xscale="log", yscale="log")
        if curve == "memory":
            axes.set_ylabel("processor ms per edit")
            figure.legend(fontsize=7, frameon=False, loc="outside lower left", ncols=5)
    return figure


def program(args: argparse.Namespace) -> None:
    table = measure(FULL)
    programs.write_table(args.out, table)
    if args.figure:
        with files.atomic(args.figure) as temporary:
            draw(table).savefig(temporary, format="png", dpi=110)
    cells = [
        [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row]
        for row in table.itertuples(index=False)
    ]
    Path(args.out).with_suffix(".md").write_text(pages.markdown(list(COLUMNS), cells))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--figure", help="PNG to draw")
    parser.add_argument("--out", required=True, help="CSV to write; a table in Markdown beside it")
    programs.run(program, parser)
