"""Loading a model from its local files, with checks of files and memory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from safetensors import SafetensorError

from mose.errors import ConfigError, ExtraMissing, ModelError
from mose.models.architectures import Architecture, architecture_in
from mose.models.causal_lm import CausalLM
from mose.storage import files

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(wanted: str) -> torch.device:
    """The device `wanted`; "auto" is a GPU if there is one. Raises ConfigError if absent."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ConfigError(
            f"device: found {wanted!r}, expected auto, cpu, cuda or a single GPU such as cuda:1"
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device: {wanted} was asked for and no CUDA device is there; use cpu")
    logger.info("device %s, %d threads", device, torch.get_num_threads())
    return device


def fingerprint_of(directory: Path) -> str:
    """SHA-256 over the weights, configuration and tokenizer files of a model directory."""
    total = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix == ".safetensors" or path.name in ("tokenizer.json", "tokenizer.model"):
            total.update(f"{path.name} {files.sha256_of_file(path)}\n".encode())
        elif path.name == "config.json":
            # The version of transformers is not part of the model.
            config = {
                k: v for k, v in json.loads(path.read_text()).items() if k != "transformers_version"
            }
            total.update(f"{path.name} {files.digest_of(config)}\n".encode())
    return total.hexdigest()


def fingerprint_in_memory(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over a loaded model's tensors, configuration and vocabulary.

    It differs from `fingerprint_of` the same model's files. Raises ModelError for weights that are
    not in memory.
    """
    total = hashlib.sha256()
    hashed: set[int] = set()
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.is_meta:
            raise ModelError(f"model: {name} is not in memory; load the model without offloading")
        if tensor.data_ptr() not in hashed:  # tied weights count once
            hashed.add(tensor.data_ptr())
            total.update(f"{name} {digest_of_tensor(tensor)}\n".encode())
    config = {
        key: value
        for key, value in json.loads(model.config.to_json_string(use_diff=False)).items()
        if key not in ("transformers_version", "_name_or_path")
    }
    total.update(files.digest_of([config, tokenizer.get_vocab()]).encode())
    return total.hexdigest()


def digest_of_tensor(tensor: torch.Tensor) -> str:
    """SHA-256 (hex) of a tensor's number format, shape and bytes."""
    sha = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def check_files(manifest: Mapping[str, Any], manifest_path: str | Path) -> None:
    """Raise ModelError if a model directory's files differ from those in its manifest.

    Reads all files, because a damaged weight would change every result silently.
    """
    directory = Path(manifest["directory"])
    if not directory.is_dir():
        raise ModelError(f"{directory}: no such directory; delete {manifest_path} and run again")
    fingerprint = fingerprint_of(directory)
    if fingerprint != manifest["fingerprint"]:
        raise ModelError(
            f"{directory}: its files changed or are damaged (fingerprint {fingerprint[:12]}, "
            f"{manifest_path} has {manifest['fingerprint'][:12]}); restore them, or delete the "
            "manifest to start again with what is there now"
        )


def load(
    manifest_path: str | Path, device: str = "auto", dtype: str = "float32", gpus: int = 1
) -> CausalLM:
    """Load the model of a manifest (see `mose.models.sources`).

    device: "auto", "cpu", "cuda", ... dtype: a name in DTYPES. gpus: number of GPUs among which
    the blocks are divided.
    Raises ModelError if files differ from the manifest, cannot be loaded or do not fit in memory;
    ConfigError for an absent device.
    """
    manifest = files.read_json(manifest_path)
    where = choose_device(device)
    if gpus == 1:
        _check_memory(manifest, where, dtype)
    check_files(manifest, manifest_path)
    model, tokenizer = load_directory(manifest["directory"], dtype)
    architecture = architecture_in(manifest)
    devices = [f"cuda:{i}" for i in range(gpus)]
    model = model.to(where) if gpus == 1 else divide(model, devices, architecture)
    return CausalLM(model, tokenizer, manifest["fingerprint"], architecture)


def load_tokenizer(manifest_path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a manifest's model. Raises ModelError if its directory is not there.

    Its files are not compared with the manifest: that would read all weights.
    """
    directory = Path(files.read_json(manifest_path)["directory"])
    if not directory.is_dir():
        raise ModelError(f"{directory}: no such directory; delete {manifest_path} and run again")
    return _tokenizer(directory)


def _tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)


def divide(
    model: PreTrainedModel, devices: Sequence[str], architecture: Architecture
) -> PreTrainedModel:
    """The model with consecutive blocks spread equally over `devices`.

    Embeddings are on the first device, norm and head on the last; accelerate moves activations
    between them. Not tested on several GPUs. Raises ExtraMissing without accelerate.
    """
    try:
        from accelerate import dispatch_model
    except ImportError:
        raise ExtraMissing("gpus: more than one", "accelerate", "gpus") from None
    count = len(model.get_submodule(architecture.blocks))
    places = {
        f"{architecture.blocks}.{i}": devices[i * len(devices) // count] for i in range(count)
    }
    for name, module in model.named_modules():
        inside = any(name == block or name.startswith(f"{block}.") for block in places)
        if not inside and not list(module.children()):
            # Embeddings come first; the final norm and the head follow the last block.
            first = module is model.get_input_embeddings() or "emb" in name or "wpe" in name
            places[name] = devices[0] if first else devices[-1]
    return dispatch_model(model, places)


def _check_memory(manifest: Mapping[str, Any], device: torch.device, dtype: str) -> None:
    """Raise ModelError for weights that do not fit on the device."""
    needed = manifest["parameters"] * DTYPES[dtype].itemsize
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = psutil.virtual_memory().available
    if needed > free:
        raise ModelError(
            f"{manifest['directory']} needs {needed / 1e9:.1f} GB as {dtype} and "
            f"{free / 1e9:.1f} GB are free on {device}; take dtype: bfloat16, a smaller model, a "
            "larger machine, or several GPUs (gpus:)"
        )


def load_directory(
    directory: str | Path, dtype: str | None = "float32"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a local directory; reads safetensors only, runs no remote code.

    dtype: a name in DTYPES; None for that of the files. Raises ModelError if the files are
    incomplete or cannot be loaded.
    """
    # Here: it takes 3 s, and programs that only check a model's files load this module too.
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    directory = Path(directory)
    for pattern, name in (("*.safetensors", ".safetensors file"), ("config.json", "config.json")):
        if not any(directory.glob(pattern)):
            if any((directory / "weights").glob(pattern)):  # a model of the workflow
                raise ModelError(f"{directory}: has its model inside; give {directory / 'weights'}")
            raise ModelError(
                f"{directory}: no {name}, so not a model; give a folder with config.json, weights "
                "in .safetensors and a tokenizer (if the workflow made it: delete its "
                "manifest.json and run again)"
            )
    try:
        tokenizer = _tokenizer(directory)
        model, info = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype="auto" if dtype is None else DTYPES[dtype],
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{directory}: cannot be loaded ({str(error).splitlines()[0]})") from None
    # transformers initialises absent weights at random.
    absent = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if absent:
        raise ModelError(
            f"{directory}: its .safetensors files lack {len(absent)} weights, {absent[0]} first, "
            "or have them in another shape; get them again"
        )
    return model, tokenizer
