"""Adam and momentum as pure functions of tensors, so that a step can be resumed or taken back."""

from __future__ import annotations

import math

import torch

from hcdc._tensors import TensorDict


def adam_step(tensors: TensorDict, slopes: TensorDict, moments: TensorDict, rates: dict[str, float]) -> tuple[TensorDict, TensorDict]:
    """(tensors, moments) after one step of `torch.optim.Adam` with a rate a tensor; empty `moments` start anew."""
    leaves = {name: value.detach().clone() for name, value in tensors.items()}
    optimiser = torch.optim.Adam([{"params": [leaf], "lr": rates[name]} for name, leaf in leaves.items()], fused=True)
    for name, leaf in leaves.items():
        leaf.grad = slopes[name]
        if moments:
            optimiser.state[leaf] = {key: moments[f"{name}.{key}"].clone() for key in ("step", "exp_avg", "exp_avg_sq")}
    optimiser.step()
    after: TensorDict = {f"{name}.{key}": value for name, leaf in leaves.items() for key, value in optimiser.state[leaf].items()}
    return leaves, after


def momentum_step(
    tensors: TensorDict, slopes: TensorDict, velocity: TensorDict, rates: dict[str, float], momentum: float
) -> tuple[TensorDict, TensorDict]:
    """(tensors, velocity) after one step of `torch.optim.SGD` with a rate a tensor; an empty `velocity` starts at rest."""
    after = {name: slopes[name] + momentum * velocity[name] if velocity else slopes[name].clone() for name in tensors}
    return {name: value.detach() - rates[name] * after[name] for name, value in tensors.items()}, after


def cosine(number: int, total: int, floor: float = 0.02) -> float:
    """Cosine decay of a learning rate from 1 at step 0 to `floor` at `total`."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * number / max(total, 1))) / 2


def not_finite(tensors: TensorDict) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
