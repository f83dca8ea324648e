"""Where each model class keeps its blocks, edited projections and final norm."""

from dataclasses import dataclass

from mose.errors import ModelError


@dataclass(frozen=True)
class Architecture:
    """Where a model class keeps its blocks, edited projections (in a block) and final norm."""

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
            f"architecture {name} is unknown; known are {', '.join(sorted(ARCHITECTURES))}"
        )
    return ARCHITECTURES[name]
