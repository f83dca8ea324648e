"""Long chains on a tiny random model: drift of the edited matrix, and memory beyond the state.

Single edits, one after another, with the model kept in float32 and in bfloat16. "in place" is what
the project does not do: the step's rotation multiplied onto the stored, rounded matrix.
"""

import argparse
import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch

from mose.editing import sequence
from mose.evaluation import stability
from mose.facts.requests import EditRequest
from mose.linalg import second_moment
from mose.methods.base import LayerEditor
from mose.methods.register import parse_variant
from mose.models.causal_lm import CausalLM
from mose.report import pages
from mose.statistics import second_moments
from mose.storage import files

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny

LAYER = 1
TARGETS = {"layers": [LAYER], "steps": 2, "learning_rate": 0.2, "lambda": 1.0}
VARIANTS = {
    "mose, free, memory": {"method": "mose", "memory": "accumulate", **TARGETS},
    "mose, input, memory": {
        "method": "mose", "side": "input", "targets": "reachable", "memory": "accumulate",
        **TARGETS,
    },
    "mose, free, product": {"method": "mose", **TARGETS},
    "memit, memory": {"method": "memit", "memory": "keys", **TARGETS},
}  # fmt: skip
COLUMNS = (
    "method", "storage", "edits", "orthogonality_error", "frobenius_drift", "condition_drift",
    "state_MB", "other_growth_MB", "ms_per_edit_first", "ms_per_edit_last",
)  # fmt: skip

# Until the libraries have seen about every length of a pass: in bfloat16 some prepare a product for
# each and keep it, up to a bound.
WARM_UP = 100


def invented(count: int) -> list[EditRequest]:
    """Requests about people that do not exist, each with one of the tiny facts' capitals."""
    parts = ["ba", "do", "ki", "lu", "me", "no", "pa", "ri", "so", "tu", "ve", "za"]
    capitals = [capital for _, capital in tiny.FACTS]
    made = []
    for i in range(count):
        name = "".join(parts[i // 12**k % 12] for k in range(4)).capitalize()
        prompt = "{} was born in the city of" if i % 2 else "The home of {} is"
        made.append(EditRequest(str(i), name, prompt, capitals[i % 12], capitals[(i + 5) % 12]))
    return made


def second_moment(lm: CausalLM) -> second_moment.SecondMoment:
    """Of random tokens: enough of them that no direction is empty."""
    windows = np.random.default_rng(0).integers(1, 300, size=(200, 16)).astype(np.int32)
    sums, count = second_moments.accumulate(lm, windows, [LAYER], False)
    return second_moment.SecondMoment(sums[LAYER] / count)


def state_bytes(editor: LayerEditor) -> int:
    """What the chain is stated to keep: the arrays of its checkpoint."""
    return sum(tensor.numel() * tensor.element_size() for tensor in editor.state().values())


def resident() -> int:
    """Bytes of memory that this process holds."""
    gc.collect()
    return psutil.Process().memory_info().rss


def chain(options: dict, storage: str, edits: int) -> Iterator[dict]:
    """Run one chain; yield its row (COLUMNS), and for a product the row of "in place" as well."""
    lm = tiny.model("llama")
    moment = second_moment(lm)
    kept_in = getattr(torch, storage)
    lm.model.to(kept_in)
    unedited = lm.weight(LAYER).clone()
    variant = parse_variant(options)
    state = sequence.State(sequence.make_editors({LAYER: unedited}, {LAYER: moment}, variant))
    editor = state.editors[LAYER]
    in_place = unedited.to(kept_in)
    before = editor.rotation
    requests = invented(edits)
    spent, held = [], []

    def after(first: int, _: object) -> None:
        nonlocal in_place, before
        if before is not None and options.get("memory") is None:
            step = editor.rotation @ before.mT
            in_place = (step @ in_place.to(torch.float64)).to(kept_in)
            before = editor.rotation
        spent.append(time.perf_counter())
        if (first + 1) % (edits // 10) == 0 and first + 1 >= WARM_UP:
            held.append((resident(), state_bytes(editor)))

    sequence.run(lm, state, variant, requests, ["{}", "I said. {}"], 1, edits, after)
    tenth = edits // 10
    every = np.diff(spent) * 1e3
    row = {
        "storage": storage,
        "edits": edits,
        **drift(lm.weight(LAYER), unedited, editor.rotation),
        "state_MB": held[-1][1] / 1e6,
        # From the first tenth on, or WARM_UP edits.
        "other_growth_MB": (held[-1][0] - held[0][0] - held[-1][1] + held[0][1]) / 1e6,
        "ms_per_edit_first": float(np.median(every[:tenth])),
        "ms_per_edit_last": float(np.median(every[-tenth:])),
    }
    yield row
    if options["method"] == "mose" and "memory" not in options:
        yield {"storage": storage, "edits": edits, **drift(in_place, unedited, None), "in_place": 1}


def drift(
    now: torch.Tensor, unedited: torch.Tensor, rotation: torch.Tensor | None
) -> dict[str, float | None]:
    """How far norm and condition number of the stored matrix are from the unedited one's."""
    row = stability.measure(LAYER, now, unedited, rotation)
    return {
        "orthogonality_error": row["orthogonality_error"],
        "frobenius_drift": abs(float(row["frobenius_ratio"] or 0) - 1),
        "condition_drift": abs(float(row["condition_ratio"] or 0) - 1),
    }


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--edits", type=int, default=2000)
    made.add_argument("--out", required=True, help="CSV to write; the table is printed")
    arguments = made.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, options in VARIANTS.items():
        for storage in ("float32", "bfloat16"):
            for row in chain(options, storage, arguments.edits):
                label = "mose, free, in place" if row.pop("in_place", 0) else name
                rows.append({"method": label, **row})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    with files.atomic(arguments.out) as temporary:
        table.to_csv(temporary, index=False)
    cells = [
        ["" if pd.isna(v) else f"{v:.2g}" if isinstance(v, float) else str(v) for v in row]
        for row in table.itertuples(index=False)
    ]
    print(pages.markdown(list(COLUMNS), cells))


if __name__ == "__main__":
    main()
