"""Context templates: the bare prompt, and the prompt after text sampled from the model."""

import torch

from mose.models.causal_lm import CausalLM
from mose.models.sampling import sample

# First words of the sampled texts, as in MEMIT's code.
STARTERS = ("The", "Therefore", "Because", "I", "You")


def context_templates(
    lm: CausalLM, generator: torch.Generator, length: int, per_starter: int
) -> list[str]:
    """Templates with one "{}" each: "{}" itself, and "<sampled text>. {}".

    length: tokens per sampled text, starter included. per_starter: number of texts per starter.
    MEMIT: one text of ten tokens per starter, sampled from the five likeliest tokens at each step.
    Braces are removed from the samples.
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
