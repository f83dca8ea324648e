"""Short continuations of many prefixes, run as one row of tokens.

Rows padded to one length spend their matrix products on padding; rows grouped by length make the
products too small to be fast. Here the tokens of all B rows stand one after another as a single
row of N, and every part of a block works on them as they are. Attention alone sees rows: it
spreads the tokens out to (B, S), where each also attends to its own prefix.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from mose.errors import ModelError

IMPLEMENTATION = "mose-packed"


@dataclass(frozen=True)
class Prefix:
    """What later tokens attend to, for B rows.

    mask: (B, P), 1 where there is a token. keys_values: per block, keys and values
    (B, kv heads, P, head width).
    """

    mask: Tensor
    keys_values: list[tuple[Tensor, Tensor]]

    def take(self, rows: Tensor) -> "Prefix":
        """The prefixes of some of the rows."""
        kept = [(k[rows.to(k.device)], v[rows.to(k.device)]) for k, v in self.keys_values]
        return Prefix(self.mask[rows], kept)


class Layout:
    """Where the tokens of B rows stand.

    starts: (B,), each row's first token among the N. place: (N,), each token's place among the
    B S of the padded rows. positions: (N,), counted from the prefix's beginning. mask:
    (B, 1, 1, S, P + S), what is added to attention scores.
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
        # What pads a row comes after its tokens, which therefore never see it.
        causal = torch.ones(self.shape[1], self.shape[1], device=device).tril().expand(rows, -1, -1)
        before = prefix.mask[:, None, :].expand(-1, self.shape[1], -1)
        seen = torch.cat([before.to(causal), causal], dim=-1)[:, None, None]
        self.mask = (1 - seen) * torch.finfo(torch.float32).min

    def take(self, rows: Tensor) -> tuple["Layout", Tensor]:
        """The layout of some of the rows, and which of the tokens are theirs."""
        layout = Layout(self.lengths[rows], self.prefix.take(rows))
        column = layout.place % layout.shape[1]
        first = torch.repeat_interleave(self.starts[rows], layout.lengths)
        return layout, first + column


_LAYOUT: ContextVar[Layout] = ContextVar("layout")


def _attend(module: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """Attention of packed tokens: (1, heads, N, width) -> (1, N, heads, width)."""
    layout = _LAYOUT.get()
    # Of a model that is divided among devices, each block has its own.
    place, mask = layout.place.to(query.device), layout.mask.to(query.device)
    rows, longest = layout.shape
    _, heads, tokens, width = query.shape
    kv_heads = key.shape[1]

    def spread(packed: Tensor) -> Tensor:
        flat = packed[0].transpose(0, 1).reshape(tokens, -1)
        wide = flat.new_zeros(rows * longest, flat.shape[1]).index_copy(0, place, flat)
        # Queries that share a key's head go along its sequence.
        wide = wide.view(rows, longest, kv_heads, -1, width).permute(0, 2, 3, 1, 4)
        return wide.reshape(rows, kv_heads, -1, width)

    query, key, value = spread(query * scaling), spread(key), spread(value)
    scores = query @ key.mT
    before = layout.prefix.mask.shape[1]
    if before:
        past_key, past_value = layout.prefix.keys_values[module.layer_idx]
        scores = torch.cat([query @ past_key.mT, scores], dim=-1)
    per_query = scores.view(rows, kv_heads, -1, longest, scores.shape[-1]).float() + mask
    share = per_query.softmax(-1).to(value.dtype).view_as(scores)
    past_share, own_share = share.split([before, longest], dim=-1)
    out = own_share @ value
    if before:
        out = out + past_share @ past_value
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
    longest = _LAYOUT.get().mask.shape[-1]
    if softcap is not None or (sliding_window is not None and longest > sliding_window):
        raise ModelError(
            f"{type(module).__name__}: value targets know plain causal attention; this model caps "
            f"its scores (softcap {softcap}) or sees only {sliding_window} of {longest} tokens"
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _attend(module, query, key, value, scaling), None


AttentionInterface.register(IMPLEMENTATION, _interface)


def _own_attention(module: Any) -> Callable[..., tuple[Tensor, None]]:
    """For a class (GPT-J) whose attention is a method of its own."""

    def attend(
        query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        scaling = 1 / float(module.scale_attn)
        return _attend(module, query, key, value, scaling).transpose(1, 2), None

    return attend


@contextmanager
def attending(model: PreTrainedModel, layout: Layout) -> Iterator[None]:
    """Within, the model's attention takes one row of tokens laid out as `layout` says."""
    own: list[Any] = [module for module in model.modules() if hasattr(module, "_attn")]
    before = model.config._attn_implementation
    token = _LAYOUT.set(layout)
    try:
        model.config._attn_implementation = IMPLEMENTATION
        for module in own:
            module._attn = _own_attention(module)
        yield
    finally:
        for module in own:
            del module._attn
        model.config._attn_implementation = before
        _LAYOUT.reset(token)


@dataclass
class Above:
    """The blocks above an edited layer, with everything they were called with but the input.

    hidden: (N, d_model), the edited block's output as the model gave it, for all tokens of the
    layout. final: (N, d_model), the last block's output that followed from it. keys: (B, d_in),
    the input of the edited projection at each row's first token.
    """

    model: PreTrainedModel
    layout: Layout
    blocks: Sequence[nn.Module]
    calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    hidden: Tensor
    final: Tensor
    keys: Tensor

    def run(self, hidden: Tensor) -> Tensor:
        """The last block's output for another output of the edited block, differentiable."""
        hidden = hidden[None]
        with attending(self.model, self.layout):
            for block, (args, kwargs) in zip(self.blocks, self.calls, strict=True):
                output = block(hidden, *args, **kwargs)
                hidden = output[0] if isinstance(output, tuple) else output
        return hidden[0].to(self.hidden.device)

    def take(self, rows: Tensor) -> "Above":
        """The same for some of the rows."""
        layout, tokens = self.layout.take(rows)
        size = len(self.hidden)
        # The blocks share positions and their embeddings: each is cut once.
        done: dict[int, Any] = {}

        def cut(value: Any) -> Any:
            if id(value) not in done:
                done[id(value)] = _of_tokens(value, tokens, size)
            return done[id(value)]

        calls = [
            (tuple(cut(a) for a in args), {k: cut(v) for k, v in kwargs.items()})
            for args, kwargs in self.calls
        ]
        hidden, final = self.hidden[tokens], self.final[tokens]
        return Above(self.model, layout, self.blocks, calls, hidden, final, self.keys[rows])


def _of_tokens(value: Any, tokens: Tensor, size: int) -> Any:
    if isinstance(value, Tensor):
        cut = value.ndim > 1 and value.shape[1] == size
        return value[:, tokens.to(value.device)] if cut else value
    if isinstance(value, tuple):
        return tuple(_of_tokens(v, tokens, size) for v in value)
    return value
