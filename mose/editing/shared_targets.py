"""Targets of the unedited model in a file, shared by all methods that seek the same ones.

They depend on the model, the requests, the context templates and a few options
(`mose.methods.register.target_variant`), and not on how they are written.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mose.editing.writing import FoundTarget, find_wanted
from mose.errors import ConfigError, StoreError, shortened
from mose.facts.requests import EditRequest, digest_of_requests
from mose.methods.options import TargetOptions, Variant
from mose.methods.register import target_identity, target_variant
from mose.models.causal_lm import CausalLM
from mose.progress import track
from mose.storage import files, hdf5

KIND = "targets"


def find(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    variant: Variant,
    batch: int,
) -> list[FoundTarget]:
    """Targets of requests on the unedited model, `batch` at a time.

    Raises ConfigError for layers that the model lacks or methods without value targets.
    """
    options = variant.edit
    if not isinstance(options, TargetOptions):
        raise ConfigError(f"method: {variant.method} has no value targets")
    lm.check_layers(options.layers, "methods.*.layers")
    found: list[FoundTarget] = []
    for start in track(range(0, len(requests), batch), "value targets"):
        found += find_wanted(lm, requests[start : start + batch], templates, options)
    return found


def _attributes(
    variant: Variant, model: str, requests: Sequence[EditRequest], templates: Sequence[str]
) -> dict[str, str | int]:
    seeker = target_variant(variant)
    if seeker is None:
        raise ConfigError(
            f"{variant.method} seeks its targets on the edited model, so a file of targets cannot "
            "hold them; set targets_from: unedited, or give no file"
        )
    return {
        "options": json.dumps(target_identity(seeker), sort_keys=True),
        "model": model,
        "requests": digest_of_requests(requests),
        "templates": files.digest_of(list(templates)),
    }


def save(
    path: str | Path,
    found: Sequence[FoundTarget],
    variant: Variant,
    model: str,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
) -> str:
    """Write the targets of requests; returns the file's digest. model: its fingerprint.

    Raises ConfigError for a variant that seeks targets on the edited model.
    """
    arrays = {
        "wanted": torch.stack([target.wanted for target in found]).numpy(),
        "steps": np.array([target.steps for target in found]),
        "loss": np.array([target.loss for target in found]),
        "seconds": np.array([target.seconds for target in found]),
    }
    return hdf5.write(path, KIND, arrays, _attributes(variant, model, requests, templates))


def load(
    path: str | Path,
    variant: Variant,
    model: str,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
) -> dict[str, FoundTarget]:
    """Targets by the request's id.

    Raises StoreError for those of other inputs or options, ConfigError for a variant that seeks
    targets on the edited model.
    """
    contents = hdf5.read(path, KIND)
    for key, value in _attributes(variant, model, requests, templates).items():
        if contents.attributes[key] != value:
            raise StoreError(
                f"{path}: sought with other {key} ({shortened(contents.attributes[key])}, "
                f"expected {shortened(value)}); delete it, and it is made again"
            )
    columns = [contents.arrays[name].tolist() for name in ("steps", "loss", "seconds")]
    wanted = torch.from_numpy(contents.arrays["wanted"])
    rows = zip(*columns, wanted, strict=True)
    return {request.id: FoundTarget(*row) for request, row in zip(requests, rows, strict=True)}
