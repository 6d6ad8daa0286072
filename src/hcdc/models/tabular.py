"""Models of rows: linear with a decay a column, and a small network whose activation and width are choices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hcdc._typing import Hyper, Noise, Params
from hcdc.data import TableData
from hcdc.errors import InputError
from hcdc.models.classifier import Classifier, dropout_mask, glorot, squared
from hcdc.models.mixture import activated, check_activations, first_units, perceptron
from hcdc.spaces import Choice, Real, Space


@dataclass(frozen=True)
class Tabular(Classifier):
    """`columns` are the encoded columns of each column: 1 for a number, one a category otherwise. `num_classes` 0 makes a
    regression with one output."""

    columns: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "columns", tuple(self.columns))
        if not self.columns or min(self.columns) < 1:
            raise InputError("columns", self.columns, "must be one or more positive numbers", "give 1 a number, one a category otherwise")

    @property
    def outputs(self) -> int:
        return self.num_classes or 1

    @property
    def num_features(self) -> int:
        return sum(self.columns)


@dataclass(frozen=True)
class Logistic(Tabular):
    """outputs = x W + b, each column with a decay of its own; linear regression where `num_classes` is 0.

    hyper = {"log10_decay": [columns]}; the penalty sum_j 10^log10_decay_j / 2 ||W_j||^2 over the rows W_j of column j
    takes the place of `weight_decay`, and b is free.
    """

    def space(self) -> Space:
        """The decay of each column between 1e-4 and 10: from none to as good as left out."""
        return Space({f"log10_decay.{j}": Real(-4.0, 1.0) for j in range(len(self.columns))})

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        shape = (self.num_features, self.outputs)
        return {"w": glorot(shape, shape, generator), "b": torch.zeros(self.outputs)}

    def noise(self, data: TableData, generator: torch.Generator) -> Noise:
        shape = (data.size, self.num_features)
        return {"x": dropout_mask(shape, self.dropout, generator)} if self.dropout else {}

    def penalty(self, params: Params, hyper: Hyper) -> Tensor:
        widths = torch.tensor(self.columns, device=params["w"].device)
        decay = (10 ** hyper["log10_decay"]).repeat_interleave(widths, output_size=self.num_features)
        return (decay * params["w"].square().sum(-1)).sum() / 2

    def footprint(self, data: TableData) -> int:
        return 3 * 4 * data.size * (self.num_features + 2 * self.outputs)

    def logits(self, params: Params, hyper: Hyper, data: TableData, noise: Noise) -> Tensor:
        return (data.x * noise["x"] if noise else data.x) @ params["w"] + params["b"]


@dataclass(frozen=True)
class Mlp(Tabular):
    """outputs = (mask * sum_a activation_a act_a(x W1 + b1)) W2 + b2, mask = sum_i width_i [unit < hidden_i].

    hyper = {"activation": [1, activations], "width": [1, widths], "log10_decay": [1]}: weights over the options, one-hot
    for one architecture, and the penalty 10^log10_decay / 2 (||W1||^2 + ||W2||^2).
    """

    activations: tuple[str, ...] = ("tanh", "softplus", "elu", "linear")
    hidden: tuple[int, ...] = (2, 4, 8, 16)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("activations", "hidden"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_activations(self.activations)
        if len(self.hidden) < 2 or min(self.hidden) < 1 or list(self.hidden) != sorted(set(self.hidden)):
            raise InputError("hidden", self.hidden, "must be two or more positive widths, from small to large", "sort them and drop repetitions")

    def space(self) -> Space:
        """One activation, one width, and the weight decay between 1e-4 and 1."""
        options = Choice(self.activations), Choice(tuple(map(str, self.hidden)))
        return Space({"activation": options[0], "width": options[1], "log10_decay": Real(-4.0, 0.0)})

    def init(self, hyper: Hyper, generator: torch.Generator) -> Params:
        d, h, c = self.num_features, self.hidden[-1], self.outputs
        first, second = glorot((d, h), (d, h), generator), glorot((h, c), (h, c), generator)
        return {"w1": first, "b1": torch.zeros(h), "w2": second, "b2": torch.zeros(c)}

    def noise(self, data: TableData, generator: torch.Generator) -> Noise:
        return {"hidden": dropout_mask((data.size, self.hidden[-1]), self.dropout, generator)} if self.dropout else {}

    def penalty(self, params: Params, hyper: Hyper) -> Tensor:
        return 10 ** hyper["log10_decay"].squeeze() / 2 * squared({name: params[name] for name in ("w1", "w2")})

    def footprint(self, data: TableData) -> int:
        return 3 * 4 * data.size * (self.hidden[-1] * (len(self.activations) + 3) + 2 * self.outputs)

    def logits(self, params: Params, hyper: Hyper, data: TableData, noise: Noise) -> Tensor:
        units = first_units(hyper["width"][0], self.hidden)
        act = partial(activated, hyper["activation"][0], self.activations)
        return perceptron(params, units, act, data.x, noise.get("hidden"))
