"""Text that a model samples from itself, through an explicit generator."""

import torch
from torch import Tensor
from transformers import DynamicCache

from mose.model import CausalLM


@torch.no_grad()
def sample(
    lm: CausalLM, ids: Tensor, steps: int, generator: torch.Generator, top_k: int | None = None
) -> Tensor:
    """Continue equally long rows of ids (B, T) by `steps` sampled tokens: (B, T + steps).

    Sampled from the model's own distribution, or from its `top_k` likeliest tokens. There is no
    stop at an end-of-text token: what follows it is a new text.
    """
    cache = DynamicCache()
    rows = ids
    for _ in range(steps):
        new = rows[:, cache.get_seq_length() :].to(lm.device)
        out = lm.model(new, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits = out.logits[:, -1].float().cpu()
        if top_k is not None:
            best, index = logits.topk(top_k)
            drawn = index.gather(1, _draw(best, generator))
        else:
            drawn = _draw(logits, generator)
        rows = torch.cat([rows, drawn], dim=1)
    return rows


def _draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One index per row (B, 1), by inverting the distribution function: on a CPU four times
    faster than torch.multinomial over a vocabulary."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    point = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64)
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
