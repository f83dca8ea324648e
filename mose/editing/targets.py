"""Value targets: the wanted output of the edited projection at the subject's last token.

For each request, an optimiser (`descent`) finds a shift delta that makes the new object likely in
all context templates and preserves the next-token distribution after the bare subject (ROME, Meng
et al. 2022, equation 4; MEMIT, Meng et al. 2023):

    loss(delta) = mean over templates of the mean NLL of the target's tokens
                  + kl_weight KL(p_delta || p_0) after "{subject}" in "{subject} is a"
                  + weight_decay ||delta|| / ||h||^2                        (free targets only)

h is the output of the edited block (MEMIT) or of the edited projection (ROME). After optimisation,
"rescaled" targets are scaled to the length of h, and "anchored" ones bring the projection's output
to a given length (`anchored_shift`). Where a norm follows the projection, delta is added before it
and h is the projection's output: the block's output cannot be moved freely.

A whole batch is optimised at once, and a request's result does not depend on the others. Blocks up
to the edited layer and positions before the subject's last token do not depend on delta and are run
once; the common start of a template's prefixes is run once for all requests. The rest is run
without padding (`mose.models.ragged`). The head is computed only at positions with a loss.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mose.editing.descent import Adam, Descent, MarginDescent
from mose.editing.pass_size import target_tokens
from mose.facts.requests import EditRequest, check_requests, check_templates
from mose.linalg.orthogonal import on_sphere
from mose.methods.options import AdditiveOptions, TargetOptions
from mose.models import post_norms
from mose.models.causal_lm import CausalLM
from mose.models.losses import check_finite
from mose.models.ragged import UpperBlocks
from mose.models.tokens import EditTokens, encode_edit

ESSENCE = "{} is a"
STEPS_BETWEEN_CHECKS = 5  # on a GPU


@dataclass(frozen=True)
class Targets:
    """The optimised shifts of n requests.

    shift: (n, d) float64; in value units (d = d_out), or key units (d = d_in) for space "key".
    steps: loss evaluations; loss: of the shift, nats; seconds: share of the pass's time.
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
    """Value targets of all requests at `options.target_layer`.

    tokens_per_pass: limits how many requests share a pass, and so the memory; changes no result.
    Raises ConfigError or RequestError for wrong layers, requests or templates; NumericalError for
    a loss that is not finite.
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
        started = time.perf_counter()
        names = [requests[i].id for i in members]
        group = _Group(lm, [rows[i] for i in members], names, options)
        group.optimise()
        seconds_per_step = (time.perf_counter() - started) / sum(group.steps)
        for place, i in enumerate(members):
            shift[i] = group.shift(place).to("cpu", torch.float64)
            steps[i], loss[i] = group.steps[place], group.loss[place]
            seconds[i] = seconds_per_step * group.steps[place]
    return Targets(torch.stack(shift), steps, loss, seconds)


def anchored_shift(value: Tensor, delta: Tensor, anchor: float) -> Tensor:
    """The shift (d,) that NAS (arXiv 2602.02543) writes instead of a free shift delta (d,).

    value: v0 (d,), the edited projection's output in the bare prompt. With v* = v0 + delta, the
    result is anchor v* / ||v*|| - v0, or 0 where ||v*|| > 2 anchor.
    """
    wanted = value + delta
    length = torch.linalg.vector_norm(wanted)
    if length > 2 * anchor:
        return torch.zeros_like(wanted)
    return wanted * (anchor / length) - value


def _groups(sizes: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices of the requests of each pass; passes have similar sizes, at most about `tokens`."""
    count = math.ceil(sum(sizes) / tokens)
    groups: dict[int, list[int]] = {}
    before = 0
    for i, size in enumerate(sizes):
        groups.setdefault(before * count // sum(sizes), []).append(i)
        before += size
    return list(groups.values())


def _encode(lm: CausalLM, request: EditRequest, templates: Sequence[str]) -> list[EditTokens]:
    """One row per template, then the essence prompt, cut after the subject's last token."""
    tokens = [
        encode_edit(lm.tokenizer, t, request.prompt, request.subject, request.target_new)
        for t in templates
    ]
    essence = encode_edit(lm.tokenizer, "{}", ESSENCE, request.subject)
    return [*tokens, EditTokens(essence.prefix, essence.suffix[:1], [], [])]


class _LossPositions:
    """Positions at which a group's losses are computed, as flat tensors over all its rows.

    A row is one request in one template (or the essence prompt). row, place, token, weight: per
    target token, its row, its offset from the subject's last token, its id, its weight in the
    request's loss. owner: per row, its request. essence: per request, its essence row.
    """

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
        """Keep the requests with these numbers; returns the numbers of their rows."""
        number = torch.full((int(self.owner.max()) + 1,), -1, device=self.owner.device)
        number[kept] = torch.arange(len(kept), device=number.device)
        rows = (number[self.owner] >= 0).nonzero()[:, 0]
        renumber = torch.full((len(self.owner),), -1, device=number.device)
        renumber[rows] = torch.arange(len(rows), device=number.device)
        stays = renumber[self.row] >= 0
        self.row, self.place = renumber[self.row[stays]], self.place[stays]
        self.token, self.weight = self.token[stays], self.weight[stays]
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
        layer = options.target_layer
        flat = [cut for tokens in rows for cut in tokens]
        template = [place for tokens in rows for place in range(len(tokens))]
        prefix = lm.prefill([cut.prefix for cut in flat], template)
        self.above: UpperBlocks = lm.upper_blocks([cut.suffix for cut in flat], prefix, layer)
        self.weight = lm.weight(layer).to(lm.device)
        self.positions = _LossPositions(rows, lm.device)
        with torch.no_grad():
            self.essence0 = self._log_probs(self.above.final[self._essence()])
        # Each request's first row is the bare prompt.
        numbers = torch.arange(len(rows), device=lm.device)
        first_rows = torch.searchsorted(self.positions.owner, numbers)
        hidden = self.above.hidden[self.above.layout.starts[first_rows]]
        self.value = lm.project(layer, self.above.keys[first_rows])
        of_value = options.LENGTH_OF == "value" or lm.post_norm(layer) is not None
        # Lengths of the model's own type miss by rounding, and their squares overflow in float16.
        self.origin = (self.value if of_value else hidden).float()
        self.length = torch.linalg.vector_norm(self.origin, dim=-1)
        self.descent = self._new_descent(first_rows)
        self.steps, self.loss = [0] * len(rows), [math.nan] * len(rows)
        self.steps_taken = torch.zeros(len(rows), dtype=torch.int64, device=lm.device)
        self.last_loss = torch.zeros(len(rows), device=lm.device)
        # First step at which the new object is the most probable in all templates.
        self.predicted_at = torch.full((len(rows),), options.steps, device=lm.device)

    def _new_descent(self, first_rows: Tensor) -> Descent:
        """The optimiser of all requests' delta; first_rows: the row of each bare prompt."""
        options = self.options
        width = self.weight.shape[1 if options.target_space == "key" else 0]
        if options.target_space == "free":
            limit = scale = options.clamp * self.length
        else:
            limit = torch.full_like(self.length, torch.inf, dtype=torch.float32)
            moved = self.value if options.target_space == "value" else self.above.keys[first_rows]
            scale = torch.linalg.vector_norm(moved, dim=-1).float()
        if options.optimiser == "margin":
            return MarginDescent(limit, width, options.stop_loss, scale)
        return Adam(limit, width, options.learning_rate)

    def optimise(self) -> None:
        """Optimise every request's delta, until its loss is below stop_loss or after `steps`.

        A finished request keeps its delta. It leaves the pass at the next check: on a GPU a check
        makes the host wait, so there are fewer.
        """
        active = torch.arange(len(self.steps), device=self.lm.device)
        going = torch.ones_like(active, dtype=torch.bool)
        every = 1 if self.lm.device.type == "cpu" else STEPS_BETWEEN_CHECKS
        for step in range(1, self.options.steps + 1):
            delta = self.descent.point[active].requires_grad_()
            loss, predicted = self._losses(delta)
            self.descent.observe(active, going, loss.detach())
            going = self._record(active, going, loss.detach(), predicted, step)
            checked = step % every == 0 or step == self.options.steps
            if checked:
                self._check_finite()
                if step == self.options.steps or not going.any():
                    break
            (gradient,) = torch.autograd.grad(loss.sum(), delta)
            if checked and not going.all():
                kept = going.nonzero()[:, 0]
                active, gradient, going = active[kept], gradient[kept], going[kept]
                self.above = self.above.take(self.positions.take(kept))
                self.essence0, self.length = self.essence0[kept], self.length[kept]
            self.descent.advance(active, going, gradient)
        self.steps, self.loss = self.steps_taken.tolist(), self.descent.loss.tolist()

    def _record(
        self, active: Tensor, going: Tensor, loss: Tensor, predicted: Tensor | None, step: int
    ) -> Tensor:
        """Keep step and loss of the active requests that go on; returns which still do."""
        self.steps_taken[active] = torch.where(going, step, self.steps_taken[active])
        self.last_loss[active] = torch.where(going, loss, self.last_loss[active])
        going = going & (loss >= self.options.stop_loss)
        if predicted is not None and self.options.patience is not None:
            before = self.predicted_at[active]
            since = torch.where(predicted, before.clamp(max=step), before)
            self.predicted_at[active] = since
            going = going & (step < since + self.options.patience)
        return going

    def _check_finite(self) -> None:
        """Raise NumericalError for the first request whose last loss is not finite."""
        for place in (~torch.isfinite(self.last_loss)).nonzero()[:1, 0].tolist():
            check_finite(
                self.last_loss[place : place + 1],
                [self.names[place]],
                f"layer {self.options.target_layer}",
                int(self.steps_taken[place]),
                self.options.learning_rate,
                f"look at dtype (now {str(self.weight.dtype).removeprefix('torch.')}) and "
                f"kl_weight (now {self.options.kl_weight})",
            )

    def shift(self, place: int) -> Tensor:
        """The shift (d,) to write for one request."""
        delta = self.descent.found[place]
        if self.options.targets == "rescaled":
            return on_sphere(self.origin[place], delta) - self.origin[place]
        if isinstance(self.options, AdditiveOptions) and self.options.anchor is not None:
            return anchored_shift(self.value[place], delta, self.options.anchor)
        return delta

    def _shift(self, delta: Tensor) -> Tensor:
        """What is added to the edited block's output in each row: (rows, d_out)."""
        return self._through_norm(self._value_shift(delta))

    def _value_shift(self, delta: Tensor) -> Tensor:
        """What is added to the edited projection's output in each row: (rows, d_out)."""
        per_row = delta[self.positions.owner]
        keys = self.above.keys
        if self.options.target_space == "free":
            return per_row
        if self.options.target_space == "value":
            value = keys @ self.weight.mT
            return on_sphere(value, per_row) - value
        # Rotated keys are float32, as delta is; the weight may have a lower precision.
        turned = on_sphere(keys, per_row) - keys
        return turned.to(self.weight.dtype) @ self.weight.mT

    def _through_norm(self, change: Tensor) -> Tensor:
        """Change of the block's output for one of the projection's output; both (rows, d_out)."""
        layer = self.options.target_layer
        if self.lm.post_norm(layer) is None:
            return change
        values = self.lm.project(layer, self.above.keys)
        return post_norms.through(self.lm, layer, values, change)

    def _essence(self) -> Tensor:
        """Position, among all packed tokens, of the subject's last token in the essence prompts."""
        return self.above.layout.starts[self.positions.essence]

    def _log_probs(self, hidden: Tensor) -> Tensor:
        return self.lm.head(hidden).float().log_softmax(-1)

    def _losses(self, delta: Tensor) -> tuple[Tensor, Tensor | None]:
        """Per active request: the loss (n,), and with `patience` whether all target tokens are the
        argmax (n,), else None."""
        starts, positions = self.above.layout.starts, self.positions
        hidden = self.above.hidden
        hidden = hidden.index_add(0, starts, self._shift(delta).to(hidden.dtype))
        final = self.above.run(hidden)
        log_probs = self._log_probs(final.index_select(0, starts[positions.row] + positions.place))
        nll = -log_probs.gather(1, positions.token[:, None])[:, 0] * positions.weight
        request_of = positions.owner[positions.row]
        loss = torch.zeros(len(delta), device=delta.device).index_add(0, request_of, nll)
        predicted = None
        if self.options.patience is not None:
            wrong = (log_probs.detach().argmax(1) != positions.token).to(loss.dtype)
            predicted = torch.zeros_like(loss).index_add(0, request_of, wrong) == 0
        essence = self._log_probs(final.index_select(0, self._essence()))
        divergence = (essence.exp() * (essence - self.essence0)).sum(-1)
        loss = loss + self.options.kl_weight * divergence
        if self.options.target_space == "free":
            # torch takes the gradient of a norm at zero as zero.
            norm = torch.linalg.vector_norm(delta, dim=-1)
            loss = loss + self.options.weight_decay * norm / self.length**2
        return loss, predicted
