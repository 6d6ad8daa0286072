"""Choices relaxed to weights over their options: mixed activations, networks of several widths in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from hcdc.errors import InputError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "linear": lambda h: h,
    "softplus": functional.softplus,
    "leaky_relu": functional.leaky_relu,
    "relu6": functional.relu6,
    "elu": functional.elu,
    "silu": functional.silu,
}
"""ReLU, leaky ReLU and ReLU6 are piecewise linear: their second derivative is 0 wherever it exists, which is what
is computed; ELU has a continuous first derivative and a second one that jumps at 0.
A mixture is as smooth as its least smooth member with a weight."""


def check_activations(names: Sequence[str]) -> None:
    if len(names) < 2 or len(set(names)) < len(names) or not set(names) <= set(ACTIVATIONS):
        raise InputError("activations", names, f"must be two or more of {', '.join(ACTIVATIONS)}, each once", "choose among these")


def check_rising(name: str, values: Sequence[float]) -> None:
    if len(values) < 2 or min(values) <= 0 or list(values) != sorted(set(values)):
        raise InputError(name, values, "must be two or more positive numbers, from small to large", "sort them and drop repetitions")


def mixed(weights: Tensor, options: Sequence[Tensor]) -> Tensor:
    """sum_i weights_i options_i of `weights` [options], one-hot for one of them."""
    total = weights[0] * options[0]
    for weight, option in zip(weights[1:].unbind(), options[1:], strict=True):
        total = total + weight * option
    return total


def activated(weights: Tensor, names: Sequence[str], h: Tensor) -> Tensor:
    """sum_a weights_a act_a(h) over the activations `names`."""
    return mixed(weights, [ACTIVATIONS[name](h) for name in names])


def first_units(weights: Tensor, widths: Sequence[int]) -> Tensor:
    """sum_i weights_i [j < widths_i] over the units j of the widest: [max(widths)]."""
    unit = torch.arange(max(widths), device=weights.device)
    return mixed(weights, [(unit < width).to(weights) for width in widths])
