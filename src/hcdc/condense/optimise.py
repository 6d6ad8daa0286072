"""What the steps of condensers have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from hcdc._tensors import TensorDict
from hcdc.bilevel import stepped


def adam_step(tensors: TensorDict, slopes: TensorDict, moments: TensorDict, rates: Mapping[str, float]) -> tuple[TensorDict, TensorDict]:
    """`stepped` by Adam (Kingma and Ba 2015)."""
    return stepped(tensors, slopes, moments, lambda groups: torch.optim.Adam(groups, fused=True), rates)


def cosine(number: int, total: int, floor: float = 0.02) -> float:
    """Cosine decay of a learning rate from 1 at step 0 to `floor` at `total`."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * number / max(total, 1))) / 2


def not_finite(tensors: TensorDict) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
