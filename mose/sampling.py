"""Text that a model samples from itself, through an explicit generator."""

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from mose.model import CausalLM
from mose.tokens import encode

ROWS_PER_PASS = 32


@torch.no_grad()
def sample(
    lm: CausalLM, ids: Tensor, steps: int, generator: torch.Generator, top_k: int | None = None
) -> Tensor:
    """Continue equally long rows of ids (B, T) by `steps` sampled tokens: (B, T + steps).

    Sampled from the model's own distribution, or from its `top_k` likeliest tokens. There is no
    stop at an end-of-text token: what follows it is a new text.
    """
    points = (
        torch.rand(len(ids), 1, generator=generator, dtype=torch.float64) for _ in range(steps)
    )
    return _continue(lm, ids, points, top_k)


def continue_texts(lm: CausalLM, prompts: Sequence[str], tokens: int, top_k: int) -> list[str]:
    """Each prompt with what the model writes after it, sampled from the `top_k` likeliest tokens:
    `tokens` tokens in all. A prompt's random numbers depend on it alone."""
    rows = [encode(lm.tokenizer, prompt)[0] for prompt in prompts]
    texts = [""] * len(prompts)
    # Rows of one length need no padding.
    for length in sorted({len(row) for row in rows}):
        same = [i for i, row in enumerate(rows) if len(row) == length]
        for start in range(0, len(same), ROWS_PER_PASS):
            group = same[start : start + ROWS_PER_PASS]
            drawn = [_points(prompts[i], max(0, tokens - length)) for i in group]
            ids = torch.tensor([rows[i] for i in group])
            made = _continue(lm, ids, torch.stack(drawn, dim=1)[..., None], top_k)
            for i, row in zip(group, made.tolist(), strict=True):
                texts[i] = lm.tokenizer.decode(row, skip_special_tokens=True)
    return texts


def _points(text: str, steps: int) -> Tensor:
    """Uniform random numbers (steps,) that are the same whenever the text is."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(steps, generator=generator, dtype=torch.float64)


@torch.no_grad()
def _continue(lm: CausalLM, ids: Tensor, points: Iterable[Tensor], top_k: int | None) -> Tensor:
    """Rows of ids (B, T) continued by one token for each of `points` (B, 1)."""
    cache = DynamicCache()
    rows = ids
    for point in points:
        new = rows[:, cache.get_seq_length() :].to(lm.device)
        out = lm.model(new, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits = out.logits[:, -1].float().cpu()
        if top_k is not None:
            best, index = logits.topk(top_k)
            drawn = index.gather(1, _draw(best, point))
        else:
            drawn = _draw(logits, point)
        rows = torch.cat([rows, drawn], dim=1)
    return rows


def _draw(logits: Tensor, point: Tensor) -> Tensor:
    """One index per row (B, 1), by inverting the distribution function at `point`: on a CPU four
    times faster than torch.multinomial over a vocabulary."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    index = torch.searchsorted(cumulative, point * cumulative[:, -1:], right=True)
    return index.clamp(max=logits.shape[-1] - 1)


def start_token(lm: CausalLM) -> int:
    """The token that begins a text: end-of-text where the vocabulary has one, else BOS or EOS."""
    known = lm.tokenizer.get_vocab()
    for candidate in ("<|endoftext|>", lm.tokenizer.bos_token, lm.tokenizer.eos_token):
        if candidate in known:
            return known[candidate]
    return 0


# Words that texts begin with, as the research code of the field has them.
STARTERS = ("The", "Therefore", "Because", "I", "You")


def context_templates(
    lm: CausalLM, generator: torch.Generator, length: int, per_starter: int
) -> list[str]:
    """ "{}" and sampled sentences before it: contexts in which an edit should hold.

    length: tokens per context, starter included. MEMIT: one context of ten tokens per starter,
    drawn from the five likeliest tokens at each step. Braces are taken out of the samples.
    """
    templates = ["{}"]
    for starter in STARTERS if per_starter else ():
        ids = torch.tensor([lm.tokenizer(starter)["input_ids"]] * per_starter)
        rows = sample(lm, ids, max(0, length - ids.shape[1]), generator, top_k=5)
        for row in rows.tolist():
            text = lm.tokenizer.decode(row, skip_special_tokens=True)
            text = " ".join(text.replace("{", " ").replace("}", " ").split())
            templates.append(f"{text}. {{}}")
    return templates
