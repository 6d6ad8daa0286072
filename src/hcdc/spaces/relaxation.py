"""Architecture parameters to weights over operations: softmax, Gumbel-softmax, and a sampled operation (GDAS)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

RelaxationName = Literal["softmax", "gumbel", "gdas"]
RELAXATIONS: tuple[RelaxationName, ...] = ("softmax", "gumbel", "gdas")


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise, -log(-log u)."""
    return -(-torch.rand(shape, generator=generator).clamp(1e-12, 1 - 1e-7).log()).log()


def relaxed(alpha: Tensor, noise: Tensor, kind: RelaxationName, temperature: float) -> Tensor:
    """Weights over the last dimension of `alpha` [..., options], which sum to one.

    "softmax" is softmax(alpha / temperature) and reads no `noise`; "gumbel" is softmax((alpha + noise) / temperature)
    (Jang et al. 2017); "gdas" is one-hot at the largest alpha + noise, with the derivative of "gumbel" (Dong and Yang
    2019): with Gumbel noise, a draw of each option with probability softmax(alpha).
    """
    logits = alpha if kind == "softmax" else alpha + noise
    soft = (logits / temperature).softmax(-1)
    if kind != "gdas":
        return soft
    hard = functional.one_hot(logits.argmax(-1), alpha.shape[-1]).to(soft)
    return hard + (soft - soft.detach())
