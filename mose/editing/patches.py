"""Patches: the exact change of a model's edited matrices, in one safetensors file.

A patch says what it was made of, and holds the digest of every matrix before and after, so that it
changes its own base only, to exactly the weights that were measured.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes
from torch import Tensor, nn

from mose.errors import ModelError, StoreError
from mose.linalg.compact import Change, change_of
from mose.linalg.exact import Fixed
from mose.models.causal_lm import CausalLM
from mose.models.loading import digest_of_tensor
from mose.storage import files

KIND = "mose-patch"
FORMAT = 1
FACTORS = ("left", "right")
# Attribute of a patched model: its base matrices by name, by the patch's digest.
BASES = "_mose_bases"


@dataclass(frozen=True)
class Patch:
    """A patch that was read.

    base: name, revision, fingerprint and class of the model. method: the variant. facts: records of
    the edits. tensors: by name, `before` and `after` (digests), `form` and `rank`. digest: of the
    edited matrices. changes: by name.
    """

    base: dict[str, Any]
    method: dict[str, Any]
    facts: list[dict[str, Any]]
    dtype: str
    tensors: dict[str, dict[str, Any]]
    digest: str
    changes: dict[str, Change]


def digest_of_weights(weights: Mapping[str, Tensor]) -> str:
    """Digest of matrices by name."""
    return files.digest_of({name: digest_of_tensor(weight) for name, weight in weights.items()})


def save_patch(
    path: str | Path,
    base: Mapping[str, Tensor],
    edited: Mapping[str, Tensor],
    about: Mapping[str, Any],
    method: Mapping[str, Any],
    facts: Sequence[Mapping[str, Any]],
) -> Patch:
    """Write the change from `base` to `edited`, matrices by name of the model's parameters.

    about: of the base: name, revision, fingerprint, class. facts: records of the edits.
    """
    arrays: dict[str, np.ndarray] = {}
    tensors: dict[str, dict[str, Any]] = {}
    changes = {}
    for name, weight in edited.items():
        change = changes[name] = change_of(base[name], weight)
        arrays[f"{name}.differences"] = np.frombuffer(change.differences, np.uint8)
        for side in FACTORS:
            factor = getattr(change, side)
            if factor is not None:
                arrays[f"{name}.{side}"] = factor.numbers
                arrays[f"{name}.{side}_exponents"] = factor.exponents
        tensors[name] = {
            "form": change.form,
            "rank": change.rank,
            "before": digest_of_tensor(base[name]),
            "after": digest_of_tensor(weight),
        }
    stated: dict[str, Any] = {
        "base": dict(about),
        "method": dict(method),
        "facts": list(facts),
        "dtype": str(next(iter(edited.values())).dtype).removeprefix("torch."),
        "tensors": tensors,
        "digest": digest_of_weights(edited),
    }
    metadata = {"kind": KIND, "format": str(FORMAT), "patch": json.dumps(stated)}
    with files.atomic(path) as temporary:
        temporary.write_bytes(to_bytes(arrays, metadata))
    return Patch(**stated, changes=changes)


def read_patch(path: str | Path) -> Patch:
    """Read a patch. Raises StoreError for a file that is none, is damaged, or of another format."""
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != KIND:
                raise StoreError(
                    f"{path}: a safetensors file, but no patch of this project; check the path"
                )
            if metadata.get("format") != str(FORMAT):
                raise StoreError(
                    f"{path}: a patch of format {metadata.get('format')}, expected {FORMAT}: "
                    "written by another version of this project; write it again"
                )
            stated = json.loads(metadata["patch"])
            names = set(file.keys())
            changes = {name: _change(file, name, names) for name in stated["tensors"]}
            return Patch(**stated, changes=changes)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; give the path of a patch") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path}: not a patch, or damaged ({reason}); get it again") from None


def apply_patch(model: nn.Module, path: str | Path) -> None:
    """Change a model to the edited one, bit for bit.

    The model keeps its base matrices in memory, for `remove_patch`.
    Raises StoreError for a patch of another base or number format, or that is applied already;
    nothing is changed then.
    """
    patch = read_patch(path)
    parameters = _parameters(model, patch, path)
    before = {name: parameter.detach().cpu() for name, parameter in parameters.items()}
    digests = {name: digest_of_tensor(weight) for name, weight in before.items()}
    if all(digests[name] == stated["after"] for name, stated in patch.tensors.items()):
        raise StoreError(f"{path}: is in this model already; nothing to apply")
    for name, stated in patch.tensors.items():
        if digests[name] != stated["before"]:
            raise StoreError(
                f"{path}: made for {_named(patch)}, and this model has another {name}; load that "
                "model, unedited"
            )
    after = {name: change.apply(before[name]) for name, change in patch.changes.items()}
    for name, stated in patch.tensors.items():
        if digest_of_tensor(after[name]) != stated["after"]:
            raise StoreError(f"{path}: damaged ({name} is not what was stored); get it again")
    kept = model.__dict__.setdefault(BASES, {})
    kept[patch.digest] = {name: weight.clone() for name, weight in before.items()}
    _write(parameters, after)


def remove_patch(model: nn.Module, path: str | Path) -> None:
    """Take a patch that `apply_patch` applied out of a model: the base, bit for bit.

    Raises StoreError if the patch is not in the model, or was not applied in this process.
    """
    patch = read_patch(path)
    parameters = _parameters(model, patch, path)
    for name, stated in patch.tensors.items():
        if digest_of_tensor(parameters[name]) != stated["after"]:
            raise StoreError(f"{path}: is not in this model ({name} is another); nothing to remove")
    kept = model.__dict__.get(BASES, {})
    if patch.digest not in kept:
        raise StoreError(
            f"{path}: was not applied to this model in this process; load {_named(patch)} instead"
        )
    _write(parameters, kept.pop(patch.digest))


def by_name(lm: CausalLM, weights: Mapping[int, Tensor]) -> dict[str, Tensor]:
    """Matrices (d_out, d_in) by layer, as the model's parameters are named and stored."""
    names = {id(parameter): name for name, parameter in lm.model.named_parameters()}
    transposed = lm.architecture.transposed
    return {
        names[id(lm.projection(layer).weight)]: (weight.mT if transposed else weight).contiguous()
        for layer, weight in weights.items()
    }


def _change(file: Any, name: str, names: set[str]) -> Change:
    left, right = (
        Fixed(file.get_tensor(f"{name}.{side}"), file.get_tensor(f"{name}.{side}_exponents"))
        if f"{name}.{side}" in names
        else None
        for side in FACTORS
    )
    return Change(left, right, file.get_tensor(f"{name}.differences").tobytes())


def _parameters(model: nn.Module, patch: Patch, path: str | Path) -> dict[str, Tensor]:
    """The parameters that a patch changes. Raises ModelError or StoreError for another model."""
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"model: found {type(model).__name__}, expected a loaded model of transformers"
        )
    found = dict(model.named_parameters())
    for name in patch.tensors:
        if name not in found:
            raise StoreError(
                f"{path}: made for {_named(patch)}, and this model has no {name}; load that model"
            )
        dtype = str(found[name].dtype).removeprefix("torch.")
        if dtype != patch.dtype:
            raise StoreError(
                f"{path}: made for {_named(patch)} in {patch.dtype}, and this model is in {dtype}; "
                f"load it with dtype={patch.dtype!r}"
            )
    return {name: found[name] for name in patch.tensors}


def _named(patch: Patch) -> str:
    """The base of a patch in words."""
    revision = f" at {patch.base['revision']}" if patch.base.get("revision") else ""
    return f"{patch.base['name']}{revision} (fingerprint {patch.base['fingerprint'][:12]})"


@torch.no_grad()
def _write(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        parameters[name].copy_(weight)
