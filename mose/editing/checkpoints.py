"""Checkpoints of a sequence of edits: written atomically, checked when read.

A checkpoint is the state after n edits: per edited layer, the arrays that restore the edited weight
and that the next edit needs; a record of every request so far; and digests of model, second
moments, requests, templates, options and parent.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mose.editing.sequence import Diagnosis, State
from mose.errors import StoreError, shortened
from mose.facts.requests import EditRequest, digest_of_requests
from mose.methods.options import Variant
from mose.storage import hdf5


@dataclass(frozen=True)
class Identity:
    """What all checkpoints of a chain have in common, besides the requests."""

    variant: Variant
    model: str
    moments: str
    templates: str
    seed: int
    batch: int

    def attributes(self) -> dict[str, str | int]:
        """As HDF5 attributes."""
        return {
            **asdict(self),
            "variant": self.variant.as_json(),
        }


def save(
    path: str | Path,
    state: State,
    identity: Identity,
    requests: Sequence[EditRequest],
    more: Mapping[str, NDArray] | None = None,
) -> str:
    """Write a checkpoint; returns its digest. requests: the whole order. more: further arrays,
    which `load` ignores."""
    arrays = {
        f"layers/{layer}/{name}": tensor.contiguous().numpy()
        for layer, editor in state.editors.items()
        for name, tensor in editor.state().items()
    }
    arrays["record"] = np.frombuffer(
        json.dumps([asdict(d) for d in state.diagnoses]).encode(), dtype=np.uint8
    )
    if state.wanted and all(output is not None for output in state.wanted):
        arrays["wanted"] = torch.stack([o for o in state.wanted if o is not None]).numpy()
    arrays |= more or {}
    attributes = {
        **identity.attributes(),
        "edits": state.edits,
        "requests": digest_of_requests(requests[: state.edits]),
        "parent": state.parent,
    }
    return hdf5.write(path, "checkpoint", arrays, attributes)


def load(
    path: str | Path, state: State, identity: Identity, requests: Sequence[EditRequest]
) -> None:
    """Load a checkpoint into `state`, whose editors must be new.

    requests: the whole order. Raises StoreError for a checkpoint of another chain.
    """
    contents = hdf5.read(path, "checkpoint")
    attributes = contents.attributes
    edits = int(attributes["edits"])
    expected = {**identity.attributes(), "requests": digest_of_requests(requests[:edits])}
    for key, value in expected.items():
        if attributes[key] != value:
            raise StoreError(
                f"{path}: made with another {key} ({shortened(attributes[key])}, "
                f"expected {shortened(value)}); delete the checkpoints of this method, or give the "
                "changed one a new label"
            )
    for layer, editor in state.editors.items():
        start = f"layers/{layer}/"
        stored = {
            # Editors copy what they load; popping keeps one layer at a time in memory twice.
            name.removeprefix(start): torch.from_numpy(contents.arrays.pop(name))
            for name in contents.names
            if name.startswith(start)
        }
        if stored.keys() != editor.state().keys():
            raise StoreError(
                f"{path}: holds {', '.join(sorted(stored))} for layer {layer}, expected "
                f"{', '.join(sorted(editor.state()))}: written by another version of this "
                "project; delete the checkpoints of this method"
            )
        editor.load(stored)
    state.edits = edits
    wanted = contents.arrays.pop("wanted", None)
    state.wanted = [None] * edits if wanted is None else list(torch.from_numpy(wanted))
    state.diagnoses = [Diagnosis(**d) for d in hdf5.edit_records_of(contents)]
    state.parent = contents.digest
