"""From text to token ids: where the subject ends, where the target begins, how rows are padded.

Positions are found through the tokenizer's character offsets on the whole text, never by the
lengths of pieces tokenised alone: merges across a boundary and prefix tokens (BOS) would put
those off by one.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mose.errors import RequestError


@dataclass(frozen=True)
class EditTokens:
    """One edit prompt with its target, cut at the subject's last token.

    prefix: ids before the subject's last token (never changed by an edit at that token).
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
    """Token ids of `text` with the model's own special tokens in front, and their char offsets."""
    encoding = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = list(encoding["input_ids"]), [tuple(o) for o in encoding["offset_mapping"]]
    # Some tokenizers close the text with EOS: a prompt that is to be continued has none.
    while ids and offsets[-1][0] == offsets[-1][1] and ids[-1] in tokenizer.all_special_ids:
        ids.pop()
        offsets.pop()
    return ids, offsets


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, prompt: str, target: str
) -> tuple[list[int], list[int]]:
    """Ids of `prompt` and of `target` as they stand in "prompt target".

    A token that straddles the boundary belongs to the target.
    Raises RequestError when the target has no token.
    """
    ids, offsets = encode(tokenizer, f"{prompt} {target}")
    start = next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), len(ids))
    if start == len(ids) or start == 0:
        raise RequestError(f"'{prompt} {target}': prompt or target is empty in this model's tokens")
    return ids[:start], ids[start:]


def subject_end(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    text: str,
    subject_stop: int,
    subject: str,
) -> int:
    """Index of the subject's last token; text[:subject_stop] ends with the subject.

    Checked by decoding: the tokens up to it must end with the subject and with nothing more.
    """
    inside = [i for i, (start, end) in enumerate(offsets) if start < subject_stop and end > start]
    last = inside[-1] if inside else -1
    if last < 0 or offsets[last][1] > subject_stop:
        raise RequestError(f"subject '{subject}' does not end at a token's end in '{text}'")
    # Some tokenizers compose what is written as letter and accent.
    decoded, wanted = (
        unicodedata.normalize("NFC", part.rstrip())
        for part in (tokenizer.decode(list(ids[: last + 1])), subject)
    )
    if not decoded.endswith(wanted):
        raise RequestError(f"subject '{subject}' not found again in the tokens of '{text}'")
    return last


def encode_edit(
    tokenizer: PreTrainedTokenizerBase, template: str, prompt: str, subject: str, target: str = ""
) -> EditTokens:
    """The prompt in a context template, cut at the subject's last token.

    template: has one `{}` for the prompt; prompt: has one `{}` for the subject.
    target: empty for a prompt that nothing is read from but its hidden states.
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


def pad(rows: Sequence[Sequence[int]], side: str = "right") -> tuple[Tensor, Tensor]:
    """Rows of ids -> ids (B, T) int64 padded with 0, and mask (B, T), 1 at real tokens."""
    width = max((len(row) for row in rows), default=0)
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, place] = torch.tensor(row, dtype=torch.int64)
        mask[i, place] = 1
    return ids, mask


def batches_by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices grouped so that rows of like length go together, `tokens` padded tokens a group."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for i in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
