"""Choices relaxed to weights over their options: mixed activations, networks of several widths in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from hcdc._tensors import has_memory
from hcdc._typing import Params
from hcdc.data import Sparse
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


def in_use(weights: Tensor) -> list[int]:
    """The options that `weights` [options] are not known to leave out: all of them inside of `vmap` or where a derivative by
    the weights may be asked for, those with a weight otherwise."""
    if not weights.requires_grad and has_memory(weights):
        chosen = [index for index, weight in enumerate(weights.tolist()) if weight != 0]
        if chosen:
            return chosen
    return list(range(weights.shape[0]))


def mixed(weights: Tensor, options: Sequence[Callable[[], Tensor]]) -> Tensor:
    """sum_i weights_i options_i() of `weights` [options], one-hot for one of them; only what is `in_use` is called."""
    first, *others = in_use(weights)
    total = weights[first] * options[first]()
    for index in others:
        total = total + weights[index] * options[index]()
    return total


def activated(weights: Tensor, names: Sequence[str], h: Tensor) -> Tensor:
    """sum_a weights_a act_a(h) over the activations `names`."""
    return mixed(weights, [partial(ACTIVATIONS[name], h) for name in names])


def perceptron(params: Params, units: Tensor, act: Callable[[Tensor], Tensor], x: Tensor | Sparse, dropped: Tensor | None) -> Tensor:
    """(units * act(x W1 + b1)) W2 + b2 of a hidden layer of which `units` are used, from `first_units`: the parameters of the
    others are not read. `dropped` [n, widest] is the dropout of the hidden layer, None for none."""
    width = len(units)
    hidden = units * act(x @ params["w1"][:, :width] + params["b1"][:width])
    kept = hidden if dropped is None else hidden * dropped[:, :width]
    return kept @ params["w2"][:width] + params["b2"]


def first_units(weights: Tensor, widths: Sequence[int]) -> Tensor:
    """sum_i weights_i [j < widths_i] over the units j of the widest that is `in_use`: as many numbers as it has units."""
    unit = torch.arange(max(widths[index] for index in in_use(weights)), device=weights.device)

    def mask(width: int) -> Tensor:
        return (unit < width).to(weights)

    return mixed(weights, [partial(mask, width) for width in widths])
