"""Time ratios of plain implementations (benchmarks/plain.py) to the library's.

The model has SmolLM2-135M's shape and random weights, since times do not depend on their values.
Results of a pair must agree first; its times are medians of repeated runs.
"""

import argparse
import logging
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import plain
import solves
import torch
from pairs import agree, pair
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from mose.cli import programs
from mose.editing import targets
from mose.evaluation import prompt_scores
from mose.facts.requests import EditRequest, Probe
from mose.methods.options import MemitOptions
from mose.models.causal_lm import CausalLM
from mose.statistics import keys, second_moments
from mose.storage import files

logger = logging.getLogger(__name__)

SHAPE = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


# Requests as long as CounterFact's in this model's tokens, and templates of about ten tokens.
TEMPLATES = [
    "{}",
    "It was said in the old town that day . {}",
    "Then they went on and saw what was left . {}",
    "Because of this the whole place was very quiet . {}",
    "There is a time for that and for this . {}",
    "You know what we have here . {}",
]
PROMPTS = [
    "The mother tongue of {} is",
    "What is known : {} is a citizen of",
    "In those years {} , who plays as",
    "{} was born in the city",
]
REQUESTS = [
    EditRequest(str(i), f"Name{i} of the Surname{i}", PROMPTS[i % len(PROMPTS)], f"Object{i}")
    for i in range(16)
]
# Subjects of neighbour prompts.
NAMES = [f"Neighbour{i} of the Surname{i % 16}" for i in range(160)]


def tokenizer() -> PreTrainedTokenizerFast:
    """The words of all requests as tokens."""
    texts = [*TEMPLATES, targets.ESSENCE, *(f"{r.text} {r.target_new}" for r in REQUESTS)]
    words = sorted({word for text in [*texts, *NAMES] for word in text.split()})
    words_as_tokens = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, words[0])
    )
    words_as_tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words_as_tokens, clean_up_tokenization_spaces=False
    )


def model(shape: Mapping[str, Any] = SHAPE, dtype: torch.dtype = torch.float32) -> CausalLM:
    """A random model, by default of SmolLM2-135M's shape, with words as tokens."""
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(LlamaConfig(**shape), dtype=dtype)
    return CausalLM(made, tokenizer(), "random")


def matmul_rate() -> float:
    """Floating-point operations per second of one large float32 matrix product."""
    side = 2048
    factor = torch.randn(side, side)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        factor @ factor
        times.append(time.perf_counter() - started)
    return 2 * side**3 / statistics.median(times)


def value_targets(lm: CausalLM) -> dict[str, Any]:
    """16 requests in one batch against one at a time in the whole model, 20 steps each.

    Plain times are of 2 requests, scaled to 16. matmul_share: the library's matrix-product
    operations per second, over those of one large product.
    """
    options = MemitOptions(
        layers=(8,), retention_weight=1.0, learning_rate=0.1, steps=20, stop_loss=0.0
    )
    timed = REQUESTS[:2]

    def ours() -> torch.Tensor:
        return targets.optimise(lm, REQUESTS, TEMPLATES, options).shift

    def theirs() -> torch.Tensor:
        return torch.stack(
            [
                plain.value_target(lm, r.prompt, r.subject, r.target_new, TEMPLATES, options)
                for r in timed
            ]
        )

    with FlopCounterMode(display=False) as counter:
        shifts = ours()
    difference = agree("value targets", shifts[: len(timed)], theirs(), 1e-3)
    rate = matmul_rate()
    fast, slow = pair(ours, theirs, 3)
    slow *= len(REQUESTS) / len(timed)
    return {
        "seconds": fast,
        "plain_seconds": slow,
        "difference": difference,
        "goal": 8.0,
        "matmul_share": counter.get_total_flops() / fast / rate,
    }


def second_moments_pass(lm: CausalLM) -> dict[str, Any]:
    """Five layers in one truncated pass against one whole pass per layer.

    pass_share: time of the truncated pass alone, without sums, over ours.
    """
    layers = [4, 5, 6, 7, 8]
    windows = torch.randint(0, 256, (16, 128), generator=torch.Generator().manual_seed(0))

    def ours() -> torch.Tensor:
        sums, _ = second_moments.accumulate(lm, windows.numpy(), layers, False)
        return torch.stack([sums[layer] for layer in layers])

    def theirs() -> torch.Tensor:
        return torch.stack([plain.second_moment(lm, windows, layer) for layer in layers])

    def pass_alone() -> None:
        for ids in windows.split(16):
            lm.truncated(ids, torch.ones_like(ids), layers)

    difference = agree("second moments", ours(), theirs(), 1e-5)
    fast, slow = pair(ours, theirs, 3)
    ours_again, alone = pair(ours, pass_alone, 15)
    return {
        "seconds": fast,
        "plain_seconds": slow,
        "difference": difference,
        "goal": 5.0,
        "pass_share": alone / ours_again,
    }


def keys_in_turn(lm: CausalLM) -> dict[str, Any]:
    """Keys of five layers that are written in turn, ten requests, against a pass from the first
    block for each.

    operations, plain_operations: matrix products of both, counted.
    """
    layers = [4, 5, 6, 7, 8]
    requests = REQUESTS[:10]
    unedited = {layer: lm.weight(layer).clone() for layer in layers}

    def in_turn(collect: Callable[[list[int]], keys.Keys]) -> torch.Tensor:
        found = [collect(layers)]
        for place, layer in enumerate(layers):
            lm.write(layer, 1.1 * unedited[layer])
            found.append(collect(layers[place + 1 :] or layers[-1:]))
        for layer, weight in unedited.items():
            lm.write(layer, weight)
        return torch.cat([each.hidden.ravel() for each in found])

    def ours() -> torch.Tensor:
        return in_turn(keys.Prompts(lm, requests, TEMPLATES).collect)

    def theirs() -> torch.Tensor:
        return in_turn(lambda wanted: keys.collect(lm, requests, TEMPLATES, wanted))

    counted = {}
    for name, call in (("operations", ours), ("plain_operations", theirs)):
        with FlopCounterMode(display=False) as counter:
            call()
        counted[name] = counter.get_total_flops()
    difference = agree("keys", ours(), theirs(), 1e-6)
    fast, slow = pair(ours, theirs, 3)
    return {
        "seconds": fast,
        "plain_seconds": slow,
        "difference": difference,
        "goal": 2.0,
        **counted,
    }


def scores(lm: CausalLM) -> dict[str, Any]:
    """16 records of 13 prompts, two targets each, at once against one record at a time."""
    records = [
        replace(
            request,
            target_true=f"Object{(i + 1) % 16}",
            paraphrases=tuple(t.replace("{}", request.text) for t in TEMPLATES[1:3]),
            locality=tuple(
                Probe(request.prompt.replace("{}", name), f"Object{k}")
                for k, name in enumerate(NAMES[10 * i : 10 * i + 10])
            ),
        )
        for i, request in enumerate(REQUESTS)
    ]

    def ours() -> torch.Tensor:
        rows = prompt_scores.score_requests(lm, records, range(len(records)))
        return torch.tensor([[row["logprob_new"], row["logprob_true"]] for row in rows]).ravel()

    def theirs() -> torch.Tensor:
        return torch.tensor([x for r in records for x in plain.log_probs_of_record(lm, r)])

    difference = agree("scores", ours(), theirs(), 1e-4)
    fast, slow = pair(ours, theirs, 3)
    return {"seconds": fast, "plain_seconds": slow, "difference": difference, "goal": 3.0}


BENCHMARKS = {
    "value targets": value_targets,
    "second moments": second_moments_pass,
    "keys in turn": keys_in_turn,
    "scores": scores,
    "memit solve": solves.memit_solve,
    "emmet solve": solves.emmet_solve,
    "alphaedit solve": solves.alphaedit_solve,
    "rotation output": solves.rotation_output,
    "rotation input": solves.rotation_input,
}


def program(args: argparse.Namespace) -> None:
    lm = model()
    results = []
    for name in args.only or BENCHMARKS:
        row = BENCHMARKS[name](lm)
        results.append({"name": name, "ratio": row["plain_seconds"] / row["seconds"], **row})
        logger.info("%s: %.1f times", name, results[-1]["ratio"])
    machine = {"processor": platform.processor() or platform.machine(), "threads": args.threads}
    files.write_json(args.out, [{**row, "machine": machine} for row in results])
    lines = [f"{'':16} {'ratio':>7} {'goal':>6} {'ours, s':>9} {'plain, s':>9} {'difference':>11}"]
    lines += [
        f"{row['name']:16} {row['ratio']:7.1f} {row['goal']:6.1f} {row['seconds']:9.3f} "
        f"{row['plain_seconds']:9.3f} {row['difference']:11.1e}"
        for row in results
    ]
    logger.info("\n%s", "\n".join(lines))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--only", nargs="*", choices=list(BENCHMARKS), help="benchmarks to run; default: all"
    )
    parser.add_argument("--out", required=True, help="JSON file to write")
    programs.run(program, parser)
