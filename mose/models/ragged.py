"""Short continuations of many prefixes, packed into one row of tokens.

Padding rows to one length wastes matrix products; grouping them by length makes the products too
small to be fast. Here the tokens of all B rows are concatenated to one row of N. All parts of a
block run on this row, except attention: it unpacks the tokens to (B, S), and each row attends to
its own prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mose.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IMPLEMENTATION = "mose-packed"


@dataclass(frozen=True)
class Prefix:
    """Cached attention keys and values of the prefixes of B rows.

    mask: (B, P), 1 at tokens. keys_values: per block, keys and values (B, kv heads, P, head width).
    """

    mask: Tensor
    keys_values: list[tuple[Tensor, Tensor]]

    def take(self, rows: Tensor) -> Prefix:
        """The prefixes of the rows with indices `rows`."""
        kept = [(k[rows.to(k.device)], v[rows.to(k.device)]) for k, v in self.keys_values]
        return Prefix(self.mask[rows], kept)


class Layout:
    """Positions of the N packed tokens of B rows; S: the longest row, P: the longest prefix.

    starts: (B,), index of each row's first token among the N. place: (N,), index of each token
    among the B S of the padded rows. positions: (N,), position ids, counted from the start of the
    prefix. mask: (B, 1, 1, S, P + S), added to attention scores.
    """

    def __init__(self, lengths: Tensor, prefix: Prefix) -> None:
        self.lengths, self.prefix = lengths, prefix
        rows, device = len(lengths), lengths.device
        self.shape = rows, int(lengths.max())
        self.starts = lengths.cumsum(0) - lengths
        row = torch.repeat_interleave(torch.arange(rows, device=device), lengths)
        column = torch.arange(len(row), device=device) - self.starts[row]
        self.place = row * self.shape[1] + column
        self.positions = prefix.mask.sum(1)[row] + column
        # Padding follows a row's tokens, so the causal mask hides it from them.
        causal = torch.ones(self.shape[1], self.shape[1], device=device).tril().expand(rows, -1, -1)
        in_prefix = prefix.mask[:, None, :].expand(-1, self.shape[1], -1)
        visible = torch.cat([in_prefix.to(causal), causal], dim=-1)[:, None, None]
        self.mask = (1 - visible) * torch.finfo(torch.float32).min

    def take(self, rows: Tensor) -> tuple[Layout, Tensor]:
        """The layout of the rows with indices `rows`, and the indices of their tokens."""
        layout = Layout(self.lengths[rows], self.prefix.take(rows))
        column = layout.place % layout.shape[1]
        first = torch.repeat_interleave(self.starts[rows], layout.lengths)
        return layout, first + column


_LAYOUT: ContextVar[Layout] = ContextVar("layout")
# Ids of the attention modules that have used it.
_SEEN: ContextVar[set[int]] = ContextVar("seen")


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float,
    softcap: float | None = None,
) -> Tensor:
    """Attention of packed tokens: (1, heads, N, width) -> (1, N, heads, width).

    softcap: bound of the scores, softcap tanh(score / softcap), as Gemma 2 has it; None: none.
    """
    layout = _LAYOUT.get()
    _SEEN.get().add(id(module))
    # Blocks of a model that is divided among GPUs are on different devices.
    place, mask = layout.place.to(query.device), layout.mask.to(query.device)
    rows, longest = layout.shape
    _, heads, tokens, width = query.shape
    kv_heads = key.shape[1]

    def spread(packed: Tensor) -> Tensor:
        flat = packed[0].transpose(0, 1).reshape(tokens, -1)
        wide = flat.new_zeros(rows * longest, flat.shape[1]).index_copy(0, place, flat)
        # Grouped queries: the query heads of one key head are stacked along the sequence.
        wide = wide.view(rows, longest, kv_heads, -1, width).permute(0, 2, 3, 1, 4)
        return wide.reshape(rows, kv_heads, -1, width)

    query, key, value = spread(query * scaling), spread(key), spread(value)
    scores = query @ key.mT
    prefix_length = layout.prefix.mask.shape[1]
    if prefix_length:
        prefix_key, prefix_value = layout.prefix.keys_values[module.layer_idx]
        scores = torch.cat([query @ prefix_key.mT, scores], dim=-1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    per_query = scores.view(rows, kv_heads, -1, longest, scores.shape[-1]).float() + mask
    weights = per_query.softmax(-1).to(value.dtype).view_as(scores)
    prefix_weights, own_weights = weights.split([prefix_length, longest], dim=-1)
    out = own_weights @ value
    if prefix_length:
        out = out + prefix_weights @ prefix_value
    out = out.view(rows, kv_heads, -1, longest, width).permute(0, 3, 1, 2, 4)
    out = out.reshape(rows * longest, -1).index_select(0, place)
    return out.view(1, tokens, heads, width)


def _interface(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_kwargs: Any,
) -> tuple[Tensor, None]:
    """`_attend` with the signature of transformers' attention functions."""
    longest = _LAYOUT.get().mask.shape[-1]
    if sliding_window is not None and longest > sliding_window:
        raise ModelError(
            f"{type(module).__name__}: value targets need plain causal attention; this model sees "
            f"only {sliding_window} of {longest} tokens"
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _attend(module, query, key, value, scaling, softcap), None


def _own_attention(module: Any) -> Callable[..., tuple[Tensor, None]]:
    """`_attend` for GPT-J, whose attention is a method `_attn` of the module."""

    def attend(
        query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        scaling = 1 / float(module.scale_attn)
        return _attend(module, query, key, value, scaling).transpose(1, 2), None

    return attend


@contextmanager
def packed_attention(model: PreTrainedModel, layout: Layout) -> Iterator[set[int]]:
    """Within this context, the model's attention treats its one row of tokens as in `layout`.

    Yields the ids of the attention modules that have done so since.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(IMPLEMENTATION, _interface)
    modules: list[Any] = [module for module in model.modules() if hasattr(module, "_attn")]
    implementation = model.config._attn_implementation
    token = _LAYOUT.set(layout)
    seen: set[int] = set()
    seen_token = _SEEN.set(seen)
    try:
        model.config._attn_implementation = IMPLEMENTATION
        for module in modules:
            module._attn = _own_attention(module)
        yield seen
    finally:
        for module in modules:
            del module._attn
        model.config._attn_implementation = implementation
        _LAYOUT.reset(token)
        _SEEN.reset(seen_token)


@dataclass
class UpperBlocks:
    """The blocks above an edited layer, with the recorded arguments of their calls.

    calls: per block, its arguments without the hidden state. hidden: (N, d_model), the recorded
    output of the edited block for the tokens of the layout. final: (N, d_model), the recorded
    output of the last block. keys: (B, d_in), the input of the edited projection at each row's
    first token.
    """

    model: PreTrainedModel
    layout: Layout
    blocks: Sequence[nn.Module]
    calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    hidden: Tensor
    final: Tensor
    keys: Tensor

    def run(self, hidden: Tensor) -> Tensor:
        """The last block's output (N, d_model) for another output `hidden` (N, d_model) of the
        edited block; differentiable."""
        hidden = hidden[None]
        with packed_attention(self.model, self.layout):
            for block, (args, kwargs) in zip(self.blocks, self.calls, strict=True):
                output = block(hidden, *args, **kwargs)
                hidden = output[0] if isinstance(output, tuple) else output
        return hidden[0].to(self.hidden.device)

    def take(self, rows: Tensor) -> UpperBlocks:
        """The same for the rows with indices `rows`."""
        layout, tokens = self.layout.take(rows)
        size = len(self.hidden)
        # Blocks share arguments (positions and their embeddings): each is selected from once.
        selected: dict[int, Any] = {}

        def select(value: Any) -> Any:
            if id(value) not in selected:
                selected[id(value)] = _select_tokens(value, tokens, size)
            return selected[id(value)]

        calls = [
            (tuple(select(a) for a in args), {k: select(v) for k, v in kwargs.items()})
            for args, kwargs in self.calls
        ]
        hidden, final = self.hidden[tokens], self.final[tokens]
        return UpperBlocks(self.model, layout, self.blocks, calls, hidden, final, self.keys[rows])


def _select_tokens(value: Any, tokens: Tensor, size: int) -> Any:
    """The argument of a block for some of its `size` tokens: tensors (1, size, ...) are indexed."""
    if isinstance(value, Tensor):
        per_token = value.ndim > 1 and value.shape[1] == size
        return value[:, tokens.to(value.device)] if per_token else value
    if isinstance(value, tuple):
        return tuple(_select_tokens(v, tokens, size) for v in value)
    return value
