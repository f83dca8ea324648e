"""Context templates: the bare prompt, and prompts behind text that the model samples."""

import torch

from mose.models.causal_lm import CausalLM
from mose.models.sampling import sample

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
