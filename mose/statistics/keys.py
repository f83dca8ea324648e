"""Keys: inputs of edited projections at the subject's last token, over context templates."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mose.facts.requests import EditRequest, check_requests, check_templates
from mose.models.causal_lm import CausalLM
from mose.models.repeated_pass import RepeatedPass
from mose.models.tokens import batches_by_length, encode_edit, pad

TEMPLATE_MEANS = ("half", "uniform")


@dataclass(frozen=True)
class Keys:
    """Keys and hidden states of n requests in J context templates, at the subject's last token.

    keys: mean key over templates (d_in, n) float64, by layer.
    prompt_keys: key in the prompt without context (d_in, n) float64, by layer.
    in_templates: keys in each template (n, J, d_in), in the model's dtype, by layer.
    hidden: output of the deepest block in each template (n, J, d).
    template_mean: weighting of the templates (`template_weights`).
    """

    keys: dict[int, Tensor]
    prompt_keys: dict[int, Tensor]
    in_templates: dict[int, Tensor]
    hidden: Tensor
    template_mean: str = "half"

    @property
    def prompt_hidden(self) -> Tensor:
        """Output of the deepest block in the prompt without context, (d, n) float64."""
        return self.hidden[:, 0].mT.to(torch.float64)

    def weighted(self, layer: int, changes: Tensor) -> tuple[Tensor, Tensor]:
        """Keys in every template, and the changes wanted at them, as columns of least squares.

        changes: (d, n), the same in all templates of a request. Returns (d_in, n J) and (d, n J)
        float64, request by request. Each column is multiplied by the root of its template's weight,
        so that the sum over a request's columns of ||Delta k - r||^2 is the weighted mean, and
        R K^T is that of the mean keys.
        """
        keys = self.in_templates[layer].to(torch.float64)
        roots = template_weights(keys.shape[1], self.template_mean).sqrt()
        columns = (keys * roots[:, None]).flatten(0, 1).mT
        wanted = (changes[:, :, None] * roots).flatten(1, 2)
        return columns, wanted

    def mean_hidden(self) -> Tensor:
        """Output of the deepest block, mean over templates as for keys, (d, n) float64."""
        return _mean(self.hidden, self.template_mean)


def template_weights(count: int, template_mean: str) -> Tensor:
    """Weights (count,) float64 of context templates in a mean key.

    template_mean: "half" gives 1/2 to the first template (the bare prompt), and 1/2 to all others
    together, as MEMIT's code does; "uniform" gives equal weights, as ROME's code does.
    Raises ValueError for other names.
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


class Prompts:
    """The prompts of requests in all templates, up to the subject's last token.

    Keys may be collected from them repeatedly while layers are written: a pass then starts at the
    first changed block. All prompts' hidden states at one block are kept meanwhile.
    """

    def __init__(
        self,
        lm: CausalLM,
        requests: Sequence[EditRequest],
        templates: Sequence[str],
        tokens_per_pass: int = 4096,
        template_mean: str = "half",
    ) -> None:
        """templates: the bare prompt "{}" first. tokens_per_pass: most padded tokens in one pass.
        template_mean: weighting of the templates (`template_weights`).
        Tokens after the subject's last one are left out: attention is causal.
        Raises RequestError for invalid requests or templates."""
        check_requests(requests)
        check_templates(templates)
        self._lm, self._template_mean = lm, template_mean
        self._shape = len(requests), len(templates), -1
        rows = [_to_subject(lm, request, t) for request in requests for t in templates]
        groups = batches_by_length([len(row) for row in rows], tokens_per_pass)
        self._order = torch.argsort(torch.tensor([i for group in groups for i in group]))
        # Left padding puts every subject's last token in the last column.
        self._passes = [
            RepeatedPass(lm, *pad([rows[i] for i in group], "left")) for group in groups
        ]

    def collect(self, layers: Sequence[int], keep: int | None = None) -> Keys:
        """Keys of `layers`, and hidden states of the deepest of them, in the present model.

        keep: the first layer that will be written before the next call; None: the lowest of
        `layers`. Raises ConfigError for invalid layers.
        """
        self._lm.check_layers(layers, "layers")
        inputs: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        hidden: list[Tensor] = []
        for repeated in self._passes:
            trace = repeated.run(layers, keep)
            hidden.append(trace.hidden[:, -1].cpu())
            for layer in layers:
                inputs[layer].append(trace.inputs[layer][:, -1].cpu())
        per_template = {layer: self._in_order(parts) for layer, parts in inputs.items()}
        return Keys(
            {layer: _mean(parts, self._template_mean) for layer, parts in per_template.items()},
            {layer: parts[:, 0].mT.to(torch.float64) for layer, parts in per_template.items()},
            per_template,
            self._in_order(hidden),
            self._template_mean,
        )

    def _in_order(self, parts: list[Tensor]) -> Tensor:
        """(n, J, d) from the parts of all passes."""
        return torch.cat(parts)[self._order].view(self._shape)


def collect(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    layers: Sequence[int],
    tokens_per_pass: int = 4096,
    template_mean: str = "half",
) -> Keys:
    """Keys of `layers`, and hidden states of the deepest of them, once. Arguments and errors as of
    `Prompts` and its `collect`."""
    lm.check_layers(layers, "layers")
    return Prompts(lm, requests, templates, tokens_per_pass, template_mean).collect(layers)


def outputs_with(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    layers: Sequence[int],
    change: Tensor,
    tokens_per_pass: int = 4096,
) -> dict[int, Tensor]:
    """Outputs (d, n) float64 of blocks once the first one's output has changed, by layer.

    At the subject's last token of the bare prompt. layers: ascending; change: (d, n), of the first
    one's output. Raises ConfigError for invalid layers, RequestError for invalid requests.
    """
    lm.check_layers(layers, "layers")
    check_requests(requests)
    rows = [_to_subject(lm, request, "{}") for request in requests]
    outputs = {layer: torch.empty_like(change, dtype=torch.float64) for layer in layers}
    for group in batches_by_length([len(row) for row in rows], tokens_per_pass):
        ids, mask = pad([rows[i] for i in group], "left")
        for layer, found in lm.outputs_with(ids, mask, layers, change[:, group].mT).items():
            outputs[layer][:, group] = found.mT.to("cpu", torch.float64)
    return outputs


def _to_subject(lm: CausalLM, request: EditRequest, template: str) -> list[int]:
    """Tokens of a request's prompt in a template, up to the subject's last one."""
    cut = encode_edit(lm.tokenizer, template, request.prompt, request.subject)
    return [*cut.prefix, cut.suffix[0]]
