"""An edited model to take home: a plain directory of transformers, or an adapter of PEFT."""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from mose.editing.patches import by_name, digest_of_weights
from mose.errors import ConfigError, StoreError
from mose.facts.requests import EditRequest, records_of
from mose.linalg.compact import factors_of_change
from mose.methods.options import Variant
from mose.models.causal_lm import CausalLM
from mose.models.loading import DTYPES
from mose.storage import files

logger = logging.getLogger(__name__)

RECORD = "mose.json"
LISTED = 50  # facts in a model card; all are in RECORD
CARD = """# {name}, edited

{base} with {count}, written by [MOSE](https://arxiv.org/abs/2601.07873)'s library.
Only the matrices named below differ. What loads the base loads this directory.

| | |
|---|---|
| base model | {base} |
| fingerprint of the base | `{fingerprint}` |
| method | {settings} |
| edited matrices | {matrices} |
| digest of the edited matrices | `{digest}` |

## Facts

{facts}

{measured}`{record}` has facts, options and digests for programs.
"""


@dataclass(frozen=True)
class Record:
    """What an exported model says of itself.

    base: name, revision, fingerprint and class of the base. settings: in words. method: the
    variant. facts: records. metrics: rows (metric, value, facts), empty if nothing was measured.
    digest: of the edited matrices, whose names are `matrices`.
    """

    base: Mapping[str, Any]
    settings: str
    method: Mapping[str, Any]
    facts: Sequence[Mapping[str, Any]]
    matrices: Sequence[str]
    digest: str
    metrics: Sequence[Mapping[str, Any]] = field(default=())


def record_of(
    lm: CausalLM,
    name: str,
    settings: str,
    variant: Variant,
    facts: Sequence[EditRequest],
    revision: str | None = None,
    metrics: Sequence[Mapping[str, Any]] = (),
) -> Record:
    """The record of an edited model. name, revision: of the base. settings: where the options of
    `variant` come from, in words."""
    edited = by_name(lm, {layer: lm.weight(layer).detach() for layer in variant.edit.layers})
    base = {"name": name, "revision": revision, "fingerprint": lm.fingerprint}
    return Record(
        base={**base, "class": type(lm.model).__name__},
        settings=settings,
        method=variant.as_dict(),
        facts=records_of(facts),
        matrices=list(edited),
        digest=digest_of_weights(edited),
        metrics=metrics,
    )


def save_directory(lm: CausalLM, folder: str | Path, dtype: str, record: Record) -> None:
    """Write the model as it is, its tokenizer, a model card and RECORD.

    dtype: number format of the files, a name in DTYPES. Raises StoreError for a folder that is not
    empty, or cannot be written; a folder under its final name is complete.
    """
    with _new_folder(folder) as temporary:
        state = None
        if lm.model.dtype != DTYPES[dtype]:
            state = {
                name: tensor.to(DTYPES[dtype]) if tensor.is_floating_point() else tensor
                for name, tensor in lm.model.state_dict().items()
            }
        lm.model.save_pretrained(temporary, state_dict=state)
        # transformers writes the format that the model runs in.
        config = files.read_json(temporary / "config.json")
        files.write_json(temporary / "config.json", {**config, "dtype": dtype})
        lm.tokenizer.save_pretrained(temporary)
        files.write_text(temporary / "README.md", _card(Path(folder).name, record))
        files.write_json(temporary / RECORD, _as_json(record))


def save_adapter(
    lm: CausalLM,
    folder: str | Path,
    base: Mapping[int, Tensor],
    edited: Mapping[int, Tensor],
    record: Record,
) -> None:
    """Write the change as an adapter of PEFT (LoRA), to rounding (`factors_of_change`).

    base, edited: matrices (d_out, d_in) by layer. All layers have the rank of the one that needs
    most. Raises ConfigError if the factors of that rank hold as many numbers as the matrices,
    StoreError as `save_directory`.
    """
    modules = {id(module): name for name, module in lm.model.named_modules()}
    by_layer = {layer: factors_of_change(base[layer], weight) for layer, weight in edited.items()}
    widest = max(by_layer, key=lambda layer: by_layer[layer][0].shape[1])
    # PEFT refuses rank 0, which is that of no change.
    rank = max(1, by_layer[widest][0].shape[1])
    rows, columns = edited[widest].shape
    if rank * (rows + columns) >= rows * columns:
        raise ConfigError(
            f"layer {widest}: its change is not of low rank: to rounding it has rank {rank} of "
            f"{min(rows, columns)}, whose factors hold {rank * (rows + columns):,} numbers, and "
            f"the matrix holds {rows * columns:,}; use save_patch or save_pretrained"
        )
    factors = {modules[id(lm.projection(layer))]: pair for layer, pair in by_layer.items()}
    logger.info(
        "adapter: rank %d, %s numbers, in place of %s of the matrices",
        rank, f"{rank * (rows + columns) * len(edited):,}", f"{rows * columns * len(edited):,}",
    )  # fmt: skip
    tensors = {}
    for name, (up, down) in factors.items():
        missing = rank - up.shape[1]
        place = f"base_model.model.{name}"
        tensors[f"{place}.lora_A.weight"] = torch.nn.functional.pad(down, (0, 0, 0, missing))
        tensors[f"{place}.lora_B.weight"] = torch.nn.functional.pad(up, (0, missing))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": record.base["name"],
        "revision": record.base.get("revision"),
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": lm.architecture.transposed,
        "target_modules": [*factors],
        "inference_mode": True,
    }
    with _new_folder(folder) as temporary:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary / "adapter_model.safetensors", {"format": "pt"})
        files.write_json(temporary / "adapter_config.json", config)
        files.write_text(temporary / "README.md", _card(Path(folder).name, record))
        files.write_json(temporary / RECORD, _as_json(record))


@contextmanager
def _new_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder that gets the name `folder` at the end, or is removed on error."""
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise StoreError(f"{folder}: is there already; give a folder that is new or empty")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        files.share(temporary)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise StoreError(
            f"{folder}: cannot be written ({reason}); check the disk's free space and permissions"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _as_json(record: Record) -> dict[str, Any]:
    return {
        "base": dict(record.base),
        "settings": record.settings,
        "method": dict(record.method),
        "facts": list(record.facts),
        "metrics": list(record.metrics),
        "matrices": list(record.matrices),
        "digest": record.digest,
    }


def _card(name: str, record: Record) -> str:
    """The model card; texts of facts are escaped."""
    revision = record.base.get("revision")
    base = str(record.base["name"]) + (f" at {revision}" if revision else "")
    facts = ["| subject | prompt | new object |", "|---|---|---|"]
    for fact in record.facts[:LISTED]:
        cells = (_cell(fact[key]) for key in ("subject", "prompt", "target_new"))
        facts.append(f"| {' | '.join(cells)} |")
    if len(record.facts) > LISTED:
        facts.append(f"\n{len(record.facts) - LISTED} more are in `{RECORD}`.")
    measured = ""
    if record.metrics:
        rows = [
            f"| {row['metric']} | {row['value']:.4g} | {row['facts']} |" for row in record.metrics
        ]
        table = "\n".join(["| metric | value | facts |", "|---|---|---|", *rows])
        measured = f"## Measured on this model\n\n{table}\n\n"
    front: dict[str, Any] = {"library_name": "transformers", "tags": ["knowledge-editing", "mose"]}
    if "/" in str(record.base["name"]) and not Path(str(record.base["name"])).exists():
        front["base_model"] = record.base["name"]
    count = len(record.facts)
    text = CARD.format(
        name=_cell(name),
        count=f"{count} edited fact{'' if count == 1 else 's'}",
        base=_cell(base),
        fingerprint=record.base["fingerprint"],
        settings=_cell(record.settings),
        matrices=", ".join(f"`{matrix}`" for matrix in record.matrices),
        digest=record.digest,
        facts="\n".join(facts),
        measured=measured,
        record=RECORD,
    )
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n{text}"


def _cell(text: Any) -> str:
    """Text for a cell of a Markdown table: one line, without markup of its own."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    for sign in "\\|`*_[]":
        line = line.replace(sign, f"\\{sign}")
    return line


def own_dtype(directory: Path | None, running: torch.dtype) -> str:
    """Number format of a model's files, a name in DTYPES; without files, that of the model."""
    fallback = str(running).removeprefix("torch.")
    if directory is None:
        return fallback
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    stated = config.get("dtype", config.get("torch_dtype"))
    return stated if stated in DTYPES else fallback
