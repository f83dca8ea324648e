"""On a GPU: numbers against the host's, speed and memory at 8 billion parameters, a comparison.

Needs no network. Stages, most important first; each row is one line and is in the stage's JSON file
at once, so that a run that is cut off leaves what it has. `--small` runs the same code with tiny
models, on the host if need be.
"""

import argparse
import copy
import itertools
import logging
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import run
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mose.cli import programs
from mose.editing import sequence, targets
from mose.evaluation import prompt_scores
from mose.facts import drawing, readers
from mose.facts.requests import EditRequest
from mose.linalg import second_moment
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import ClosedFormEditor
from mose.methods.editors import HOST, make_editor
from mose.methods.options import Variant
from mose.methods.register import parse_variant
from mose.models import loading, sampling
from mose.models.causal_lm import CausalLM
from mose.statistics import keys, second_moments
from mose.storage import files

logger = logging.getLogger(__name__)

TINY = {
    **run.SHAPE, "vocab_size": 512, "hidden_size": 48, "intermediate_size": 96,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
LLAMA3_8B = {
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
}  # fmt: skip
# Relative differences allowed between the device and the host, whose numbers are float32: at least
# three times those of an H100 (docs/scale.md). An optimiser amplifies rounding, so updates have
# wider bounds; in bfloat16 they only exclude another computation.
BOUNDS = {
    "float32": {"keys": 1e-4, "scores": 1e-4, "perplexity": 1e-5, "update": 0.01},
    "bfloat16": {"keys": 0.05, "scores": 0.03, "perplexity": 0.005, "update": 1.0},
}
FREE = {"learning_rate": 0.5, "weight_decay": 0.0}


@dataclass(frozen=True)
class Size:
    """Sizes of a run.

    layers: edited ones, the last of them for methods of one layer. requests: of a batch whose
    targets are timed. batch: edits of an update that is timed; remembered: of the layer before it,
    rising, the first as many as a batch.
    """

    shape: dict[str, Any]
    large: dict[str, Any]
    layers: tuple[int, ...]
    steps: int
    requests: tuple[int, ...]
    windows: int
    batch: int
    remembered: tuple[int, ...]
    edits: int


FULL = Size(run.SHAPE, LLAMA3_8B, (4, 5, 6, 7, 8), 10, (1, 10, 100), 64, 10, (10, 1000), 200)
SMALL = Size(TINY, TINY, (1, 2), 2, (2,), 2, 2, (2, 6), 4)


@dataclass
class Run:
    """A run of the script: its options, and when it must have ended."""

    args: argparse.Namespace
    size: Size
    device: torch.device
    ends: float
    failed: list[str] = field(default_factory=list)

    def stage(self, name: str, rows: Iterator[dict[str, Any]]) -> None:
        """Run a stage to the end of its rows or of the time; a row is one line and is written."""
        done: list[dict[str, Any]] = []
        for row in rows:
            done.append(row)
            shown = ", ".join(f"{k} {_short(v)}" for k, v in row.items())
            logger.info("%s: %s", name, shown)
            files.write_json(Path(self.args.out) / f"{name}.json", self.about | {"rows": done})
            if row.get("within") is False:
                self.failed.append(f"{name}: {shown}")
            if time.monotonic() > self.ends:
                logger.warning("%s: the time is over; what is missing was not run", name)
                return

    @property
    def about(self) -> dict[str, Any]:
        card = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "none"
        return {
            "device": str(self.device),
            "card": card,
            "torch": torch.__version__,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "small": self.args.small,
        }

    def variants(self) -> dict[str, Variant]:
        """One variant of each way in which a method meets the model."""
        layers, last = list(self.size.layers), [self.size.layers[-1]]
        both = {"method": "mose", "side": "both", "memory": "accumulate", "layers": layers,
                "lambda": 100}  # fmt: skip
        reachable = {"method": "mose", "targets": "reachable", "memory": "accumulate", "lambda": 30}
        entries: dict[str, dict[str, Any]] = {
            "memit-memory": {"method": "memit", "memory": "keys", "layers": layers, "lambda": 100},
            "alphaedit": {"method": "alphaedit", "layers": layers, "null_space": "energy"},
            "mose": {"method": "mose", "layers": layers, "lambda": 100},
            "mose-both": both,
            "mose-both, nearest": {**both, "solver": "nearest"},
            "mose-output": {**reachable, "layers": last},
            "mose-input": {**reachable, "side": "input", "layers": last},
            "rome": {"method": "rome", "layers": last},
            "ft": {"method": "ft", "layers": last, "learning_rate": 0.002},
        }
        steps = {"steps": self.size.steps}
        return {
            name: parse_variant({**steps, **({} if name == "ft" else FREE), **entry})
            for name, entry in entries.items()
        }

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def measured(
        self, what: str, call: Callable[[], Any], repeat: bool = True, **more: Any
    ) -> dict[str, Any]:
        """A row of seconds and peak memory of one call.

        repeat: call it once before, as a warm-up in which its operations are counted.
        """
        operations = 0
        if repeat:
            # The counter does not know attention with fewer keys than queries, as one operation.
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
                call()
            operations = counter.get_total_flops()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.synchronise()
        started = time.perf_counter()
        call()
        self.synchronise()
        seconds = time.perf_counter() - started
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0
        return {
            "what": what,
            **more,
            "seconds": seconds,
            **({"teraflops": operations / seconds / 1e12} if repeat else {}),
            "gpu_gb": peak / 1e9,
            "host_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        }


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _apart(there: Tensor, here: Tensor) -> float:
    """Relative difference of two results, in float64 on the host."""
    here, there = (t.detach().to("cpu", torch.float64) for t in (here, there))
    return float((there - here).norm() / here.norm().clamp(min=torch.finfo(here.dtype).tiny))


def windows_of(lm: CausalLM, count: int, length: int = 32) -> np.ndarray:
    """Random tokens (count, length)."""
    high = min(lm.head_size, len(lm.tokenizer))
    return np.random.default_rng(0).integers(1, high, size=(count, length)).astype(np.int32)


def moments_of(lm: CausalLM, layers: Sequence[int], windows: np.ndarray) -> dict[int, SecondMoment]:
    """Second moments of windows, filled up by a share of the identity where tokens are few."""
    sums, count = second_moments.accumulate(lm, windows, layers, False)
    filled = {}
    for layer, total in sums.items():
        matrix = total / count
        matrix += 0.1 * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=matrix.dtype)
        filled[layer] = SecondMoment(matrix)
    return filled


def numbers(of: Run) -> Iterator[dict[str, Any]]:
    """The device in two number formats against the host in float32.

    Of keys, scores, perplexity, and the update that every method writes.
    """
    requests = run.REQUESTS[:4]
    host = loading.load(of.args.model, "cpu") if of.args.model else run.model(of.size.shape)
    moments = moments_of(host, of.size.layers, windows_of(host, 4 * of.size.windows))
    expected = _measured(host, requests, of.size.layers)
    written: dict[str, Tensor] = {}
    for dtype, bounds in BOUNDS.items():
        there = _copy(host, of.device, loading.DTYPES[dtype])
        for what, value in _measured(there, requests, of.size.layers).items():
            yield _compared(dtype, what, value, expected[what], bounds[what])
        for name, variant in of.variants().items():
            if name not in written:
                written[name] = _update(host, variant, moments, requests)
            update = _update(there, variant, moments, requests)
            yield _compared(dtype, f"update of {name}", update, written[name], bounds["update"])


def _copy(lm: CausalLM, device: torch.device, dtype: torch.dtype) -> CausalLM:
    """The model on another device, its parameters in `dtype`. Buffers, such as the frequencies of
    rotary embeddings, keep theirs, as in a model that is loaded in this format."""
    model = copy.deepcopy(lm.model).to(device)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return CausalLM(model, lm.tokenizer, "there", lm.architecture)


def _measured(
    lm: CausalLM, requests: Sequence[EditRequest], layers: Sequence[int]
) -> dict[str, Tensor]:
    """Keys of all layers, log-likelihoods of the new objects, and nats a token of random text."""
    found = keys.collect(lm, requests, run.TEMPLATES, layers)
    pairs = [(request.text, request.target_new) for request in requests]
    scores = [score.logprob for score in prompt_scores.score_targets(lm, pairs)]
    loss = prompt_scores.perplexity(lm, windows_of(lm, 4))[1]
    return {
        "keys": torch.cat(list(found.keys.values())),
        "scores": torch.tensor(scores),
        "perplexity": torch.tensor([loss]),
    }


def _compared(
    dtype: str, what: str, value: Tensor, expected: Tensor, bound: float
) -> dict[str, Any]:
    apart = _apart(value, expected)
    return {"dtype": dtype, "what": what, "apart": apart, "bound": bound, "within": apart <= bound}


def _update(
    lm: CausalLM,
    variant: Variant,
    moments: dict[int, SecondMoment],
    requests: Sequence[EditRequest],
) -> Tensor:
    """The change of the last edited weight by one batch; the model is put back."""
    layers = variant.edit.layers
    before = {layer: lm.weight(layer).clone() for layer in layers}
    devices = sequence.solve_devices(lm, layers, "model")
    editors = sequence.make_editors(before, moments, variant, devices)
    sequence.write_batch(lm, editors, variant, requests, run.TEMPLATES)
    change = editors[layers[-1]].weight.cpu().float() - before[layers[-1]].cpu().float()
    for layer, weight in before.items():
        lm.write(layer, weight)
    return change


def speed(of: Run) -> Iterator[dict[str, Any]]:
    """Seconds, rate and peak memory of every step at LLaMA3-8B's shape, random, in bfloat16."""
    side = 256 if of.args.small else 8192
    factor = torch.randn(side, side, device=of.device, dtype=torch.bfloat16)
    yield of.measured("one large product, bfloat16", lambda: factor @ factor)
    with of.device:
        lm = run.model(of.size.large, torch.bfloat16)
    options: Any = of.variants()["memit-memory"].edit
    for count in of.size.requests:
        requests = [replace(run.REQUESTS[i % 16], id=str(i)) for i in range(count)]
        optimise = partial(targets.optimise, lm, requests, run.TEMPLATES, options)
        yield of.measured("value targets", optimise, requests=count, steps=options.steps)
    windows = windows_of(lm, of.size.windows, 128)
    accumulate = partial(second_moments.accumulate, lm, windows, of.size.layers, False)
    yield of.measured("second moments", accumulate, tokens=windows.size)
    pairs = [(request.text, request.target_new) for request in run.REQUESTS]
    yield of.measured("scores", partial(prompt_scores.score_targets, lm, pairs), pairs=len(pairs))
    weight = lm.weight(of.size.layers[-1]).clone()
    del lm, optimise, accumulate
    # The device's before the host's; the last two decompose a matrix of the key's size.
    names = ("memit-memory", "mose-output", "mose-both, nearest", "mose-both", "alphaedit",
             "mose-input")  # fmt: skip
    for device, name in itertools.product(dict.fromkeys((of.device, HOST)), names):
        yield from _solves(of, name, weight, device)


def _solves(of: Run, name: str, weight: Tensor, device: torch.device) -> Iterator[dict[str, Any]]:
    """Seconds of writing a batch into one layer that holds earlier ones, solved on `device`.

    What is done once a layer, such as the second moment's factor, is a row of its own, with the
    first update.
    """
    generator = torch.Generator().manual_seed(0)
    d_out, d_in = weight.shape
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    spread = draw(d_in, min(d_in, 512))
    moment = second_moment.identity(d_in).matrix.mul_(0.5)
    moment.addmm_(spread, spread.mT, alpha=1 / spread.shape[1])
    side = d_in if name == "mose-input" else d_out
    made: list[ClosedFormEditor] = []

    def update(count: int) -> None:
        made[0].update(draw(d_in, count), 0.1 * draw(side, count))

    def first() -> None:
        editor = make_editor(weight, SecondMoment(moment), of.variants()[name], device)
        assert isinstance(editor, ClosedFormEditor)
        made.append(editor)
        write()

    def write() -> None:
        update(of.size.batch)
        made[0].weight  # noqa: B018  (computed when asked for)

    what = f"update of {name}"
    yield of.measured(f"{what}, the first", first, False, remembered=0, on=device.type)
    holds = of.size.batch
    for remembered in of.size.remembered:
        if remembered > holds:
            update(remembered - holds)
        yield of.measured(what, write, False, remembered=remembered, on=device.type)
        holds = remembered + of.size.batch


def comparison(of: Run) -> Iterator[dict[str, Any]]:
    """Four methods on the model of --model: built-in facts, reliability and perplexity."""
    if not of.args.model:
        return
    facts, _ = readers.read_facts_of("builtin", None, "all", {})
    requests = drawing.draw_requests(facts, 0, False, 3, 0.2, "evaluation")[: of.size.edits]
    for name in ("memit-memory", "alphaedit", "mose", "mose-both"):
        lm = loading.load(of.args.model, str(of.device), of.args.dtype)
        generator = torch.Generator().manual_seed(0)
        start = torch.full((of.size.windows, 1), sampling.start_token(lm))
        windows = sampling.sample(lm, start, 127, generator).numpy()
        variant = of.variants()[name]
        layers = variant.edit.layers
        moments = moments_of(lm, layers, windows)
        weights = {layer: lm.weight(layer) for layer in layers}
        devices = sequence.solve_devices(lm, layers, "model")
        state = sequence.State(sequence.make_editors(weights, moments, variant, devices))
        edit = partial(
            sequence.run, lm, state, variant, requests, ["{}"], min(10, len(requests)),
            len(requests),
        )  # fmt: skip
        row = of.measured(name, edit, False, edits=len(requests))
        pairs = [(request.text, request.target_new) for request in requests]
        scores = prompt_scores.score_targets(lm, pairs)
        reliability = float(np.mean([score.right / score.tokens for score in scores]))
        loss = prompt_scores.perplexity(lm, windows)[1]
        yield row | {"reliability": reliability, "nats_per_token": loss}


STAGES = {"numbers": numbers, "speed": speed, "comparison": comparison}


def program(args: argparse.Namespace) -> None:
    device = loading.choose_device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    size = SMALL if args.small else FULL
    this = Run(args, size, device, time.monotonic() + 60 * args.minutes)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    for name in args.only or STAGES:
        this.stage(name, STAGES[name](this))
    if this.failed:
        raise SystemExit("device and host differ:\n" + "\n".join(this.failed))


def options() -> argparse.ArgumentParser:
    parser = programs.parser(__doc__ or "")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ...; cpu with --small")
    parser.add_argument("--small", action="store_true", help="tiny models: whether the script runs")
    parser.add_argument("--model", help="manifest.json of a real model, for numbers and comparison")
    parser.add_argument("--dtype", default="float32", help="number format of the comparison")
    parser.add_argument("--minutes", type=float, default=8, help="no row begins after them")
    parser.add_argument("--threads", type=int, default=8, help="CPU threads")
    parser.add_argument("--only", nargs="*", choices=list(STAGES), help="stages; default: all")
    parser.add_argument("--out", required=True, help="folder for a JSON file per stage")
    return parser


if __name__ == "__main__":
    programs.run(program, options())
