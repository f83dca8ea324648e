"""Long chains on a tiny random model: drift of the edited matrix, and memory beyond the state.

Single edits, with the model stored in float32 and in bfloat16. The variant "in place", which the
library avoids, multiplies each step's rotation onto the stored, rounded matrix.
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
from mose.methods.base import LayerEditor, Rotations
from mose.methods.register import parse_variant
from mose.models.causal_lm import CausalLM
from mose.report import pages
from mose.statistics import second_moments
from mose.storage import files

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
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

# Edits before memory is first read: in bfloat16, libraries cache one prepared matrix product per
# length of a pass, up to a bound.
WARM_UP = 100


def invented(count: int) -> list[EditRequest]:
    """`count` requests about invented people, whose objects are the capitals of tiny.FACTS."""
    parts = ["ba", "do", "ki", "lu", "me", "no", "pa", "ri", "so", "tu", "ve", "za"]
    capitals = [capital for _, capital in tiny.FACTS]
    requests = []
    for i in range(count):
        name = "".join(parts[i // 12**k % 12] for k in range(4)).capitalize()
        prompt = "{} was born in the city of" if i % 2 else "The home of {} is"
        new, true = capitals[i % 12], capitals[(i + 5) % 12]
        requests.append(EditRequest(str(i), name, prompt, new, true))
    return requests


def moment_of_random_tokens(lm: CausalLM) -> second_moment.SecondMoment:
    """C of LAYER's keys on enough random tokens for full rank."""
    windows = np.random.default_rng(0).integers(1, 300, size=(200, 16)).astype(np.int32)
    sums, count = second_moments.accumulate(lm, windows, [LAYER], False)
    return second_moment.SecondMoment(sums[LAYER] / count)


def state_bytes(editor: LayerEditor) -> int:
    """Bytes of the arrays that a checkpoint stores."""
    return sum(tensor.numel() * tensor.element_size() for tensor in editor.state().values())


def resident() -> int:
    """Resident memory of this process in bytes."""
    gc.collect()
    return psutil.Process().memory_info().rss


def chain(options: dict, storage: str, edits: int) -> Iterator[dict]:
    """Run one chain; yield its row (COLUMNS), and for a product of rotations that of "in place"."""
    lm = tiny.model("llama")
    moment = moment_of_random_tokens(lm)
    dtype = getattr(torch, storage)
    lm.model.to(dtype)
    unedited = lm.weight(LAYER).clone()
    variant = parse_variant(options)
    state = sequence.State(sequence.make_editors({LAYER: unedited}, {LAYER: moment}, variant))
    editor = state.editors[LAYER]
    in_place = unedited.to(dtype)
    before = rotation_of(editor)
    requests = invented(edits)
    times, memory = [], []

    def after(first: int, _: object) -> None:
        nonlocal in_place, before
        if before is not None and options.get("memory") is None:
            now = rotation_of(editor)
            step = now @ before.mT
            in_place = (step @ in_place.to(torch.float64)).to(dtype)
            before = now
        times.append(time.perf_counter())
        if (first + 1) % (edits // 10) == 0 and first + 1 >= WARM_UP:
            memory.append((resident(), state_bytes(editor)))

    sequence.run(lm, state, variant, requests, ["{}", "I said. {}"], 1, edits, after)
    tenth = edits // 10
    ms_per_edit = np.diff(times) * 1e3
    (first_resident, first_state), (last_resident, last_state) = memory[0], memory[-1]
    row = {
        "storage": storage,
        "edits": edits,
        **drift(lm.weight(LAYER), unedited, editor.rotations),
        "state_MB": last_state / 1e6,
        # Counted from the first tenth of the edits, or from WARM_UP.
        "other_growth_MB": (last_resident - first_resident - last_state + first_state) / 1e6,
        "ms_per_edit_first": float(np.median(ms_per_edit[:tenth])),
        "ms_per_edit_last": float(np.median(ms_per_edit[-tenth:])),
    }
    yield row
    if options["method"] == "mose" and "memory" not in options:
        yield {"storage": storage, "edits": edits, **drift(in_place, unedited, None), "in_place": 1}


def rotation_of(editor: LayerEditor) -> torch.Tensor | None:
    """R (d_out, d_out) of a published rotation; None for other methods."""
    return None if editor.rotations is None else editor.rotations.output


def drift(
    now: torch.Tensor, unedited: torch.Tensor, rotations: Rotations | None
) -> dict[str, float | None]:
    """Relative drift of norm and condition number of the stored matrix from the unedited one."""
    row = stability.measure(LAYER, now, unedited, rotations)
    sides = (row["output_orthogonality"], row["input_orthogonality"])
    return {
        "orthogonality_error": max((float(s) for s in sides if s is not None), default=None),
        "frobenius_drift": abs(float(row["frobenius_ratio"] or 0) - 1),
        "condition_drift": abs(float(row["condition_ratio"] or 0) - 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=2000)
    parser.add_argument("--out", required=True, help="CSV to write; the table is printed")
    arguments = parser.parse_args()
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
