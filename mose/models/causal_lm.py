"""A causal language model with access to its edited projections, and partial passes.

An edited projection is the output projection of a block's MLP. Its weight W is always
(d_out, d_in) here, whatever the module stores. Its output is added to the residual stream, so a
change of it changes the block's output by the same vector; unless the class has a norm in between
(`mose.models.post_norms`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mose.errors import ConfigError, ModelError, NumericalError, shortened
from mose.models.architectures import Architecture, architecture_of
from mose.models.hooks import PassComplete, hidden_of, hooked, keep_call, keep_input
from mose.models.ragged import Layout, Prefix, UpperBlocks, packed_attention
from mose.models.tokens import pad

# Programs that read checkpoints or second moments load no model: transformers would take half of
# their time.
if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.cache_utils import Cache

logger = logging.getLogger(__name__)


@dataclass
class Trace:
    """Activations of a truncated pass.

    inputs: input of the edited projection (B, T, d_in), by requested layer.
    hidden: output of the deepest block that was run (B, T, d_model).
    """

    inputs: dict[int, Tensor]
    hidden: Tensor


class CausalLM:
    """A model in evaluation mode with frozen weights, and its tokenizer."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        fingerprint: str,
        architecture: Architecture | None = None,
    ) -> None:
        """fingerprint: digest of the model's files. architecture: None for that of its class.

        Raises ModelError for an unknown class, wrong module names, or a slow tokenizer.
        """
        self.architecture = architecture or architecture_of(type(model).__name__)
        if not tokenizer.is_fast:
            raise ModelError(
                f"{type(tokenizer).__name__} gives no character offsets; a fast tokenizer "
                "(tokenizer.json) is needed"
            )
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        self.blocks: nn.ModuleList = _module(model, "blocks", self.architecture.blocks)
        self.norm = _module(model, "norm", self.architecture.norm)
        if not isinstance(self.blocks, nn.ModuleList):
            raise ModelError(
                f"architecture.blocks: {self.architecture.blocks!r} is a "
                f"{type(self.blocks).__name__}, expected the list of the model's blocks"
            )
        for block in self.blocks:
            projection = _module(block, "projection", self.architecture.projection)
            if getattr(projection, "weight", torch.empty(0)).ndim != 2:
                raise ModelError(
                    f"architecture.projection: {self.architecture.projection!r} has no matrix; "
                    "name the MLP's output projection itself"
                )
            if self.architecture.post_norm is not None:
                _module(block, "post_norm", self.architecture.post_norm)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    def projection(self, layer: int) -> nn.Module:
        """The edited projection's module in `layer`, counted from 0.

        Raises ConfigError for a layer that the model does not have.
        """
        if layer not in range(self.n_layers):
            self.check_layers([layer], "layer")
        return self.blocks[layer].get_submodule(self.architecture.projection)

    def weight(self, layer: int) -> Tensor:
        """W (d_out, d_in) of the edited projection, a view of the model's own weight."""
        weight = self.projection(layer).weight
        return weight.mT if self.architecture.transposed else weight

    def post_norm(self, layer: int) -> nn.Module | None:
        """The norm between the edited projection and the residual stream; None without one."""
        name = self.architecture.post_norm
        return None if name is None else self.blocks[layer].get_submodule(name)

    def project(self, layer: int, keys: Tensor) -> Tensor:
        """Output (n, d_out) of the edited projection for keys (n, d_in), bias included."""
        layer_device = self.weight(layer).device
        return self.projection(layer)(keys.to(layer_device)).to(self.device)

    def write(self, layer: int, weight: Tensor) -> None:
        """Overwrite the edited projection's weight with `weight` (d_out, d_in), cast to its dtype.

        Raises ConfigError for another shape, NumericalError if an entry is not finite.
        """
        current = self.weight(layer)
        if weight.shape != current.shape:
            raise ConfigError(
                f"weight of layer {layer}: found {tuple(weight.shape)}, expected "
                f"{tuple(current.shape)}; give it as (d_out, d_in)"
            )
        cast = weight.to(current.dtype)
        if not torch.isfinite(cast).all():
            raise NumericalError(
                f"weight of layer {layer}: NaN or infinite in {current.dtype}, so it is not written"
                "; write smaller edits (learning_rate, clamp, batch), or run in float32 (dtype)"
            )
        current.copy_(cast)

    @property
    def head_size(self) -> int:
        """Number of logits of the head."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (..., vocabulary) for outputs of the last block (..., d_model)."""
        logits = self.model.get_output_embeddings()(self.norm(hidden)).to(self.device)
        cap = getattr(self.model.config, "final_logit_softcapping", None)  # Gemma 2
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def check_layers(self, layers: Sequence[int], where: str) -> None:
        """Raise ConfigError for no layers, or one out of range. where: config key, for errors."""
        valid = f"the model has layers 0 to {self.n_layers - 1}"
        if not layers:
            raise ConfigError(f"{where}: found none, {valid}; take one or more of them")
        wrong = [layer for layer in layers if layer not in range(self.n_layers)]
        if wrong:
            raise ConfigError(
                f"{where}: layer {wrong[0]!r} is out of range, {valid}; take one of them"
            )

    def _base(self, ids: Tensor, mask: Tensor, past: Cache | None, **kwargs: Any) -> Any:
        """Output of the model without its head.

        ids: (B, T). mask: (B, P + T), also over the P tokens of `past`; positions follow from it.
        """
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, mask.shape[1] - ids.shape[1] :]
        return self.model.base_model(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            position_ids=positions.to(self.device),
            past_key_values=past,
            **kwargs,
        )

    @torch.no_grad()
    def truncated(self, ids: Tensor, mask: Tensor, layers: Sequence[int]) -> Trace:
        """Run the blocks up to the deepest of `layers`, without the head.

        ids, mask: (B, T). Returns the inputs of the edited projections of all `layers`, and the
        deepest block's output. Raises ConfigError for layers out of range.
        """
        self.check_layers(layers, "layers")
        deepest = max(layers)
        inputs: dict[int, Tensor] = {}
        hidden: list[Tensor] = []

        def keep_output(_module: nn.Module, _args: Any, output: Any) -> None:
            hidden.append(hidden_of(output).to(self.device))
            raise PassComplete

        hooks: list[Any] = [
            self.projection(layer).register_forward_pre_hook(
                keep_input(inputs, layer, ids.shape, self.device)
            )
            for layer in layers
        ]
        hooks.append(self.blocks[deepest].register_forward_hook(keep_output))
        with hooked(hooks):
            try:
                self._base(ids, mask, None, use_cache=False)
            except PassComplete:
                return Trace(inputs, hidden[0])
        raise ModelError(f"block {deepest} was never run")

    @torch.no_grad()
    def outputs_with(
        self, ids: Tensor, mask: Tensor, layers: Sequence[int], change: Tensor
    ) -> dict[int, Tensor]:
        """Outputs (B, d_model) of blocks at the last token, the first one's changed there.

        ids, mask: (B, T), padded on the left. layers: ascending. change: (B, d_model), added to
        the output of layers[0] at the last token.
        """
        outputs: dict[int, Tensor] = {}

        def keep_output(layer: int) -> Callable[..., None]:
            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                hidden = hidden_of(output)
                if layer == layers[0]:
                    hidden[:, -1] += change.to(hidden)
                outputs[layer] = hidden[:, -1].to(self.device, copy=True)
                if layer == layers[-1]:
                    raise PassComplete

            return hook

        hooks = [self.blocks[i].register_forward_hook(keep_output(i)) for i in layers]
        with hooked(hooks), suppress(PassComplete):
            self._base(ids, mask, None, use_cache=False)
        return outputs

    @property
    def context_length(self) -> int:
        """Most tokens in one sequence."""
        return int(self.model.config.max_position_embeddings)

    def check_fits(self, tokens: int, key: str) -> None:
        """Raise ConfigError, with the key that says so, for sequences longer than the context."""
        if tokens > self.context_length:
            raise ConfigError(
                f"{key}: found {tokens} tokens, the model takes {self.context_length}; lower it"
            )

    @torch.no_grad()
    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Output of the last block (B, T, d_model) before the final norm."""
        return self.truncated(ids, mask, [self.n_layers - 1]).hidden

    def hidden_with(self, ids: Tensor, mask: Tensor, weights: Mapping[int, Tensor]) -> Tensor:
        """Output of the last block (B, T, d_model) with other edited weights.

        weights: (d_out, d_in) by layer; the output is differentiable in them. The model's own
        weights do not change.
        """
        outputs: list[Tensor] = []

        def keep_output(_module: nn.Module, _args: Any, output: Any) -> None:
            outputs.append(hidden_of(output))

        def project_by(weight: Tensor) -> Callable[..., Tensor]:
            def hook(module: nn.Module, args: tuple[Tensor, ...], _output: Tensor) -> Tensor:
                return nn.functional.linear(args[0], weight.to(args[0]), module.bias)

            return hook

        hooks: list[Any] = [self.blocks[-1].register_forward_hook(keep_output)]
        hooks += [
            self.projection(layer).register_forward_hook(project_by(weight))
            for layer, weight in weights.items()
        ]
        with hooked(hooks):
            self._base(ids, mask, None, use_cache=False)
        return outputs[0].to(self.device)

    @torch.no_grad()
    def prefill(self, rows: Sequence[Sequence[int]], groups: Sequence[int]) -> Prefix:
        """Attention keys and values of prefixes, in every block.

        rows: ids of each prefix. groups: a label per row; the common beginning of the prefixes of
        one group is computed once.
        """
        from transformers import DynamicCache

        labels = sorted(set(groups))
        shared = {
            label: _common([row for row, group in zip(rows, groups, strict=True) if group == label])
            for label in labels
        }
        group_index = torch.tensor([labels.index(label) for label in groups], device=self.device)
        cache = DynamicCache()
        mask = self._extend(cache, list(shared.values()), torch.empty(len(shared), 0))
        expanded = DynamicCache()
        for i, layer in enumerate(cache.layers):
            index = group_index.to(layer.keys.device)
            expanded.update(layer.keys[index], layer.values[index], i)
        rest = [row[len(shared[label]) :] for row, label in zip(rows, groups, strict=True)]
        mask = self._extend(expanded, rest, mask[group_index])
        return Prefix(mask, [(layer.keys, layer.values) for layer in expanded.layers])

    def _extend(self, cache: Cache, rows: Sequence[Sequence[int]], mask: Tensor) -> Tensor:
        """Append tokens of every row to a cache; return the mask of all cached tokens."""
        ids, more = pad(rows, "left")
        mask = torch.cat([mask.to(more), more], dim=1)
        if ids.shape[1]:
            self._base(ids, mask, cache, use_cache=True)
        return mask.to(self.device)

    @torch.no_grad()
    def greedy(
        self,
        rows: Sequence[Sequence[int]],
        steps: int,
        done: Callable[[Sequence[int]], bool] = lambda _: False,
    ) -> list[list[int]]:
        """Greedy continuation of each row of ids: at most `steps` ids, without the prompt.

        A row ends before an end-of-text token, or when `done` is true of its new ids. Of the
        model's generation config only the end tokens are used.
        """
        from transformers import DynamicCache

        eos = getattr(self.model.generation_config, "eos_token_id", None)
        end_tokens = {self.tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])}
        ids, mask = pad(rows, "left")
        cache = DynamicCache()
        continuations: list[list[int]] = [[] for _ in rows]
        unfinished = set(range(len(rows)))
        for _ in range(steps):
            states = self._base(ids, mask, cache, use_cache=True).last_hidden_state[:, -1]
            chosen = self.model.get_output_embeddings()(states).argmax(-1).tolist()
            for i in sorted(unfinished):
                if chosen[i] not in end_tokens:
                    continuations[i].append(chosen[i])
                if chosen[i] in end_tokens or done(continuations[i]):
                    unfinished.discard(i)
            if not unfinished:
                break
            ids = torch.tensor(chosen)[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        return continuations

    @torch.no_grad()
    def upper_blocks(
        self, rows: Sequence[Sequence[int]], prefix: Prefix, layer: int
    ) -> UpperBlocks:
        """Run the model once on tokens after prefixes; return the blocks above `layer` to rerun.

        rows: ids of each row, after its prefix. prefix: from `prefill`.
        """
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        layout = Layout(lengths, prefix)
        ids = torch.tensor([[token for row in rows for token in row]], device=self.device)
        inputs: dict[int, Tensor] = {}
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        hidden: list[Tensor] = []

        def keep_last(_module: nn.Module, _args: Any, output: Any) -> None:
            hidden.append(hidden_of(output))

        upper = list(self.blocks[layer + 1 :])
        hooks: list[Any] = [
            block.register_forward_pre_hook(keep_call(calls, hidden), with_kwargs=True)
            for block in upper
        ]
        hooks.append(self.blocks[-1].register_forward_hook(keep_last))
        keep_key = keep_input(inputs, layer, ids.shape, self.device)
        hooks.append(self.projection(layer).register_forward_pre_hook(keep_key))
        with hooked(hooks), packed_attention(self.model, layout) as packed:
            self.model.base_model(
                input_ids=ids, position_ids=layout.positions[None], use_cache=False
            )
        if len(packed) < self.n_layers:
            raise ModelError(
                f"{type(self.model).__name__}: value targets need attention that goes through "
                f"transformers' AttentionInterface, found it in {len(packed)} of {self.n_layers} "
                "blocks; take a method by gradients (ultraedit, ft), or another model"
            )
        keys = inputs[layer][0, layout.starts]
        first, final = (hidden[place][0].to(self.device) for place in (0, -1))
        return UpperBlocks(self.model, layout, upper, calls, first, final, keys)


def _module(parent: nn.Module, key: str, name: str) -> Any:
    """The submodule `name`. Raises ModelError, naming the key of `architecture`, if absent."""
    try:
        return parent.get_submodule(name)
    except AttributeError:
        known = [other for other, _ in parent.named_modules() if other.count(".") < 2 and other]
        raise ModelError(
            f"architecture.{key}: {type(parent).__name__} has no module {name!r}; it has "
            f"{shortened(', '.join(known))}"
        ) from None


def _common(rows: Sequence[Sequence[int]]) -> Sequence[int]:
    """The longest common prefix of the rows."""
    shortest = min(rows, key=len)
    same = 0
    while same < len(shortest) and all(row[same] == shortest[same] for row in rows):
        same += 1
    return shortest[:same]
