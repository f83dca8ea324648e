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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import run
import torch
from torch import Tensor
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
# Relative differences allowed between device and host. An optimiser amplifies rounding, so updates
# have wide bounds; in bfloat16 they only exclude another computation.
BOUNDS = {
    "float32": {"keys": 1e-4, "scores": 1e-3, "perplexity": 1e-4, "update": 0.05},
    "bfloat16": {"keys": 0.05, "scores": 0.1, "perplexity": 0.05, "update": 1.0},
}
FREE = {"learning_rate": 0.5, "weight_decay": 0.0}


@dataclass(frozen=True)
class Size:
    """Sizes of a run. layers: edited ones, the last of them for methods of one layer."""

    shape: dict[str, Any]
    large: dict[str, Any]
    layers: tuple[int, ...]
    steps: int
    requests: int
    windows: int
    remembered: tuple[int, ...]
    edits: int


FULL = Size(run.SHAPE, LLAMA3_8B, (4, 5, 6, 7, 8), 10, 8, 64, (10, 1000), 200)
SMALL = Size(TINY, TINY, (1, 2), 2, 2, 2, (2, 6), 4)


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
        reachable = {"method": "mose", "targets": "reachable", "memory": "accumulate", "lambda": 30}
        entries: dict[str, dict[str, Any]] = {
            "memit-memory": {"method": "memit", "memory": "keys", "layers": layers, "lambda": 100},
            "alphaedit": {"method": "alphaedit", "layers": layers, "null_space": "energy"},
            "mose": {"method": "mose", "layers": layers, "lambda": 100},
            "mose-both": {
                "method": "mose",
                "side": "both",
                "memory": "accumulate",
                "layers": layers,
                "lambda": 100,
            },
            "mose-output": {**reachable, "layers": last},
            "mose-input": {**reachable, "side": "input", "layers": last},
            "rome": {"method": "rome", "layers": last},
            "ft": {"method": "ft", "layers": last, "learning_rate": 0.002},
        }
        trained = ("ft",)
        return {
            name: parse_variant(
                {"steps": self.size.steps, **({} if name in trained else FREE), **entry}
            )
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
            with FlopCounterMode(display=False) as counter:
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
    """Device against host: keys, scores, perplexity, and the update that every method writes."""
    requests = run.REQUESTS[:4]
    for dtype, bounds in BOUNDS.items():
        if of.args.model:
            host = loading.load(of.args.model, "cpu", dtype)
        else:
            host = run.model(of.size.shape, loading.DTYPES[dtype])
        there = CausalLM(
            copy.deepcopy(host.model).to(of.device), host.tokenizer, "there", host.architecture
        )
        moments = moments_of(host, of.size.layers, windows_of(host, 4 * of.size.windows))
        pairs = [(request.text, request.target_new) for request in requests]

        def measured(lm: CausalLM, pairs: Any = pairs) -> dict[str, Tensor]:
            found = keys.collect(lm, requests, run.TEMPLATES, of.size.layers)
            scores = [score.logprob for score in prompt_scores.score_targets(lm, pairs)]
            loss = prompt_scores.perplexity(lm, windows_of(lm, 4))[1]
            keys_found = torch.cat(list(found.keys.values()))
            return {
                "keys": keys_found,
                "scores": torch.tensor(scores),
                "perplexity": torch.tensor([loss]),
            }

        found = {what: (measured(there)[what], value) for what, value in measured(host).items()}
        for what, (value, expected) in found.items():
            apart = _apart(value, expected)
            yield {
                "dtype": dtype, "what": what, "apart": apart, "bound": bounds[what],
                "within": apart <= bounds[what],
            }  # fmt: skip
        for name, variant in of.variants().items():
            changes = [_update(lm, variant, moments, requests) for lm in (there, host)]
            apart = _apart(*changes)
            yield {
                "dtype": dtype, "what": f"update of {name}", "apart": apart,
                "bound": bounds["update"], "within": apart <= bounds["update"],
            }  # fmt: skip


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
    requests = [run.REQUESTS[i % 16] for i in range(of.size.requests)]
    unique = {request.id: request for request in requests}
    options: Any = of.variants()["memit-memory"].edit
    optimise = partial(targets.optimise, lm, list(unique.values()), run.TEMPLATES, options)
    yield of.measured("value targets", optimise, requests=len(unique), steps=options.steps)
    windows = windows_of(lm, of.size.windows, 128)
    accumulate = partial(second_moments.accumulate, lm, windows, of.size.layers, False)
    yield of.measured("second moments", accumulate, tokens=windows.size)
    pairs = [(request.text, request.target_new) for request in run.REQUESTS]
    yield of.measured("scores", partial(prompt_scores.score_targets, lm, pairs), pairs=len(pairs))
    weight = lm.weight(of.size.layers[-1]).clone()
    del lm, optimise, accumulate
    # The eigendecomposition of AlphaEdit takes longest and comes last; the host is for comparison.
    names = ("memit-memory", "mose-both", "mose-output", "mose-input", "alphaedit")
    for device in dict.fromkeys((of.device, HOST)):
        for name, remembered in itertools.product(names, of.size.remembered):
            if time.monotonic() > of.ends:
                return
            yield _solve(of, name, weight, remembered, device)


def _solve(
    of: Run, name: str, weight: Tensor, remembered: int, device: torch.device
) -> dict[str, Any]:
    """Seconds of writing ten edits into one layer that holds `remembered` earlier ones, solved on
    `device`."""
    generator = torch.Generator().manual_seed(0)
    d_out, d_in = weight.shape
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    spread = draw(d_in, min(d_in, 512))
    moment = second_moment.identity(d_in).matrix.mul_(0.5)
    moment.addmm_(spread, spread.mT, alpha=1 / spread.shape[1])
    editor = make_editor(weight, SecondMoment(moment), of.variants()[name], device)
    assert isinstance(editor, ClosedFormEditor)
    side = d_in if name == "mose-input" else d_out

    def write(count: int) -> None:
        editor.update(draw(d_in, count), 0.1 * draw(side, count))
        editor.weight  # noqa: B018  (computed when asked for)

    write(remembered)  # factors the second moment
    return of.measured(
        f"update of {name}", partial(write, 10), False, remembered=remembered, on=device.type
    )


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
