"""Value targets: what the edited projection should output at the subject's last token.

For each request, a shift delta is sought that makes the model say the new object in all context
templates and leaves its next-token distribution after the bare subject where it was (ROME, Meng
et al. 2022, equation 4; MEMIT, Meng et al. 2023):

    loss(delta) = mean over templates of the mean NLL of the target's tokens
                  + kl_weight KL(p_delta || p_0) after "{subject}" in "{subject} is a"
                  + weight_decay ||delta|| / ||h||^2                        (free targets only)

h is the edited block's output (MEMIT), or the edited projection's (ROME). Targets may be changed
once they are found: "rescaled" ones are put back to the length of h, "anchored" ones bring the
projection's output to a length of their own (`anchored_shift`).

A whole batch is optimised at once, each request with its own Adam state, so that a request's
result does not depend on its company. Blocks up to the edited layer, and all positions before
the subject's last token, do not change while delta does: they are run once, what the prefixes of
a template have in common once for all requests. What follows is run without padding (`packed`).
The head is read only where a loss is.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mose.editing.pass_size import target_tokens
from mose.facts.requests import EditRequest, check_requests, check_templates
from mose.linalg.orthogonal import on_sphere
from mose.methods.options import AdditiveOptions, TargetOptions
from mose.models.causal_lm import CausalLM
from mose.models.losses import check_finite
from mose.models.ragged import UpperBlocks
from mose.models.tokens import EditTokens, encode_edit

ESSENCE = "{} is a"
ADAM_BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8


@dataclass(frozen=True)
class Targets:
    """The shifts found for n requests.

    shift: (n, d) float64; in value units (d = d_out), or key units (d = d_in) for space "key".
    steps: loss evaluations spent; loss: the last one; seconds: share of the group's time.
    """

    shift: Tensor
    steps: list[int]
    loss: list[float]
    seconds: list[float]


def optimise(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    options: TargetOptions,
    tokens_per_pass: int | None = None,
) -> Targets:
    """Value targets at the last of `options.layers`, for all requests.

    tokens_per_pass: bounds how many requests share a pass, and so the memory; changes no result.
    Raises ConfigError or RequestError for layers, requests or templates that cannot be used.
    """
    lm.check_layers(options.layers, "layers")
    check_requests(requests)
    check_templates(templates)
    if tokens_per_pass is None:
        kind = "cpu" if lm.device.type == "cpu" else "gpu"
        tokens_per_pass = target_tokens(kind, torch.get_num_threads())
    rows = [_encode(lm, request, templates) for request in requests]
    shift: list[Tensor] = [torch.empty(0)] * len(rows)
    steps, loss, seconds = [0] * len(rows), [0.0] * len(rows), [0.0] * len(rows)
    sizes = [sum(len(cut.suffix) for cut in tokens) for tokens in rows]
    for members in _groups(sizes, tokens_per_pass):
        begun = time.perf_counter()
        names = [requests[i].id for i in members]
        run = _Group(lm, [rows[i] for i in members], names, options)
        run.optimise()
        spent = (time.perf_counter() - begun) / sum(run.steps)
        for place, i in enumerate(members):
            shift[i] = run.shift(place).to("cpu", torch.float64)
            steps[i], loss[i] = run.steps[place], run.loss[place]
            seconds[i] = spent * run.steps[place]
    return Targets(torch.stack(shift), steps, loss, seconds)


def anchored_shift(value: Tensor, delta: Tensor, anchor: float) -> Tensor:
    """What NAS (arXiv 2602.02543) writes of a free shift: (d,).

    value: v0 (d,), the edited projection's output in the bare prompt; delta: (d,). With
    v* = v0 + delta it is anchor v* / ||v*|| - v0, and nothing where ||v*|| > 2 anchor.
    """
    asked = value + delta
    length = torch.linalg.vector_norm(asked)
    if length > 2 * anchor:
        return torch.zeros_like(asked)
    return asked * (anchor / length) - value


def _groups(sizes: Sequence[int], tokens: int) -> list[list[int]]:
    """Requests that share a pass: about equally many tokens in each, about `tokens` at most."""
    count = math.ceil(sum(sizes) / tokens)
    groups: dict[int, list[int]] = {}
    before = 0
    for i, size in enumerate(sizes):
        groups.setdefault(before * count // sum(sizes), []).append(i)
        before += size
    return list(groups.values())


def _encode(lm: CausalLM, request: EditRequest, templates: Sequence[str]) -> list[EditTokens]:
    """One row per template, then the essence prompt, of which only the subject's end is read."""
    tokens = [
        encode_edit(lm.tokenizer, t, request.prompt, request.subject, request.target_new)
        for t in templates
    ]
    essence = encode_edit(lm.tokenizer, "{}", ESSENCE, request.subject)
    return [*tokens, EditTokens(essence.prefix, essence.suffix[:1], [], [])]


class _Reader:
    """Where losses are read: flat lists over all rows of a group, cut as requests leave."""

    def __init__(self, rows: Sequence[Sequence[EditTokens]], device: torch.device) -> None:
        row, place, token, weight, owner, essence = [], [], [], [], [], []
        number = 0
        for request, tokens in enumerate(rows):
            for cut in tokens:
                owner.append(request)
                for at, target in zip(cut.read_at, cut.target, strict=True):
                    row.append(number)
                    place.append(at)
                    token.append(target)
                    # Mean over a target's tokens, then over the templates (all but the essence).
                    weight.append(1 / (len(cut.target) * (len(tokens) - 1)))
                number += 1
            essence.append(number - 1)
        self.row = torch.tensor(row, device=device)
        self.place = torch.tensor(place, device=device)
        self.token = torch.tensor(token, device=device)
        self.weight = torch.tensor(weight, device=device)
        self.owner = torch.tensor(owner, device=device)
        self.essence = torch.tensor(essence, device=device)

    def take(self, kept: Tensor) -> Tensor:
        """Keep some requests (positions in the present group); returns the rows that stay."""
        number = torch.full((int(self.owner.max()) + 1,), -1, device=self.owner.device)
        number[kept] = torch.arange(len(kept), device=number.device)
        rows = (number[self.owner] >= 0).nonzero()[:, 0]
        renumber = torch.full((len(self.owner),), -1, device=number.device)
        renumber[rows] = torch.arange(len(rows), device=number.device)
        here = renumber[self.row] >= 0
        self.row, self.place = renumber[self.row[here]], self.place[here]
        self.token, self.weight = self.token[here], self.weight[here]
        self.owner = number[self.owner[rows]]
        self.essence = renumber[self.essence[kept]]
        return rows


class _Group:
    """The optimisation of the requests that share a pass."""

    def __init__(
        self,
        lm: CausalLM,
        rows: Sequence[Sequence[EditTokens]],
        names: Sequence[str],
        options: TargetOptions,
    ) -> None:
        self.lm, self.names, self.options = lm, names, options
        layer = options.layers[-1]
        flat = [cut for tokens in rows for cut in tokens]
        template = [place for tokens in rows for place in range(len(tokens))]
        prefix = lm.prefill([cut.prefix for cut in flat], template)
        self.above: UpperBlocks = lm.upper_blocks([cut.suffix for cut in flat], prefix, layer)
        self.weight = lm.weight(layer).to(lm.device)
        self.reader = _Reader(rows, lm.device)
        with torch.no_grad():
            self.essence0 = self._log_probs(self.above.final[self._essence()])
        # The bare prompt is each request's first row.
        first_rows = torch.searchsorted(
            self.reader.owner, torch.arange(len(rows), device=lm.device)
        )
        hidden = self.above.hidden[self.above.layout.starts[first_rows]]
        self.value = lm.project(layer, self.above.keys[first_rows])
        self.origin = self.value if options.LENGTH_OF == "value" else hidden
        self.length = torch.linalg.vector_norm(self.origin, dim=-1)
        width = self.weight.shape[1 if options.target_space == "key" else 0]
        self.delta = torch.zeros(len(rows), width, device=lm.device)
        self.steps, self.loss = [0] * len(rows), [math.nan] * len(rows)
        # The step at which the new object first was the most probable everywhere.
        self.said_at = torch.full((len(rows),), options.steps, device=lm.device)

    def optimise(self) -> None:
        """Adam on every request's delta until its loss is small or the steps are spent."""
        active = torch.arange(len(self.delta), device=self.delta.device)
        first, second = torch.zeros_like(self.delta), torch.zeros_like(self.delta)
        for step in range(1, self.options.steps + 1):
            delta = self.delta[active].requires_grad_()
            loss, said = self._losses(delta)
            check_finite(
                loss,
                [self.names[place] for place in active.tolist()],
                f"layer {self.options.layers[-1]}",
                step,
                self.options.learning_rate,
                f"look at dtype (now {str(self.weight.dtype).removeprefix('torch.')}) and "
                f"kl_weight (now {self.options.kl_weight})",
            )
            for place, value in zip(active.tolist(), loss.tolist(), strict=True):
                self.steps[place], self.loss[place] = step, value
            going = loss.detach() >= self.options.stop_loss
            if said is not None and self.options.patience is not None:
                self.said_at[active[said]] = self.said_at[active[said]].clamp(max=step)
                going &= step < self.said_at[active] + self.options.patience
            if step == self.options.steps or not going.any():
                return
            (gradient,) = torch.autograd.grad(loss.sum(), delta)
            gradient = gradient[going]
            if not going.all():
                kept = going.nonzero()[:, 0]
                active = active[kept]
                self.above = self.above.take(self.reader.take(kept))
                self.essence0, self.length = self.essence0[kept], self.length[kept]
            first[active] += (1 - ADAM_BETAS[0]) * (gradient - first[active])
            second[active] += (1 - ADAM_BETAS[1]) * (gradient**2 - second[active])
            mean = first[active] / (1 - ADAM_BETAS[0] ** step)
            scale = (second[active] / (1 - ADAM_BETAS[1] ** step)).sqrt() + ADAM_EPS
            moved = self.delta[active] - self.options.learning_rate * mean / scale
            self.delta[active] = self._clamped(moved)

    def shift(self, place: int) -> Tensor:
        """What was found for one request."""
        delta = self.delta[place]
        if self.options.targets == "rescaled":
            return on_sphere(self.origin[place], delta) - self.origin[place]
        if isinstance(self.options, AdditiveOptions) and self.options.anchor is not None:
            return anchored_shift(self.value[place], delta, self.options.anchor)
        return delta

    def _clamped(self, delta: Tensor) -> Tensor:
        if self.options.target_space != "free":
            return delta
        norm = torch.linalg.vector_norm(delta, dim=-1)
        return delta * (self.options.clamp * self.length / norm).clamp(max=1)[:, None]

    def _shift(self, delta: Tensor) -> Tensor:
        """What is added to the edited block's output, per row (B, d_out)."""
        per_row = delta[self.reader.owner]
        keys = self.above.keys
        if self.options.target_space == "free":
            return per_row
        if self.options.target_space == "value":
            value = keys @ self.weight.mT
            return on_sphere(value, per_row) - value
        # The sphere is float32, as delta is; the weight may be kept in less.
        turned = on_sphere(keys, per_row) - keys
        return turned.to(self.weight.dtype) @ self.weight.mT

    def _essence(self) -> Tensor:
        """Where, among all tokens, each request's essence prompt is read."""
        return self.above.layout.starts[self.reader.essence]

    def _log_probs(self, hidden: Tensor) -> Tensor:
        return self.lm.head(hidden).float().log_softmax(-1)

    def _losses(self, delta: Tensor) -> tuple[Tensor, Tensor | None]:
        """Per active request (n,), the loss, and for the patient whether all target tokens are
        the argmax."""
        starts, reader = self.above.layout.starts, self.reader
        hidden = self.above.hidden
        hidden = hidden.index_add(0, starts, self._shift(delta).to(hidden.dtype))
        final = self.above.run(hidden)
        log_probs = self._log_probs(final.index_select(0, starts[reader.row] + reader.place))
        nll = -log_probs.gather(1, reader.token[:, None])[:, 0] * reader.weight
        loss = torch.zeros(len(delta), device=delta.device).index_add(
            0, reader.owner[reader.row], nll
        )
        said = None
        if self.options.patience is not None:
            wrong = (log_probs.detach().argmax(1) != reader.token).to(loss.dtype)
            said = torch.zeros_like(loss).index_add(0, reader.owner[reader.row], wrong) == 0
        now = self._log_probs(final.index_select(0, self._essence()))
        loss = loss + self.options.kl_weight * (now.exp() * (now - self.essence0)).sum(-1)
        if self.options.target_space == "free":
            # The gradient of a norm at zero is taken as zero.
            norm = torch.linalg.vector_norm(delta, dim=-1)
            loss = loss + self.options.weight_decay * norm / self.length**2
        return loss, said
