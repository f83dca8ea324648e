"""Token ids of prompts and targets, the position of the subject's last token, and padding.

Positions come from the tokenizer's character offsets in the whole text. Lengths of separately
tokenised pieces would be wrong, because tokens may merge across a boundary and BOS is added.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mose.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mose.facts.requests import EditRequest


@dataclass(frozen=True)
class EditTokens:
    """One edit prompt with its target, split at the subject's last token.

    prefix: ids before the subject's last token; an edit does not change their activations.
    suffix: ids from the subject's last token on, without the target's last token.
    target: ids of the target.
    read_at: positions in `suffix` whose next token is target[0], target[1], ...
    """

    prefix: list[int]
    suffix: list[int]
    target: list[int]
    read_at: list[int]


def encode(
    tokenizer: PreTrainedTokenizerBase, text: str
) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of `text`, with leading special tokens of the model, and character offsets."""
    encoding = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = list(encoding["input_ids"]), [tuple(o) for o in encoding["offset_mapping"]]
    # Some tokenizers append EOS, which would end a prompt that is to be continued.
    while ids and offsets[-1][0] == offsets[-1][1] and ids[-1] in tokenizer.all_special_ids:
        ids.pop()
        offsets.pop()
    return ids, offsets


def start_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token that the tokenizer puts before every text, if it does: no or one id."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    first = tokenizer("a")["input_ids"][0]
    return [] if first == bare[0] else [first]


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, prompt: str, target: str
) -> tuple[list[int], list[int]]:
    """Ids of `prompt` and of `target` in the text "prompt target".

    A token across the boundary belongs to the target.
    Raises RequestError if either has no token.
    """
    ids, offsets = encode(tokenizer, f"{prompt} {target}")
    start = next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), len(ids))
    if start == len(ids) or start == 0:
        raise RequestError(f"'{prompt} {target}': prompt or target is empty in this model's tokens")
    return ids[:start], ids[start:]


def end_of_text(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends a text. Raises ConfigError for a tokenizer without one."""
    token = tokenizer.eos_token_id
    if not isinstance(token, int):
        raise ConfigError(
            "tokenizer: has no eos_token, which locft-bf trains after every object; take ft"
        )
    return token


def subject_end(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    text: str,
    subject_stop: int,
    subject: str,
) -> int:
    """Index of the subject's last token.

    ids, offsets: of `text`, from `encode`. subject_stop: text[:subject_stop] ends with the subject.
    Raises RequestError if the token does not end with the subject; checked by offsets and decoding.
    """
    inside = [i for i, (start, end) in enumerate(offsets) if start < subject_stop and end > start]
    last = inside[-1] if inside else -1
    if last < 0 or offsets[last][1] > subject_stop:
        raise RequestError(
            f"subject '{subject}' does not end at a token's end in '{text}'; word the prompt so "
            "that a space follows it, or leave it out"
        )
    # Some tokenizers replace a letter and an accent by the composed character.
    decoded, expected = (
        unicodedata.normalize("NFC", part.rstrip())
        for part in (tokenizer.decode(list(ids[: last + 1])), subject)
    )
    if not decoded.endswith(expected):
        raise RequestError(f"subject '{subject}' not found again in the tokens of '{text}'")
    return last


def encode_edit(
    tokenizer: PreTrainedTokenizerBase, template: str, prompt: str, subject: str, target: str = ""
) -> EditTokens:
    """Tokens of a prompt in a context template, split at the subject's last token.

    template: with one `{}` for the prompt. prompt: with one `{}` for the subject.
    target: "" if only hidden states are needed.
    Raises RequestError if the subject does not end at a token's end, or the target has no token.
    """
    before, after = template.split("{}")
    head, tail = prompt.split("{}")
    text = f"{before}{head}{subject}{tail}{after}".rstrip()
    ids, offsets = encode(tokenizer, f"{text} {target}" if target else text)
    stop = len(before) + len(head) + len(subject)
    last = subject_end(tokenizer, ids, offsets, text, stop, subject)
    if not target:
        return EditTokens(ids[:last], ids[last:], [], [])
    first = next((i for i, (_, end) in enumerate(offsets) if end > len(text)), len(ids))
    if first == len(ids):
        raise RequestError(f"target '{target}' of subject '{subject}' has no token of its own")
    read_at = list(range(first - 1 - last, len(ids) - 1 - last))
    return EditTokens(ids[:last], ids[last:-1], ids[first:], read_at)


def check_encodable(
    tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest], by_subject: bool
) -> None:
    """Raise RequestError for the first request that cannot be edited in this model's tokens.

    by_subject: whether the method needs the position of the subject's last token.
    """
    for request in requests:
        try:
            if by_subject:
                encode_edit(tokenizer, "{}", request.prompt, request.subject, request.target_new)
            else:
                encode_pair(tokenizer, request.text, request.target_new)
        except RequestError as error:
            raise RequestError(f"request {request.id}: {error}") from None


def pad(rows: Sequence[Sequence[int]], side: str = "right") -> tuple[Tensor, Tensor]:
    """Ids (B, T) int64 of B rows, padded with 0 on `side`, and mask (B, T), 1 at tokens."""
    width = max((len(row) for row in rows), default=0)
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, place] = torch.tensor(row, dtype=torch.int64)
        mask[i, place] = 1
    return ids, mask


def batches_by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices of rows in groups of similar length, of at most `tokens` padded tokens each.

    A single row may be longer.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for i in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
