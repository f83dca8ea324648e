"""How wanted outputs are spread over the edited layers (option `spread`).

even: the output is wanted of the last edited block. Each layer in turn writes what is missing
there, divided by the number of layers left (MEMIT; the authors of MOSE do the same).
forward: the output is wanted of the first edited block. The model is run forward with it, which
gives each deeper block its own wanted output; each layer in turn writes what is missing of its own,
undivided (FE, arXiv 2605.00358).
each: nothing is spread: each layer's output is sought anew on the model as edited so far, and
written undivided (BLUE, arXiv 2502.03748, whose `layers` are the first and the last one); `writing`
does it.

With `contexts: each` a share is wanted at the key of every context template, else at their mean.
With one layer all kinds are the same. Keys and what is missing are those of the model as edited so
far. Where a norm follows the projection, what is missing is brought back through it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mose.errors import NumericalError
from mose.facts.requests import EditRequest
from mose.methods.base import ClosedFormEditor
from mose.methods.options import LeastSquaresOptions, TargetOptions
from mose.models import post_norms
from mose.models.causal_lm import CausalLM
from mose.statistics import keys as keys_of


@dataclass(frozen=True)
class Group:
    """Requests that a closed-form method writes at once, and what it writes them with."""

    lm: CausalLM
    editors: Mapping[int, ClosedFormEditor]
    options: TargetOptions
    requests: Sequence[EditRequest]
    templates: Sequence[str]

    @cached_property
    def prompts(self) -> keys_of.Prompts:
        """What keys are collected from."""
        mean = self.options.TEMPLATE_MEAN
        return keys_of.Prompts(self.lm, self.requests, self.templates, template_mean=mean)

    def update(
        self, layer: int, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None
    ) -> None:
        """Write a layer's residuals into its editor and the model.

        Raises NumericalError, which names the layer, if a key, a residual or the new weight is not
        finite, or the update cannot be computed.
        """
        for what, columns in (("key", keys), ("wanted change", residuals)):
            if not torch.isfinite(columns).all():
                raise NumericalError(
                    f"layer {layer}: a {what} is NaN or infinite; run the model in float32 "
                    "(dtype), or lower learning_rate or clamp"
                )
        editor = self.editors[layer]
        try:
            editor.update(keys, residuals, prompt_keys)
        except (NumericalError, torch.linalg.LinAlgError) as error:
            # A second moment names its layer itself.
            named = "" if f"layer {layer}" in str(error) else f"layer {layer}: "
            raise NumericalError(named + " ".join(str(error).split())) from None
        self.lm.write(layer, editor.weight)


@dataclass(frozen=True)
class Outputs:
    """Outputs (d, n) wanted of the block that targets are sought at (`options.target_layer`).

    change: (d, n), from the present ones. lengths: (n,), of the projection's wanted output, where a
    norm behind it hides them; None: not known.
    """

    wanted: Tensor
    change: Tensor
    lengths: Tensor | None = None


def wanted_outputs(
    lm: CausalLM, options: TargetOptions, before: keys_of.Keys, shift: Tensor
) -> Outputs:
    """Of a shift (d_out, n) of the edited projection's output, in the model of `before`.

    Where a norm follows the projection (`mose.models.post_norms`), the shift passes through it to
    the block's output; else both change alike. before: its deepest layer is options.target_layer.
    """
    layer = options.target_layer
    value = post_norms.values_of(lm, layer, before.prompt_keys[layer])
    change = post_norms.through(lm, layer, value.mT, shift.mT).mT.to(torch.float64)
    lengths = torch.linalg.vector_norm(value + shift, dim=0)
    return Outputs(before.prompt_hidden + change, change, lengths)


def collect_before(group: Group) -> keys_of.Keys:
    """What `spread` needs of the present model; its deepest layer is options.target_layer."""
    target = group.options.target_layer
    return group.prompts.collect([layer for layer in group.options.layers if layer <= target])


def spread(group: Group, before: keys_of.Keys, outputs: Outputs) -> Tensor:
    """Write wanted outputs as options.spread says (even or forward); attained fractions (n,).

    before: from `collect_before`, of the present model.
    """
    if group.options.spread == "forward":
        return _spread_forward(group, before, outputs)
    return _spread_evenly(group, before, outputs)


def _spread_evenly(group: Group, before: keys_of.Keys, outputs: Outputs) -> Tensor:
    layers = group.options.layers
    last = layers[-1]
    present = before
    for done, layer in enumerate(layers):
        if done:
            present = group.prompts.collect(sorted({layer, last}))
        share = (outputs.wanted - present.prompt_hidden) / (len(layers) - done)
        write_share(group, layer, present, share, outputs.lengths if layer == last else None)
    after = group.prompts.collect([last])
    return attained_fraction(after.mean_hidden() - before.mean_hidden(), outputs.change)


def _spread_forward(group: Group, before: keys_of.Keys, outputs: Outputs) -> Tensor:
    first, *deeper = layers = group.options.layers
    last = layers[-1]
    unwritten = group.prompts.collect([last], keep=first)
    wanted = keys_of.outputs_with(group.lm, group.requests, layers, outputs.change)
    write_share(group, first, before, outputs.change, outputs.lengths)
    for layer in deeper:
        present = group.prompts.collect([layer])
        write_share(group, layer, present, wanted[layer] - present.prompt_hidden)
    after = group.prompts.collect([last])
    change = wanted[last] - unwritten.prompt_hidden
    return attained_fraction(after.mean_hidden() - unwritten.mean_hidden(), change)


def write_share(
    group: Group,
    layer: int,
    present: keys_of.Keys,
    share: Tensor,
    lengths: Tensor | None = None,
) -> None:
    """Write a change (d, n) of a block's output. lengths: as in Outputs."""
    prompt_keys = present.prompt_keys[layer]
    residuals = post_norms.pulled_back(group.lm, layer, prompt_keys, share, lengths)
    keys = present.keys[layer]
    if isinstance(group.options, LeastSquaresOptions) and group.options.contexts == "each":
        keys, residuals = present.weighted(layer, residuals)
    group.update(layer, keys, residuals, prompt_keys)


def attained_fraction(change: Tensor, wanted: Tensor) -> Tensor:
    """Projection of `change` on `wanted` over the length of `wanted`, per column: (n,)."""
    return (change * wanted).sum(0) / (wanted**2).sum(0).clamp(min=torch.finfo(wanted.dtype).tiny)
