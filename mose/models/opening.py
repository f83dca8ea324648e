"""Opening a model for a person: converted once, in its own number format, checked."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mose.errors import ConfigError, ModelError
from mose.models.architectures import Architecture
from mose.models.causal_lm import CausalLM
from mose.models.loading import (
    DTYPES,
    choose_device,
    fingerprint_in_memory,
    fingerprint_of,
    load_directory,
)
from mose.models.probes import check_editable
from mose.models.sources import fetch
from mose.storage import cache
from mose.storage.files import write_json

logger = logging.getLogger(__name__)

# Written last into the folder of a converted model: without it, the conversion was cut off.
CONVERTED = "mose-converted.json"


def check_dtype(dtype: str | None) -> None:
    """Raise ConfigError unless `dtype` is None or a name in DTYPES."""
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(
            f"dtype: found {dtype!r}, expected {', '.join(DTYPES)} or None (that of the files)"
        )


def open_source(
    source: Mapping[str, Any],
    label: str,
    architecture: Mapping[str, Any] | None,
    device: str,
    dtype: str | None,
) -> tuple[CausalLM, Path]:
    """The model of a `source` block, and the directory of its files.

    label: its name in the cache, where packages and GGUF files are converted once. architecture:
    the block of the model's file, if any. device: as in `loading.choose_device`. dtype: None for
    that of the files.
    Raises ConfigError for a wrong device, ModelError for a model that is absent or cannot be
    edited.
    """
    check_dtype(dtype)
    where = choose_device(device)
    directory = _directory(source, label)
    model, tokenizer = load_directory(directory, dtype)
    modules = None if architecture is None else Architecture(**architecture)
    lm = CausalLM(model.to(where), tokenizer, fingerprint_of(directory), modules)
    check_editable(lm, str(directory))
    return lm, directory


def _directory(source: Mapping[str, Any], label: str) -> Path:
    """Directory of a source's safetensors."""
    converts = "package" in source or str(source.get("local", "")).endswith(".gguf")
    if not converts:
        try:
            return fetch(source, Path())
        except ModelError as error:
            if "hub" not in source:
                raise
            raise ModelError(
                f"{error}; there is no folder {source['hub']} either; check the name, or the "
                "network"
            ) from None
    weights = cache.of_model(label) / "weights"
    mark = weights.parent / CONVERTED
    if not mark.is_file():
        fetch(source, weights)
        write_json(mark, {"source": dict(source)})
    return weights


def wrap(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    architecture: Architecture | None = None,
) -> CausalLM:
    """A loaded model, checked. Sets it to evaluation mode, without gradients of its weights.

    architecture: None for that of its class. Raises ModelError for what is no model of
    transformers with a fast tokenizer, or cannot be edited.
    """
    for given, kind, name in (
        (model, PreTrainedModel, "model"),
        (tokenizer, PreTrainedTokenizerBase, "tokenizer"),
    ):
        if not isinstance(given, kind):
            raise ModelError(
                f"{name}: found {type(given).__name__}, expected one of transformers "
                f"({kind.__name__}); for a name or path, use Editor.from_pretrained"
            )
    lm = CausalLM(model, tokenizer, fingerprint_in_memory(model, tokenizer), architecture)
    check_editable(lm, type(model).__name__)
    return lm
