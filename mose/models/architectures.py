"""Where each model class keeps its blocks, edited projections and final norm.

A model's own file may say it as well (its block `architecture`), so that a class that is not listed
here needs no code. `mose.models.probes` tells whether what is named can be edited.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mose.errors import ModelError


@dataclass(frozen=True)
class Architecture:
    """Where a model class keeps its blocks, edited projections (in a block) and final norm.

    transposed: whether the projection's module stores (d_in, d_out).
    """

    blocks: str
    projection: str
    norm: str
    transposed: bool = False


ARCHITECTURES = {
    **{
        name: Architecture("model.layers", "mlp.down_proj", "model.norm")
        for name in (
            "LlamaForCausalLM",
            "MistralForCausalLM",
            "Qwen2ForCausalLM",
            "Qwen3ForCausalLM",
            "GemmaForCausalLM",
        )
    },
    "PhiForCausalLM": Architecture("model.layers", "mlp.fc2", "model.final_layernorm"),
    "GPT2LMHeadModel": Architecture("transformer.h", "mlp.c_proj", "transformer.ln_f", True),
    "GPTJForCausalLM": Architecture("transformer.h", "mlp.fc_out", "transformer.ln_f"),
    "GPTNeoXForCausalLM": Architecture(
        "gpt_neox.layers", "mlp.dense_4h_to_h", "gpt_neox.final_layer_norm"
    ),
    "OPTForCausalLM": Architecture("model.decoder.layers", "fc2", "model.decoder.final_layer_norm"),
}


def architecture_of(name: str) -> Architecture:
    """The row of ARCHITECTURES for a model class's name."""
    if name not in ARCHITECTURES:
        raise ModelError(
            f"architecture {name} is unknown; known are {', '.join(sorted(ARCHITECTURES))}; for "
            "another one, name its modules in the model's file: architecture: {blocks: "
            "model.layers, projection: mlp.down_proj, norm: model.norm} (docs/extending.md)"
        )
    return ARCHITECTURES[name]


def architecture_in(manifest: Mapping[str, Any]) -> Architecture:
    """The architecture of a model's manifest: named by the model's file, or that of its class."""
    named = manifest.get("modules")
    return architecture_of(manifest["architecture"]) if named is None else Architecture(**named)
