"""One step of an optimiser as a pure function of tensors, so that it can be resumed or taken back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from hcdc._tensors import TensorDict


def stepped(
    tensors: TensorDict,
    slopes: TensorDict,
    moments: TensorDict,
    optimiser_of: Callable[[list[Any]], torch.optim.Optimizer],
    rates: Mapping[str, float],
) -> tuple[TensorDict, TensorDict]:
    """(tensors, moments) after one step down `slopes` of the optimiser that `optimiser_of` makes of parameter groups.

    `rates` has the rate of each tensor; `moments` are named by tensor and kind, as in "x.exp_avg", and empty ones start
    anew.
    """
    leaves = {name: value.detach().clone() for name, value in tensors.items()}
    groups = [{"params": [leaves[name] for name in leaves if rates[name] == rate], "lr": rate} for rate in dict.fromkeys(rates.values())]
    optimiser = optimiser_of(groups)
    for name, leaf in leaves.items():
        leaf.grad = slopes[name]
    for moment, value in moments.items():
        name, _, kind = moment.rpartition(".")
        optimiser.state[leaves[name]][kind] = value.clone()
    optimiser.step()
    kept = {f"{name}.{kind}": value for name, leaf in leaves.items() for kind, value in optimiser.state[leaf].items() if isinstance(value, Tensor)}
    return {name: leaf.detach() for name, leaf in leaves.items()}, kept
