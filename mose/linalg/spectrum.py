"""Measures of a spectrum of singular values."""

import torch
from torch import Tensor


def effective_rank(singular_values: Tensor) -> float:
    """exp of the entropy of the normalised singular values (n,) (Roy & Vetterli 2007)."""
    p = singular_values / singular_values.sum()
    p = p[p > 0]
    return float(torch.exp(-(p * p.log()).sum()))
