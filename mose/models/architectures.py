"""Module names of the blocks, edited projections and final norm of each model class.

A model's configuration file may give them instead (block `architecture`), so that other classes
need no code. `mose.models.probes` checks that the named modules can be edited.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mose.errors import ModelError


@dataclass(frozen=True)
class Architecture:
    """Module names of a model class.

    blocks: list of the blocks. projection: edited projection, within a block. norm: final norm.
    transposed: whether the projection stores its weight as (d_in, d_out).
    post_norm: within a block, the norm between projection and residual stream, if there is one.
    """

    blocks: str
    projection: str
    norm: str
    transposed: bool = False
    post_norm: str | None = None


ARCHITECTURES = {
    **{
        name: Architecture("model.layers", "mlp.down_proj", "model.norm")
        for name in (
            "LlamaForCausalLM",
            "MistralForCausalLM",
            "Qwen2ForCausalLM",
            "Qwen3ForCausalLM",
            "GemmaForCausalLM",
            "Phi3ForCausalLM",
        )
    },
    **{
        name: Architecture(
            "model.layers", "mlp.down_proj", "model.norm", post_norm="post_feedforward_layernorm"
        )
        for name in ("Gemma2ForCausalLM", "Gemma3ForCausalLM", "Olmo2ForCausalLM")
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
    """The entry of ARCHITECTURES for a model class. Raises ModelError if there is none."""
    if name not in ARCHITECTURES:
        raise ModelError(
            f"architecture {name} is unknown; known are {', '.join(sorted(ARCHITECTURES))}; for "
            "another one, name its modules in the model's file: architecture: {blocks: "
            "model.layers, projection: mlp.down_proj, norm: model.norm} (docs/extending.md)"
        )
    return ARCHITECTURES[name]


def architecture_in(manifest: Mapping[str, Any]) -> Architecture:
    """The architecture of a model's manifest: its own `modules`, else that of its class."""
    modules = manifest.get("modules")
    if modules is None:
        return architecture_of(manifest["architecture"])
    return Architecture(**modules)
