"""Keys: the input of an edited projection at the subject's last token, over context templates."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mose.facts.requests import EditRequest, check_requests, check_templates
from mose.models.causal_lm import CausalLM
from mose.models.tokens import batches_by_length, encode_edit, pad

TEMPLATE_MEANS = ("half", "uniform")


@dataclass(frozen=True)
class Keys:
    """What one truncated pass says of n requests in J context templates.

    keys: per layer, the mean key of each request (d_in, n) float64.
    prompt_keys: per layer, the key in the bare prompt (d_in, n) float64.
    hidden: the deepest block's output at the subject's last token, in each template (n, J, d).
    template_mean: how the means weigh the templates, as in `template_weights`.
    """

    keys: dict[int, Tensor]
    prompt_keys: dict[int, Tensor]
    hidden: Tensor
    template_mean: str = "half"

    @property
    def prompt_hidden(self) -> Tensor:
        """The deepest block's output in the bare prompt: (d, n) float64."""
        return self.hidden[:, 0].mT.to(torch.float64)

    def mean_hidden(self) -> Tensor:
        """The deepest block's output, mean over templates weighted as the keys: (d, n) float64."""
        return _mean(self.hidden, self.template_mean)


def template_weights(count: int, template_mean: str) -> Tensor:
    """Weights (count,) of context templates in a mean key.

    template_mean: "half" gives the bare prompt, which comes first, one half, and all others
    together the other, as MEMIT's code does; "uniform" weighs all alike, as ROME's code does.
    """
    if template_mean not in TEMPLATE_MEANS:
        raise ValueError(
            f"template_mean: found {template_mean!r}, expected {' or '.join(TEMPLATE_MEANS)}"
        )
    if template_mean == "uniform" or count == 1:
        return torch.full((count,), 1 / count, dtype=torch.float64)
    weights = torch.full((count,), 0.5 / (count - 1), dtype=torch.float64)
    weights[0] = 0.5
    return weights


def _mean(per_template: Tensor, template_mean: str) -> Tensor:
    """(n, J, d) -> weighted mean over templates (d, n) float64."""
    weights = template_weights(per_template.shape[1], template_mean)
    return torch.einsum("njd,j->dn", per_template.to(torch.float64), weights)


def collect(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    layers: Sequence[int],
    tokens_per_pass: int = 4096,
    template_mean: str = "half",
) -> Keys:
    """Mean keys of `layers` and hidden states of the deepest, for requests in all templates.

    template_mean: how the templates are weighed, as in `template_weights`.
    Nothing after the subject's last token is run: attention is causal, so the key cannot depend
    on it.
    Raises ConfigError or RequestError for layers, requests or templates that cannot be used.
    """
    lm.check_layers(layers, "layers")
    check_requests(requests)
    check_templates(templates)
    rows = []
    for request in requests:
        for template in templates:
            cut = encode_edit(lm.tokenizer, template, request.prompt, request.subject)
            rows.append([*cut.prefix, cut.suffix[0]])
    inputs: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    hidden: list[Tensor] = []
    order: list[int] = []
    for group in batches_by_length([len(row) for row in rows], tokens_per_pass):
        # Left padding puts every subject's last token in the last column.
        trace = lm.truncated(*pad([rows[i] for i in group], "left"), layers)
        order.extend(group)
        hidden.append(trace.hidden[:, -1].cpu())
        for layer in layers:
            inputs[layer].append(trace.inputs[layer][:, -1].cpu())
    back = torch.argsort(torch.tensor(order))

    def in_order(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)[back].view(len(requests), len(templates), -1)

    per_template = {layer: in_order(parts) for layer, parts in inputs.items()}
    return Keys(
        {layer: _mean(parts, template_mean) for layer, parts in per_template.items()},
        {layer: parts[:, 0].mT.to(torch.float64) for layer, parts in per_template.items()},
        in_order(hidden),
        template_mean,
    )
