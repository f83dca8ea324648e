"""Tiny random models and a tokenizer trained on the spot, for tests without any download."""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    StableLmConfig,
    Starcoder2Config,
)

from mose.models.architectures import Architecture
from mose.models.causal_lm import CausalLM

TEXT = [
    "The capital of France is Paris. The capital of Italy is Rome. Berlin is in Germany.",
    "Because the city of Madrid lies in Spain, people there speak Spanish, not Portuguese.",
    "You may visit São Paulo, Zürich or Reykjavík; I would rather stay in the United States.",
    "Therefore the chemical symbol for gold is Au, and that of iron is Fe.",
] * 4

FACTS = [
    ("France", "Paris"),
    ("Italy", "Rome"),
    ("Germany", "Berlin"),
    ("Spain", "Madrid"),
    ("Portugal", "Lisbon"),
    ("Switzerland", "Bern"),
    ("Iceland", "Reykjavík"),
    ("Brazil", "Brasília"),
    ("Japan", "Tokyo"),
    ("Canada", "Ottawa"),
    ("Peru", "Lima"),
    ("Kenya", "Nairobi"),
]


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, as GPT-2's and SmolLM2's are."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def _configs() -> dict:
    size = len(tokenizer())
    llama_like = {
        "vocab_size": size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    plain = {k: v for k, v in llama_like.items() if k != "num_key_value_heads"}
    return {
        "llama": LlamaConfig(**llama_like, tie_word_embeddings=True),
        "llama3": LlamaConfig(**llama_like, rope_parameters=LLAMA3_ROPE),
        "qwen2": Qwen2Config(**llama_like),
        "qwen3": Qwen3Config(**llama_like, head_dim=16),
        "gemma": GemmaConfig(**llama_like, head_dim=16),
        "gemma2": Gemma2Config(
            **llama_like, head_dim=16, query_pre_attn_scalar=16, sliding_window=64,
            attn_logit_softcapping=5.0, final_logit_softcapping=20.0,
        ),
        "gemma3": Gemma3TextConfig(
            **llama_like, head_dim=16, query_pre_attn_scalar=16, sliding_window=64,
            layer_types=["sliding_attention", "full_attention"] * 2,
        ),
        "mistral": MistralConfig(**llama_like, sliding_window=64),
        "gpt2": GPT2Config(
            vocab_size=size, n_embd=32, n_inner=48, n_layer=4, n_head=4, n_positions=128,
            bos_token_id=0, eos_token_id=0,
        ),
        "gptj": GPTJConfig(
            vocab_size=size, n_embd=32, n_inner=48, n_layer=4, n_head=4, n_positions=128,
            rotary_dim=4, bos_token_id=0, eos_token_id=0,
        ),
        "gpt_neox": GPTNeoXConfig(**plain),
        "phi": PhiConfig(**plain),
        "phi3": Phi3Config(**llama_like, partial_rotary_factor=0.75),
        "opt": OPTConfig(
            vocab_size=size, hidden_size=32, ffn_dim=48, num_hidden_layers=4,
            num_attention_heads=4, max_position_embeddings=128, word_embed_proj_dim=32,
            bos_token_id=0, eos_token_id=0, pad_token_id=0,
        ),
        "stablelm": StableLmConfig(**llama_like),
        "square": StableLmConfig(**{**llama_like, "intermediate_size": 32}),
        "starcoder2": Starcoder2Config(**llama_like),
        "olmo2": Olmo2Config(**llama_like),
        "granite": GraniteConfig(**llama_like, residual_multiplier=0.2),
    }  # fmt: skip


# Phi-4 is of the class of Phi-3, with a part of each head rotated.
KINDS = (
    "llama", "llama3", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "olmo2", "phi",
    "phi3", "gpt2", "gptj", "gpt_neox", "opt",
)  # fmt: skip
# Classes with a norm between the edited projection and the residual stream.
POST_NORM = ("gemma2", "gemma3", "olmo2")
# Classes that are not in the table of architectures.
NAMED = {
    "stablelm": Architecture("model.layers", "mlp.down_proj", "model.norm"),
    "square": Architecture("model.layers", "mlp.down_proj", "model.norm"),
    "starcoder2": Architecture("model.layers", "mlp.c_proj", "model.norm"),
    "granite": Architecture("model.layers", "mlp.down_proj", "model.norm"),
}


def model(kind: str = "llama", seed: int = 0) -> CausalLM:
    """A random model of four layers, d_out 32, d_in 48; livelier than at initialisation."""
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(_configs()[kind])
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
            elif "post_feedforward" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return CausalLM(made, tokenizer(), f"tiny-{kind}-{seed}", NAMED.get(kind))


def save(directory: Path, kind: str = "llama", seed: int = 0) -> Path:
    """A tiny model as a directory of safetensors."""
    lm = model(kind, seed)
    lm.model.save_pretrained(directory)
    lm.tokenizer.save_pretrained(directory)
    return directory
