"""What the steps of condensers have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from hcdc._tensors import TensorDict
from hcdc.bilevel import stepped

BETA2 = 0.999
"""Decay of Adam's second moment."""


def adam_step(tensors: TensorDict, slopes: TensorDict, moments: TensorDict, rates: Mapping[str, float]) -> tuple[TensorDict, TensorDict]:
    """`stepped` by Adam (Kingma and Ba 2015)."""
    return stepped(tensors, slopes, moments, lambda groups: torch.optim.Adam(groups, betas=(0.9, BETA2), fused=True), rates)


def no_longer(slopes: TensorDict, moments: TensorDict) -> TensorDict:
    """Each of `slopes` at its own direction, no longer than the root mean square of those that `adam_step` took before it.

    ‖g‖ <= ‖v̂^(1/2)‖, with Adam's second moment v̂ of the same tensor, so that one batch cannot move all of it by the full
    rate. The bound thus never grows. Where there are no moments yet, or they are 0, a slope stays as it is.
    """
    kept = dict(slopes)
    for name, slope in slopes.items():
        if f"{name}.step" in moments:
            longest = (moments[f"{name}.exp_avg_sq"].sum() / (1 - BETA2 ** moments[f"{name}.step"])).sqrt()
            kept[name] = slope * torch.where(longest > 0, longest / slope.norm(), 1).clamp_max(1)
    return kept


def cosine(number: int, total: int, floor: float = 0.02) -> float:
    """Cosine decay of a learning rate from 1 at step 0 to `floor` at `total`."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * number / max(total, 1))) / 2


def not_finite(tensors: TensorDict) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
