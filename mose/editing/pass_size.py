"""How many tokens share a pass of value targets. Free of torch: resource planning uses it."""

# For a CPU, tokens per thread, up to TARGET_THREADS threads.
TARGET_TOKENS = {"cpu": 256, "gpu": 2048}
TARGET_THREADS = 2


def target_tokens(kind: str, threads: int) -> int:
    """How many tokens may share a pass of value targets; kind: "cpu" or "gpu".

    A pass holds the activations of all upper blocks: 13 GB for 2048 tokens in Llama-3-8B, bfloat16.
    Smaller passes make matrix products too small to be fast; two threads need larger ones than one
    (docs/scale.md).
    """
    return TARGET_TOKENS[kind] * (min(threads, TARGET_THREADS) if kind == "cpu" else 1)
