"""Sampling text from a model with explicit random numbers."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mose.models.causal_lm import CausalLM
from mose.models.tokens import encode
from mose.progress import track

ROWS_PER_PASS = 32
ROWS_PER_DRAW = 4

# Maps logits (B, V) and the step's number to token ids (B, 1).
Chooser = Callable[[Tensor, int], Tensor]


@torch.no_grad()
def sample(
    lm: CausalLM,
    ids: Tensor,
    steps: int,
    generator: torch.Generator,
    top_k: int | None = None,
    work: str = "",
) -> Tensor:
    """Continue rows of ids (B, T) of equal length by `steps` sampled tokens: (B, T + steps).

    top_k: sample from the k likeliest tokens; None for the full distribution. Sampling goes on
    after an end-of-text token, with a new text.
    work: name under which the progress is shown; not shown without one.
    """
    if top_k is None:
        return _continue(lm, ids, steps, lambda logits, step: draw(logits, generator), work)
    points = torch.rand(steps, len(ids), 1, generator=generator, dtype=torch.float64)
    return _continue(lm, ids, steps, _among_likeliest(points, top_k))


def continue_texts(lm: CausalLM, prompts: Sequence[str], tokens: int, top_k: int) -> list[str]:
    """Each prompt with its continuation, `tokens` tokens in total, sampled from the `top_k`
    likeliest tokens. The random numbers of a prompt depend on its text only."""
    rows = [encode(lm.tokenizer, prompt)[0] for prompt in prompts]
    texts = [""] * len(prompts)
    # Rows of one length need no padding.
    for length in sorted({len(row) for row in rows}):
        same = [i for i, row in enumerate(rows) if len(row) == length]
        for start in range(0, len(same), ROWS_PER_PASS):
            group = same[start : start + ROWS_PER_PASS]
            steps = max(0, tokens - length)
            points = torch.stack([_points(prompts[i], steps) for i in group], dim=1)[..., None]
            ids = torch.tensor([rows[i] for i in group])
            continued = _continue(lm, ids, steps, _among_likeliest(points, top_k))
            for i, row in zip(group, continued.tolist(), strict=True):
                texts[i] = lm.tokenizer.decode(row, skip_special_tokens=True)
    return texts


def _points(text: str, steps: int) -> Tensor:
    """Uniform random numbers (steps,) float64, seeded by the text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(steps, generator=generator, dtype=torch.float64)


@torch.no_grad()
def _continue(lm: CausalLM, ids: Tensor, steps: int, choose: Chooser, work: str = "") -> Tensor:
    """Rows of ids (B, T) continued by `steps` tokens, (B, T + steps); choose: draws each token."""
    from transformers import DynamicCache

    cache = DynamicCache()
    rows = ids
    for step in track(range(steps), work) if work else range(steps):
        new = rows[:, cache.get_seq_length() :].to(lm.device)
        out = lm.model(new, past_key_values=cache, use_cache=True, logits_to_keep=1)
        drawn = choose(out.logits[:, -1].float().cpu(), step)
        rows = torch.cat([rows, drawn], dim=1)
    return rows


def draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Sample an index (B, 1) per row from the softmax of logits (B, V), by the Gumbel-max trick:
    the smallest of exponential times with rates exp(logits).

    Reproducible across processors: each index has its own random number, so the rounding of
    logits changes a token only where two times nearly tie. Inverting the cumulative distribution
    of a vocabulary would sum rounding errors, and texts of two machines would soon differ.
    torch.multinomial uses exponential times too, but its numbers depend on whether torch is built
    with MKL.
    """
    drawn = []
    # A few rows at a time stay in the processor's cache: three times as fast as all at once.
    for rows in logits.split(ROWS_PER_DRAW):
        uniform = torch.rand(rows.shape, generator=generator, dtype=torch.float64)
        log_times = uniform.neg_().add_(1).log_().neg_().log_()
        drawn.append((rows - log_times).argmax(dim=-1, keepdim=True))
    return torch.cat(drawn)


def _among_likeliest(points: Tensor, top_k: int) -> Chooser:
    """A Chooser among the `top_k` likeliest tokens that inverts their cumulative distribution at
    `points` (steps, B, 1), uniform random numbers."""

    def among_best(logits: Tensor, step: int) -> Tensor:
        best, index = logits.topk(top_k)
        cumulative = best.double().softmax(-1).cumsum(-1)
        drawn = torch.searchsorted(cumulative, points[step] * cumulative[:, -1:], right=True)
        return index.gather(1, drawn.clamp(max=top_k - 1))

    return among_best


def start_token(lm: CausalLM) -> int:
    """Id of the token that starts a text: <|endoftext|>, BOS or EOS, whichever exists; else 0."""
    known = lm.tokenizer.get_vocab()
    for candidate in ("<|endoftext|>", lm.tokenizer.bos_token, lm.tokenizer.eos_token):
        if candidate in known:
            return known[candidate]
    return 0
